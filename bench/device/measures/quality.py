"""Quality: train at length L on a fixed budget of tokens, then evaluate on held-out data.

Every length trains on the same number of tokens in the same number of steps (batch x L is fixed). The workload decides
what is evaluated: on a stream the loss on the same targets with more or less context (workloads/text.py), on a task
loss and accuracy at lengths beyond L (scored.py), on images the accuracy.
"""

from __future__ import annotations

from lengthscale.bench.device.program import FINE, Notifier, Program, measured, with_place_losses
from lengthscale.bench.device.training import make_budgeted, train
from lengthscale.bench.device.workloads import make_workload
from lengthscale.bench.plan.cell import Cell
from lengthscale.bench.plan.settings import Settings
from lengthscale.bench.results.messages import Done


def make_program(cell: Cell, settings: Settings) -> Program:
    """The program of a training step."""
    return make_budgeted(cell, make_workload(cell), settings)


def run(cell: Cell, settings: Settings, notify: Notifier) -> Done:
    """Measure the cell. Raises SkippedError where the program does not fit into memory."""
    workload = make_workload(cell)
    training = train(cell, workload, settings, notify)
    if training.outcome != FINE:
        return training.failed()
    notify("evaluate")
    found = list(workload.evaluate(training.model.call, settings))
    columns = [*(each.columns for each in found), *training.curve]
    done = measured([{**training.row, **each} for each in columns], training.samples)
    losses = [*(each.place_losses for each in found), *(() for _ in training.curve)]
    return with_place_losses(done, losses) if any(losses) else done
