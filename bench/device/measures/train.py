"""One training step on sequences of L tokens: forward, backward and AdamW update, with all state donated."""

from __future__ import annotations

from lengthscale.bench.device.program import Notifier, Program, measure
from lengthscale.bench.device.training import make_training
from lengthscale.bench.device.workloads import make_workload
from lengthscale.bench.device.workloads.base import Arrays, Workload
from lengthscale.bench.plan.cell import Cell
from lengthscale.bench.plan.settings import Settings
from lengthscale.bench.results.messages import Done

LEARNING_RATE = 1e-4  # small, since only the cost is measured


def make_program(cell: Cell, settings: Settings) -> Program:
    """The program of one training step."""
    workload = make_workload(cell)
    return program_on(cell, workload, workload.example(), settings.remat)


def program_on(cell: Cell, workload: Workload, inputs: Arrays, remat: str) -> Program:
    """The program of one training step on these inputs, of which only shapes and dtypes matter before it runs."""
    return make_training(cell, workload, LEARNING_RATE, inputs, remat=remat)


def run(cell: Cell, settings: Settings, notify: Notifier) -> Done:
    """Measure the cell. Raises SkippedError where the program does not fit into memory."""
    return measure(make_program(cell, settings), settings, notify)
