"""Crossings: the length from which on one model costs more than another.

Between the measured lengths a curve is its fit a + b L + c L^2 times a correction, which is interpolated over
log(length) so that the curve passes through every median. The crossing is the last one within the range; its 95%
interval is Student's t over the crossings of the replicates. It counts only if all replicates cross and each model is
significantly cheaper somewhere on its side. Beyond the range the fits are extrapolated, each scaled to pass through its
longest point.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np

from lengthscale.bench.analysis.curves import FEWEST, NOT_ENOUGH, Curve, by_replicate
from lengthscale.bench.analysis.terms import extrapolate, fit_terms
from lengthscale.bench.plan.series import SeriesKey
from lengthscale.bench.results import intervals
from lengthscale.bench.results.csv_table import CsvTable, TextRow, table_of
from lengthscale.bench.results.estimate import Estimate

CROSSES, BEYOND, NOT_DECIDED = "crosses", "beyond the range", "not decided"
SHARED = ("measure", "size", "batch", "dtype", "seed")  # equal in two curves that are compared
CROSSING_COLUMNS = (
    *("quantity", *SHARED, "model_short", "model_long"),
    *("length", "length_low", "length_high", "status", "range_min", "range_max", "extrapolated_length", "note"),
)
GRID = 200  # lengths at which two curves are compared
FARTHEST = 64  # times the longest length: the end of the extrapolation


@dataclass(frozen=True)
class Crossing:
    """Where the cost of one model passes that of another, or why that is unknown."""

    quantity: str
    series: SeriesKey  # of the first curve; the keys in SHARED are equal in both
    model_short: str  # the cheaper one at shorter lengths, with its method
    model_long: str  # the cheaper one at longer lengths
    status: str
    length: Estimate | None = None  # an end of its interval that is outside of the range is None
    range_min: int | None = None  # of the lengths that both curves have
    range_max: int | None = None
    extrapolated_length: float | None = None
    note: str | None = None

    def columns(self) -> dict[str, Any]:
        """The crossing as a row of crossovers.csv."""
        own = {name: getattr(self, name) for name in CROSSING_COLUMNS if name != "length" and hasattr(self, name)}
        length = self.length
        ends = {"length": length.value, "length_low": length.low, "length_high": length.high} if length else {}
        return {**{name: getattr(self.series, name) for name in SHARED}, **own, **ends}


def crossing_of(row: TextRow) -> Crossing:
    """The crossing that a row of crossovers.csv is of; of its series the row says only what SHARED names.

    Raises JournalError where a number is something else.
    """
    return Crossing(
        quantity=row.text("quantity"),
        series=row.series(row.text("measure")),
        model_short=row.text("model_short"),
        model_long=row.text("model_long"),
        status=row.text("status"),
        length=row.estimate("length"),
        range_min=row.whole("range_min") or None,
        range_max=row.whole("range_max") or None,
        extrapolated_length=row.known("extrapolated_length"),
        note=row.text("note") or None,
    )


def table_of_crossings(crossings: Iterable[Crossing]) -> CsvTable:
    """crossovers.csv."""
    return table_of(CROSSING_COLUMNS, (crossing.columns() for crossing in crossings))


def crossovers(curves: list[Curve]) -> list[Crossing]:
    """The crossing of each pair of comparable curves."""
    groups: dict[tuple, list[Curve]] = {}
    for curve in curves:
        key = (curve.quantity, *(getattr(curve.series, name) for name in SHARED))
        groups.setdefault(key, []).append(curve)
    return [crossover(*pair) for group in groups.values() for pair in combinations(group, 2)]


def crossover(first: Curve, second: Curve) -> Crossing:
    """The crossing of two curves, which may be given in either order."""
    names = (first.quantity, first.series, first.name, second.name)
    common = np.intersect1d(first.lengths, second.lengths)
    if len(common) < FEWEST:
        return Crossing(*names, NOT_ENOUGH, note=f"{len(common)} lengths in common")
    pair = Pair(first, second, common)
    length = pair.last_crossing()
    if pair.difference[-1] < 0 if length is not None else pair.difference[-1] > 0:
        return crossover(second, first)
    measured = replace(Crossing(*names, NOT_DECIDED), range_min=int(common[0]), range_max=int(common[-1]))
    if length is None:
        farther = pair.extrapolated()
        note = None if farther else f"by the fits not up to {FARTHEST * int(common[-1])} either"
        return replace(measured, status=BEYOND, extrapolated_length=farther, note=note)
    if doubt := pair.doubt_about(length):
        return replace(measured, length=Estimate(length), note=doubt)
    return replace(measured, status=CROSSES, length=pair.estimate(length))


class Pair:
    """Two curves at the lengths that they share. `difference`: log(first / second) on a grid of lengths, (GRID,)."""

    def __init__(self, first: Curve, second: Curve, lengths: np.ndarray):
        self._lengths = lengths
        points = first.at(lengths), second.at(lengths)
        values = [np.array([point.value for point in each]) for each in points]
        errors = [np.array([point.error for point in each]) for each in points]
        self._terms = [fit_terms(lengths, *each) for each in zip(values, errors, strict=True)]
        self._ends = [each[-1] for each in values]
        self._grid = np.geomspace(lengths[0], lengths[-1], GRID)
        self._fitted = np.log(self._terms[0](lengths) / self._terms[1](lengths))
        self._between_points = np.log(self._terms[0](self._grid) / self._terms[1](self._grid))
        self.difference = self._paths(np.log(values[0] / values[1])[None])[0]
        ours, theirs = map(by_replicate, points)
        self._replicates = None  # log(first / second) at the points, (replicates, points)
        if ours is not None and theirs is not None:
            count = min(len(ours), len(theirs))
            self._replicates = np.log(ours[:count] / theirs[:count])

    def _weights(self, at: np.ndarray) -> np.ndarray:
        """The interpolation weights of the points at some lengths, (lengths, points)."""
        steps = np.log(at), np.log(self._lengths)
        return np.stack([np.interp(*steps, one) for one in np.eye(len(self._lengths))], axis=1)

    def _paths(self, at_points: np.ndarray) -> np.ndarray:
        """Differences at the points, (n, points), interpolated to the grid, (n, grid)."""
        return self._between_points + (at_points - self._fitted) @ self._weights(self._grid).T

    def last_crossing(self) -> float | None:
        """The longest length within the range at which the curves cross; None where they do not."""
        above = self.difference > 0
        changes = np.flatnonzero(above[1:] != above[:-1])
        return float(self._between(changes[-1], self.difference)) if len(changes) else None

    def doubt_about(self, length: float) -> str | None:
        """Why it is not decided that the curves cross at this length; None where it is."""
        if self._replicates is None:
            return "fewer than 3 replicates"
        ends = [intervals.student(each, float(np.median(each))) for each in self._replicates.T]
        before = any((end.high or 0.0) < 0 for end, at in zip(ends, self._lengths, strict=True) if at < length)
        beyond = any((end.low or 0.0) > 0 for end, at in zip(ends, self._lengths, strict=True) if at > length)
        if not (before and beyond):
            return "their difference is within their errors"
        missing = np.isnan(self._crossings()).sum()
        return f"{missing} of {len(self._replicates)} replicates do not cross" if missing else None

    def estimate(self, length: float) -> Estimate:
        """The length of a crossing with its interval; an end out of the range is None."""
        found = intervals.student(np.log(self._crossings()), math.log(length))
        low, high = (math.exp(end) if end is not None else math.nan for end in (found.low, found.high))
        return Estimate(length, low if low >= self._lengths[0] else None, high if high <= self._lengths[-1] else None)

    def _crossings(self) -> np.ndarray:
        """The last length at which the second model becomes cheaper in each replicate; nan where it does not."""
        assert self._replicates is not None
        paths = self._paths(self._replicates)
        rises = (paths[:, :-1] <= 0) & (paths[:, 1:] > 0)
        last = rises.shape[1] - 1 - rises[:, ::-1].argmax(axis=1)
        return np.where(rises.any(axis=1), self._between(last, paths.T), np.nan)

    def extrapolated(self) -> float | None:
        """The extrapolated length from which on the second model is cheaper, by the fits; None where there is none."""
        beyond = np.geomspace(self._lengths[-1], FARTHEST * self._lengths[-1], GRID)
        last = self._lengths[-1]
        costs = [extrapolate(terms, last, end, beyond) for terms, end in zip(self._terms, self._ends, strict=True)]
        passed = np.flatnonzero(costs[0] > costs[1])
        return float(beyond[passed[0]]) if len(passed) else None

    def _between(self, index, difference: np.ndarray):
        """The length at which a difference (grid, ...) is zero between the grid points `index` and `index + 1`."""
        here, there = (np.take_along_axis(difference, np.array(i)[None], axis=0)[0] for i in (index, index + 1))
        return self._grid[index] * (self._grid[index + 1] / self._grid[index]) ** (here / (here - there))
