"""Curves: a cost against length as one run measured it, a value for each length, with its error.

A point's value is the median of its samples. Its error is estimated from blocks of consecutive samples (batch means;
Law 2015, section 9.5.3), since consecutive samples are correlated: another process disturbs many of them in a row, so
3,000 decoding steps are not 3,000 independent samples.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from lengthscale.bench.plan.measures import MEASURES
from lengthscale.bench.plan.series import SeriesKey
from lengthscale.bench.plan.status import TIMED
from lengthscale.bench.results.record import Record

BLOCKS = 12  # of a point's samples; of fewer samples, each is a block
DRAWS = 2000
FEWEST = 4  # lengths that a fit needs
NOT_ENOUGH = "not enough data"
QUANTITIES = ("time_ms", "memory_bytes", "state_bytes")


@dataclass(frozen=True)
class Point:
    """The value of a curve at one length."""

    length: int
    value: float
    error: float | None  # standard error of log(value); 0: exact; None: nothing was repeated
    freedom: int = 0  # degrees of freedom of that error


@dataclass(frozen=True)
class Curve:
    """One quantity of one series, short lengths first."""

    series: SeriesKey
    quantity: str  # one of QUANTITIES
    points: tuple[Point, ...]
    note: str = ""  # what failed

    @property
    def seed(self) -> int:
        """The seed of its random draws: different in each curve, or the errors of two curves would be equal."""
        return zlib.crc32(f"{self.series.key()} {self.quantity}".encode())

    @property
    def name(self) -> str:
        """The model with its method."""
        return self.series.name

    def at(self, lengths: np.ndarray) -> tuple[Point, ...]:
        """The points whose length is one of these."""
        return tuple(point for point in self.points if point.length in lengths)

    @property
    def lengths(self) -> np.ndarray:
        """The lengths of all points, (points,) float."""
        return np.array([point.length for point in self.points], float)

    @property
    def values(self) -> np.ndarray:
        """The values of all points, (points,)."""
        return np.array([point.value for point in self.points], float)

    @property
    def errors(self) -> np.ndarray:
        """The standard errors of log(value), (points,); 0 where nothing was repeated."""
        return np.array([point.error or 0.0 for point in self.points])


def draws(points: tuple[Point, ...], seed: int, weights: np.ndarray | None = None) -> np.ndarray | None:
    """Random log values, as other runs might give them, (DRAWS, points); None where nothing was repeated.

    A parametric bootstrap (Efron and Tibshirani 1993, section 6.5): the errors are normal, and their common scale is as
    uncertain as the points' errors are (degrees of freedom by Welch 1947). weights: how much each point counts in the
    result, (points,). Resampling the few samples of a long step instead would give intervals that are far too narrow.
    """
    if any(point.error is None for point in points):
        return None
    errors = np.array([point.error for point in points])
    logs = np.log([point.value for point in points])
    if not errors.any():
        return np.tile(logs, (DRAWS, 1))
    random = np.random.default_rng(seed)
    parts = (errors * (1 if weights is None else weights)) ** 2
    freedom = parts.sum() ** 2 / sum(part**2 / p.freedom for part, p in zip(parts, points, strict=True) if part)
    scale = np.sqrt(freedom / random.chisquare(freedom, (DRAWS, 1)))
    return logs + errors * scale * random.standard_normal((DRAWS, len(points)))


def curves_of(records: Iterable[Record]) -> list[Curve]:
    """The curves of each quantity of each series, in the records' order; none for measures that train."""
    by_series: dict[SeriesKey, list[Record]] = {}
    for record in records:
        if not MEASURES[record.cell.measure].trains:
            by_series.setdefault(record.cell.series(), []).append(record)
    curves = []
    for series, mine in by_series.items():
        good = sorted((record for record in mine if record.status in TIMED), key=lambda record: record.cell.length)
        note = ", ".join(f"{record.status} at {record.cell.length}" for record in mine if record not in good)
        for quantity, points_of in _POINTS.items():
            points = points_of(good)
            if points:
                curves.append(Curve(series, quantity, points, note))
    return curves


def time_point(length: int, samples_ms: Iterable[float]) -> Point:
    """The point of samples, given in the order in which they were taken."""
    values = np.log(np.array(list(samples_ms), float))
    count = len(values)
    if count < 2:
        return Point(length, float(np.exp(values[0])), None)
    blocks = [np.median(block) for block in np.array_split(values, min(count, BLOCKS))]
    variance = np.var(blocks, ddof=1) * _variance_of_median(count) / _variance_of_median(count / len(blocks))
    return Point(length, float(np.exp(np.median(values))), float(np.sqrt(variance)), len(blocks) - 1)


def _variance_of_median(count: float) -> float:
    """The variance of the median of `count` normal values of variance 1.

    It is exact for one value and pi / 2 / count in the limit; the median of an even count is a mean of two values.
    """
    return (math.pi / 2) / (count + (1.25 if count % 2 == 0 else math.pi / 2 - 1))


def _times(records: list[Record]) -> tuple[Point, ...]:
    return tuple(time_point(each.cell.length, each.samples_ms) for each in records if each.samples_ms)


def _column(name: str, error: float, freedom: int) -> Callable[[list[Record]], tuple[Point, ...]]:
    def points_of(records: list[Record]) -> tuple[Point, ...]:
        values = ((each.cell.length, getattr(each.row, name)) for each in records)
        return tuple(Point(length, float(value), error, freedom) for length, value in values if value)

    return points_of


# Memory is observed once in a cell; planned and observed memory agree within 10% (tests/device/test_memory.py), which
# is taken as two standard errors. The size of a state is exact.
_POINTS = {
    "time_ms": _times,
    "memory_bytes": _column("mem_peak_bytes", 0.05, 10_000),
    "state_bytes": _column("state_bytes", 0.0, 0),
}
