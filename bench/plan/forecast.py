"""Predictions for a cell from shorter cells of its series: the time of a step, and whether to start the cell."""

from __future__ import annotations

import math
from collections.abc import Hashable
from dataclasses import dataclass

from lengthscale.bench.plan.cell import Cell
from lengthscale.bench.plan.settings import Settings
from lengthscale.bench.plan.status import ENDED_EARLY, Status

STEEPEST = 2.3  # a steeper slope comes from noise or from a cache that became too small, and is not extrapolated


@dataclass(frozen=True)
class Point:
    """How the cell of one length ended, and how long a step took."""

    length: int
    status: Status
    step_s: float | None
    message: str = ""


class History:
    """How the lengths of each series ended so far. The caller chooses the keys of series: of cells, or of peers."""

    def __init__(self):
        self._series: dict[Hashable, dict[int, Point]] = {}

    def learn(self, series: Hashable, point: Point) -> None:
        """Store a point; of several points at one length the last one counts."""
        self._series.setdefault(series, {})[point.length] = point

    def reason_to_skip(self, series: Hashable, length: int) -> str | None:
        """Why a length should not be started: a shorter one ended early, or was skipped. None: it may start."""
        for point in self._shorter(series, length):
            why = f": {point.message}" if point.message else ""
            if point.status in ENDED_EARLY:
                return f"L={point.length} of this series ended with {point.status}{why}"
            if point.status == Status.SKIPPED:
                return f"L={point.length} of this series was skipped{why}"
        return None

    def step_s(self, series: Hashable, length: int, least_slope: float) -> float | None:
        """The predicted seconds of a step, by a straight log-log line through the last two shorter lengths.

        least_slope: the smallest exponent with which a step's time may grow. None where no shorter length has a time.
        """
        points = [(point.length, point.step_s) for point in self._shorter(series, length) if point.step_s]
        if not points:
            return None
        last_length, last_s = points[-1]
        slope = least_slope
        if len(points) > 1:
            before, before_s = points[-2]
            rise = math.log(last_s / before_s) / math.log(last_length / before)
            slope = min(max(rise, slope), STEEPEST)
        return last_s * (length / last_length) ** slope

    def _shorter(self, series: Hashable, length: int) -> list[Point]:
        points = self._series.get(series, {}).values()
        return sorted((point for point in points if point.length < length), key=lambda point: point.length)


class Forecast:
    """Predicts from all first replicates so far whether a cell is worth starting."""

    def __init__(self, settings: Settings):
        self._settings = settings
        self._history = History()

    def learn(self, cell: Cell, status: Status, median_ms: float | None) -> None:
        """Store how a cell ended, and its median time."""
        self._history.learn(cell.series(), Point(cell.length, status, median_ms / 1e3 if median_ms else None))

    def step_s(self, cell: Cell) -> float | None:
        """The predicted seconds of a step; None where no shorter cell has a time."""
        least = 1.0 if cell.measure in ("forward", "train", "operator") else 0.0
        return self._history.step_s(cell.series(), cell.length, least)

    def reason_to_skip(self, cell: Cell) -> str | None:
        """Why the cell should not be started, or None."""
        if cell.measure == "quality":  # its cost follows from the budget of tokens, not from the length
            return None
        if reason := self._history.reason_to_skip(cell.series(), cell.length):
            return reason
        step_s = self.step_s(cell)
        if step_s is None:
            return None
        settings = self._settings.of(cell.measure, cell.size)
        calls = 1 + settings.samples(step_s)
        needed = calls * step_s
        if needed > settings.timeout_s:
            return (
                f"predicted {needed:.0f} s for {calls} steps of {step_s:.1f} s, over the deadline of "
                f"{settings.timeout_s:.0f} s"
            )
        return None
