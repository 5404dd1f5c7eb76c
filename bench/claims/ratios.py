"""Ratios of measured times with their intervals, replicate by replicate."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from lengthscale.bench.claims.claim import is_of
from lengthscale.bench.claims.family import At
from lengthscale.bench.plan.status import Status
from lengthscale.bench.results import intervals
from lengthscale.bench.results.estimate import Estimate
from lengthscale.bench.results.result import Result


def found(results: list[Result], **cell) -> Result | None:
    """The first ok result with times whose cell has these values."""
    good = (result for result in results if result.status == Status.OK and result.medians_ms)
    return next((r for r in good if is_of(r, **cell)), None)


def of_times(over: Result | None, under: Result | None) -> At:
    """The time of a step in `over` divided by that in `under`; None where one of them is missing."""
    return lambda confidence: _ratio(over, under, 1.0, confidence)


def of_speeds(over: Result | None, under: Result | None) -> At:
    """The sequences a second in `over` divided by those in `under`; None where one of them is missing."""
    if over is None or under is None:
        return lambda confidence: None
    factor = over.cell.batch / under.cell.batch
    return lambda confidence: _ratio(under, over, factor, confidence)


def replicates_of(*results: Result | None) -> int:
    """The number of replicates that all of these have."""
    return min((len(result.medians_ms) if result else 0 for result in results), default=0)


def logs_of(*results: Result) -> np.ndarray:
    """The logarithms of the times in the replicates that all of these have, (replicates, results)."""
    count = replicates_of(*results)
    return np.log([result.medians_ms[:count] for result in results]).T


def passes(pairs: Mapping[int, tuple[Result, Result]], level: float) -> At:
    """The length at which a ratio of times rises over a level, by straight lines between logarithms.

    It is None where that does not happen, and has no interval where it does not in some replicate. pairs: the length ->
    the results whose times are divided, short lengths first.
    """
    lengths = np.log(list(pairs))
    medians = [
        math.log(over.row.number("time_median_ms") / under.row.number("time_median_ms"))
        for over, under in pairs.values()
    ]
    of_replicates = zip(*(_log_ratio(logs_of(*pair)) for pair in pairs.values()), strict=False)
    middle, *others = (_rise(lengths, np.array(each), math.log(level)) for each in (medians, *of_replicates))

    def at(confidence: float) -> Estimate | None:
        if middle is None:
            return None
        known = [each for each in others if each is not None]
        if len(known) < len(others):
            return Estimate(math.exp(middle))
        return exp(intervals.student(known, middle, confidence))

    return at


def _rise(x: np.ndarray, y: np.ndarray, level: float) -> float | None:
    """Where y first rises over the level, linear between the points."""
    for at in range(len(y) - 1):
        if y[at] < level <= y[at + 1]:
            return float(x[at] + (level - y[at]) / (y[at + 1] - y[at]) * (x[at + 1] - x[at]))
    return None


def _ratio(over: Result | None, under: Result | None, factor: float, confidence: float) -> Estimate | None:
    if over is None or under is None:
        return None
    ratio = over.row.number("time_median_ms") / under.row.number("time_median_ms")
    return exp(intervals.of_medians(logs_of(over, under), _log_ratio, math.log(ratio), confidence)).times(factor)


def _log_ratio(logs: np.ndarray) -> np.ndarray:
    """Of the logarithms of two times, (..., 2), that of their ratio, (...)."""
    return logs[..., 0] - logs[..., 1]


def exp(logarithm: Estimate) -> Estimate:
    """The estimate whose logarithm is this."""
    ends = (None if end is None else math.exp(end) for end in (logarithm.low, logarithm.high))
    return Estimate(math.exp(logarithm.value), *ends)
