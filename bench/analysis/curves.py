"""Curves: a cost against length as one run measured it, a value for each length and replicate.

Whatever follows from a curve (an exponent, a crossing, a ratio) is computed for the medians, and once for each
replicate; its interval is over the replicates (intervals.of_medians). So what a whole replicate has in common, such as
the machine's level at that time, cancels as it does in the number itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from lengthscale.bench.plan.measures import MEASURES
from lengthscale.bench.plan.series import SeriesKey
from lengthscale.bench.plan.status import TIMED
from lengthscale.bench.results import intervals
from lengthscale.bench.results.result import Result

FEWEST = 4  # lengths that a fit needs
NOT_ENOUGH = "not enough data"


@dataclass(frozen=True)
class Point:
    """The values of a curve at one length, positive numbers."""

    length: int
    values: tuple[float, ...]  # of the replicates, in their order
    exact: bool = False  # the value is counted, and one replicate tells it

    @property
    def value(self) -> float:
        """The median of the replicates' values."""
        return float(np.median(self.values))

    @property
    def error(self) -> float:
        """The standard error of log(value); 0 where it is exact or unknown."""
        if self.exact or len(self.values) < intervals.FEWEST:
            return 0.0
        return float(np.std(np.log(self.values), ddof=1) / len(self.values) ** 0.5)


@dataclass(frozen=True)
class Curve:
    """One quantity of one series, short lengths first."""

    series: SeriesKey
    quantity: str  # one of QUANTITIES
    points: tuple[Point, ...]
    note: str = ""  # what failed
    disturbed: int = 0  # how many of its points other processes have disturbed

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
        """The standard errors of log(value), (points,)."""
        return np.array([point.error for point in self.points])


def by_replicate(points: Sequence[Point]) -> np.ndarray | None:
    """The values of each replicate that all points have, (replicates, points); None of fewer than 3 replicates."""
    counts = [len(point.values) for point in points if not point.exact]
    count = min(counts, default=intervals.FEWEST)
    if count < intervals.FEWEST:
        return None
    return np.array([[point.value] * count if point.exact else point.values[:count] for point in points], float).T


def curves_of(results: Iterable[Result]) -> list[Curve]:
    """The curves of each quantity of each series, in the results' order; none for measures that train."""
    by_series: dict[SeriesKey, list[Result]] = {}
    for result in results:
        if MEASURES[result.cell.measure].replicated:
            by_series.setdefault(result.cell.series(), []).append(result)
    curves = []
    for series, mine in by_series.items():
        good = sorted((result for result in mine if result.status in TIMED), key=lambda result: result.cell.length)
        note = ", ".join(f"{result.status} at {result.cell.length}" for result in mine if result not in good)
        for quantity, values_of in QUANTITIES.items():
            points = tuple(point_of(each.cell.length, values) for each in good if (values := values_of(each)))
            disturbed = sum(each.is_disturbed for each in good) if quantity == "time_ms" else 0
            if points:
                curves.append(Curve(series, quantity, points, note, disturbed))
    return curves


def point_of(length: int, values: Sequence[float]) -> Point:
    """The point of replicates' values. Whole numbers that are all the same were counted, so they are exact."""
    exact = isinstance(values[0], int) and len(set(values)) == 1
    return Point(length, tuple(map(float, values)), exact)


def _column(name: str) -> Callable[[Result], list]:
    """The function that gives a column of each replicate's first row."""
    return lambda result: [value for each in result.replicates if (value := getattr(each.row, name)) is not None]


# What fits.csv calls a quantity -> its values in the replicates of a cell. FLOPs and bytes that are no peak are exact.
QUANTITIES: dict[str, Callable[[Result], Sequence[float]]] = {
    "time_ms": lambda result: result.medians_ms,
    "memory_bytes": lambda result: [float(value) for value in _column("mem_peak_bytes")(result)],
    "state_bytes": _column("state_bytes"),
    "flops": _column("flops"),
    "operand_bytes": _column("operand_bytes"),
}
