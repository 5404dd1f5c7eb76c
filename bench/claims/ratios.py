"""Ratios of measured times with their intervals, from raw samples; see bench/analysis/curves.py.

`intervals.ratio` does not fit here. It resamples single samples, but consecutive samples of a decoding step are
correlated, so its interval of a thousand of them would be too narrow.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import asdict

import numpy as np

from lengthscale.bench.analysis.curves import draws, time_point
from lengthscale.bench.claims.claim import is_of
from lengthscale.bench.plan.status import Status
from lengthscale.bench.results.estimate import Estimate
from lengthscale.bench.results.record import Record


def found(records: list[Record], **cell) -> Record | None:
    """The first ok record with samples whose cell has these values."""
    good = (record for record in records if record.status == Status.OK and record.samples_ms)
    return next((r for r in good if is_of(r, **cell)), None)


def of_times(over: Record | None, under: Record | None) -> Estimate | None:
    """The time of a step in `over` divided by that in `under`; None where one of them is missing."""
    return _ratio(over, under, 1.0)


def of_speeds(over: Record | None, under: Record | None) -> Estimate | None:
    """The tokens a second in `over` divided by those in `under`; None where one of them is missing."""
    if over is None or under is None:
        return None
    return _ratio(under, over, over.cell.batch / under.cell.batch)


def _ratio(over: Record | None, under: Record | None, factor: float) -> Estimate | None:
    if over is None or under is None:
        return None
    points = tuple(time_point(each.cell.length, each.samples_ms) for each in (over, under))
    value = factor * points[0].value / points[1].value
    drawn = draws(points, zlib.crc32(f"{asdict(over.cell)} {asdict(under.cell)}".encode()))
    if drawn is None:
        return Estimate(value)
    low, high = np.quantile(drawn[:, 0] - drawn[:, 1], (0.025, 0.975)) + math.log(factor)
    return Estimate(value, float(np.exp(low)), float(np.exp(high)))
