"""What a cell will take, from shorter cells of its series."""

from __future__ import annotations

import math
from dataclasses import dataclass

from lengthscale.bench.plan.cell import Cell
from lengthscale.bench.plan.series import SeriesKey
from lengthscale.bench.plan.settings import Settings
from lengthscale.bench.plan.status import ENDED_EARLY, Status

STEEPEST = 2.3  # a slope above this is noise or a cache falling over, not a law


@dataclass(frozen=True)
class Point:
    length: int
    status: Status
    step_s: float | None


class Forecast:
    """Learns from every record and every first round of samples, and says whether a cell is worth starting."""

    def __init__(self, settings: Settings):
        self._settings = settings
        self._series: dict[SeriesKey, dict[int, Point]] = {}

    def learn(self, cell: Cell, status: Status, median_ms: float | None) -> None:
        """How a cell ended, and its median time."""
        self._add(cell, Point(cell.length, status, median_ms / 1e3 if median_ms else None))

    def learn_step(self, cell: Cell, step_s: float) -> None:
        """A cell still at work says how long a step takes."""
        self._add(cell, Point(cell.length, Status.OK, step_s))

    def _add(self, cell: Cell, point: Point) -> None:
        self._series.setdefault(cell.series(), {})[cell.length] = point

    def step_s(self, cell: Cell) -> float | None:
        """The predicted seconds of a step: the straight log-log line through the last two shorter lengths."""
        points = [(p.length, p.step_s) for p in self._shorter(cell) if p.step_s]
        if not points:
            return None
        last_length, last_s = points[-1]
        slope = 1.0 if cell.measure in ("forward", "train") else 0.0
        if len(points) > 1:
            length, step_s = points[-2]
            rise = math.log(last_s / step_s) / math.log(last_length / length)
            slope = min(max(rise, slope), STEEPEST)
        return last_s * (cell.length / last_length) ** slope

    def reason_to_skip(self, cell: Cell) -> str | None:
        """Why the cell should not be started, or None."""
        if cell.measure == "quality":  # its cost is the budget of tokens, whatever the length
            return None
        for point in self._shorter(cell):
            if point.status in ENDED_EARLY:
                return f"L={point.length} of this series ended with {point.status}"
            if point.status == Status.SKIPPED:
                return f"L={point.length} of this series was skipped"
        step_s = self.step_s(cell)
        if step_s is None:
            return None
        slow = step_s > self._settings.slow_step_s
        samples = self._settings.min_samples_slow if slow else self._settings.min_samples
        calls = 1 + (2 if 2 * step_s >= self._settings.max_seconds else samples)
        needed = calls * step_s
        if needed > self._settings.timeout_s:
            return (
                f"predicted {needed:.0f} s for {calls} steps of {step_s:.1f} s, over the deadline of "
                f"{self._settings.timeout_s:.0f} s"
            )
        return None

    def _shorter(self, cell: Cell) -> list[Point]:
        points = self._series.get(cell.series(), {})
        return sorted((p for p in points.values() if p.length < cell.length), key=lambda p: p.length)
