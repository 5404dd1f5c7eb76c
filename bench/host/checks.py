"""Checks of a cell's method before the cell is measured, once for each method at each shape."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from lengthscale.bench.host.known import KnownOfMachine
from lengthscale.bench.host.runner import Runner
from lengthscale.bench.plan.cell import Cell
from lengthscale.bench.plan.measures import MEASURES
from lengthscale.bench.plan.status import ENDED_EARLY, Status
from lengthscale.bench.results.messages import Done
from lengthscale.bench.results.record import Record, not_run

UNCHECKED = (Status.UNSUPPORTED, Status.SKIPPED, *ENDED_EARLY)  # the measurement will end in the same way, or well


class Checks:
    """Checks each method at each shape once, for all sizes of a model and all seeds.

    found: earlier results of this process. known: those of earlier runs.
    """

    def __init__(self, runner: Runner, found: dict[Cell, Done] | None = None, known: KnownOfMachine | None = None):
        self._runner = runner
        self._found = {} if found is None else found
        self._known = known or KnownOfMachine()

    def missing(self, cells: Iterable[Cell]) -> list[Cell]:
        """A cell for each check that these cells need and that has not been made."""
        wanted = {_key(cell): cell for cell in cells}
        return [cell for key, cell in wanted.items() if self._earlier(key) is None]

    def learn(self, cell: Cell, done: Done) -> Done:
        """Keep the outcome of a cell's check."""
        key = _key(cell)
        self._found[key] = done
        self._known.learn(key, done)
        return done

    def refusal(self, cell: Cell) -> Record | None:
        """The record of a cell whose method is wrong or could not be checked; None where it may be measured."""
        checked = self._earlier(_key(cell)) or self.learn(cell, self._runner.check(cell))
        if checked.status in (Status.OK, *UNCHECKED):
            return None
        message = checked.message if checked.status == Status.INCORRECT else f"the check: {checked.message}"
        return not_run(cell, checked.status, message, stage="check")

    def _earlier(self, key: Cell) -> Done | None:
        return self._found.get(key) or self._known.check(key)


def _key(cell: Cell) -> Cell:
    """The cell that stands for all that have the same check: it depends on what they do with the model."""
    kind = "train" if MEASURES[cell.measure].trains else cell.measure
    return replace(cell, size="", seed=0, measure=kind)
