"""Ratios of measured times with their intervals, of raw samples; see bench/analysis/curves.py.

Not intervals.of_ratio: that resamples single samples, and those of a decoding step that follow each other are
alike, so that a thousand of them would seem to say more than they do.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import asdict
from typing import NamedTuple

import numpy as np

from lengthscale.bench.analysis.curves import draws, time_point
from lengthscale.bench.claims.claim import is_of
from lengthscale.bench.plan.status import Status
from lengthscale.bench.results.record import Record


class Ratio(NamedTuple):
    figure: float | None
    low: float | None
    high: float | None


NONE = Ratio(None, None, None)


def found(records: list[Record], **cell) -> Record | None:
    """The first ok record with samples whose cell has these values."""
    good = (record for record in records if record.status == Status.OK and record.samples_ms)
    return next((r for r in good if is_of(r, **cell)), None)


def of_times(over: Record | None, under: Record | None) -> Ratio:
    """Of the time of one record's step to the other's; nothing where one of them is missing."""
    return _ratio(over, under, 1.0)


def of_speeds(over: Record | None, under: Record | None) -> Ratio:
    """Of the tokens a second of one record to the other's."""
    if over is None or under is None:
        return NONE
    return _ratio(under, over, over.cell.batch / under.cell.batch)


def _ratio(over: Record | None, under: Record | None, factor: float) -> Ratio:
    if over is None or under is None:
        return NONE
    points = tuple(time_point(each.cell.length, each.samples_ms) for each in (over, under))
    figure = factor * points[0].value / points[1].value
    drawn = draws(points, zlib.crc32(f"{asdict(over.cell)} {asdict(under.cell)}".encode()))
    if drawn is None:
        return Ratio(figure, None, None)
    low, high = np.quantile(drawn[:, 0] - drawn[:, 1], (0.025, 0.975)) + math.log(factor)
    return Ratio(figure, float(np.exp(low)), float(np.exp(high)))
