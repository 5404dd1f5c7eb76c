"""One training step on sequences of L tokens: forward, backward, AdamW update, all state donated."""

from __future__ import annotations

from lengthscale.bench.device.program import Program, Report, measure
from lengthscale.bench.device.training import make_training
from lengthscale.bench.device.workloads import make_workload
from lengthscale.bench.plan.cell import Cell
from lengthscale.bench.plan.measures import MEASURES
from lengthscale.bench.plan.settings import Settings
from lengthscale.bench.results.messages import Done

LEARNING_RATE = 1e-4  # small: the cost is measured, not the learning


def make_program(cell: Cell, settings: Settings) -> Program:
    workload = make_workload(cell)
    return make_training(cell, workload, LEARNING_RATE, workload.example())


def run(cell: Cell, settings: Settings, report: Report) -> Done:
    return measure(make_program(cell, settings), settings, report, MEASURES[cell.measure].rounds)
