"""Checks of a cell's method before the cell is measured, once for each method at each shape."""

from __future__ import annotations

from dataclasses import replace

from lengthscale.bench.host.runner import Runner
from lengthscale.bench.plan.cell import Cell
from lengthscale.bench.plan.measures import MEASURES
from lengthscale.bench.plan.status import ENDED_EARLY, Status
from lengthscale.bench.results.messages import Done
from lengthscale.bench.results.record import Record, not_run

UNCHECKED = (Status.UNSUPPORTED, Status.SKIPPED, *ENDED_EARLY)  # the measurement will end in the same way, or well


class Checks:
    """Checks each method at each shape once, for all sizes of a model and all seeds. known: earlier results."""

    def __init__(self, runner: Runner, known: dict[Cell, Done] | None = None):
        self._runner = runner
        self._known = {} if known is None else known

    def refusal(self, cell: Cell) -> Record | None:
        """The record of a cell whose method is wrong or could not be checked; None where it may be measured."""
        kind = "train" if MEASURES[cell.measure].trains else cell.measure  # what it does with the model
        key = replace(cell, size="", seed=0, measure=kind)
        if key not in self._known:
            self._known[key] = self._runner.check(cell)
        checked = self._known[key]
        if checked.status in (Status.OK, *UNCHECKED):
            return None
        message = checked.message if checked.status == Status.INCORRECT else f"the check: {checked.message}"
        return not_run(cell, checked.status, message, stage="check")
