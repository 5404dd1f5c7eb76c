"""Ratios of measured times with their intervals, of raw samples; see bench/analysis/curves.py.

Not intervals.of_ratio: that resamples single samples, and those of a decoding step that follow each other are
alike, so that a thousand of them would seem to say more than they do.
"""

from __future__ import annotations

import math
import zlib
from typing import NamedTuple

import numpy as np

from lengthscale.bench.analysis.curves import draws, time_point


class Ratio(NamedTuple):
    figure: float | None
    low: float | None
    high: float | None


NONE = Ratio(None, None, None)


def found(records: list[dict], **cell) -> dict | None:
    """The first ok record with samples whose cell has these values."""
    good = (record for record in records if record["status"] == "ok" and record["samples_ms"])
    return next((r for r in good if all(r["cell"][key] == value for key, value in cell.items())), None)


def of_times(over: dict | None, under: dict | None) -> Ratio:
    """Of the time of one record's step to the other's; nothing where one of them is missing."""
    return _ratio(over, under, 1.0)


def of_speeds(over: dict | None, under: dict | None) -> Ratio:
    """Of the tokens a second of one record to the other's."""
    if over is None or under is None:
        return NONE
    return _ratio(under, over, over["cell"]["batch"] / under["cell"]["batch"])


def _ratio(over: dict | None, under: dict | None, factor: float) -> Ratio:
    if over is None or under is None:
        return NONE
    points = tuple(time_point(each["cell"]["length"], each["samples_ms"]) for each in (over, under))
    figure = factor * points[0].figure / points[1].figure
    drawn = draws(points, zlib.crc32(f"{over['cell']} {under['cell']}".encode()))
    if drawn is None:
        return Ratio(figure, None, None)
    low, high = np.quantile(drawn[:, 0] - drawn[:, 1], (0.025, 0.975)) + math.log(factor)
    return Ratio(figure, float(np.exp(low)), float(np.exp(high)))
