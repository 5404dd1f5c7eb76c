"""Ratios of measured times with their intervals, replicate by replicate."""

from __future__ import annotations

import math

import numpy as np

from lengthscale.bench.claims.claim import is_of
from lengthscale.bench.plan.status import Status
from lengthscale.bench.results import intervals
from lengthscale.bench.results.estimate import Estimate
from lengthscale.bench.results.result import Result


def found(results: list[Result], **cell) -> Result | None:
    """The first ok result with times whose cell has these values."""
    good = (result for result in results if result.status == Status.OK and result.medians_ms)
    return next((r for r in good if is_of(r, **cell)), None)


def of_times(over: Result | None, under: Result | None) -> Estimate | None:
    """The time of a step in `over` divided by that in `under`; None where one of them is missing."""
    return _ratio(over, under, 1.0)


def of_speeds(over: Result | None, under: Result | None) -> Estimate | None:
    """The tokens a second in `over` divided by those in `under`; None where one of them is missing."""
    if over is None or under is None:
        return None
    return _ratio(under, over, over.cell.batch / under.cell.batch)


def _ratio(over: Result | None, under: Result | None, factor: float) -> Estimate | None:
    if over is None or under is None:
        return None
    count = min(len(over.medians_ms), len(under.medians_ms))
    ratio = over.row.number("time_median_ms") / under.row.number("time_median_ms")
    of_replicates = np.log(over.medians_ms[:count]) - np.log(under.medians_ms[:count])
    found = intervals.student(of_replicates, math.log(ratio))
    ends = (None if end is None else factor * math.exp(end) for end in (found.low, found.high))
    return Estimate(factor * ratio, *ends)
