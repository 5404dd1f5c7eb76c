"""What length buys: train at length L on a fixed budget of tokens, then evaluate on held-out data.

Every length sees the same number of tokens in the same number of steps (batch x L is fixed). What is evaluated is the
workload's: on a stream the loss on the same targets given more or less context (workloads/text.py); on a task
loss and accuracy at lengths beyond L (scored.py); on images the accuracy.
"""

from __future__ import annotations

from lengthscale.bench.device.evaluation import WINDOW_LOSSES
from lengthscale.bench.device.program import Program, Report, Result
from lengthscale.bench.device.training import make_budgeted, train
from lengthscale.bench.device.workloads import make_workload
from lengthscale.bench.plan.cell import Cell
from lengthscale.bench.plan.suites import Settings


def make_program(cell: Cell, settings: Settings) -> Program:
    return make_budgeted(cell, make_workload(cell), settings)


def run(cell: Cell, settings: Settings, report: Report) -> Result:
    workload = make_workload(cell)
    training = train(cell, workload, settings, report)
    if training.status != "ok":
        return Result([training.row], training.seconds, training.status, training.message)
    report("evaluate")
    found = list(workload.evaluate(training.model.call, settings))
    losses = [each.pop(WINDOW_LOSSES, None) for each in found]
    rows = [{**training.row, **each} for each in found]
    return Result(rows, training.seconds, window_losses=None if None in losses else losses)
