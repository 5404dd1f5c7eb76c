"""One training step on sequences of L tokens: forward, backward, AdamW update, all state donated."""

from __future__ import annotations

from bench.cell import Cell
from bench.learner import make_learner, make_optimizer, make_train_step
from bench.measures import MEASURES
from bench.program import Program, Report, Result, measure
from bench.suites import Settings
from bench.tasks import text

LEARNING_RATE = 1e-4  # small: the cost is measured, not the learning


def make_program(cell: Cell, settings: Settings) -> Program:
    learner = make_learner(cell)
    optimizer = make_optimizer(LEARNING_RATE)

    def make_state(key):
        params = learner.params(key)
        return params, optimizer.init(params)

    return Program(
        step=make_train_step(learner, optimizer, cell),
        make_state=make_state,
        inputs=(text.windows(text.load(cell.data).tokens, cell.batch, cell.length + 1),),
        seed=cell.seed,
        tokens=cell.batch * cell.length,
        columns={"n_params": learner.n_params},
        advance=lambda args, results: (results[0], results[1], args[2]),
        loss=lambda results: results[2],
    )


def run(cell: Cell, settings: Settings, report: Report) -> Result:
    return measure(make_program(cell, settings), settings, report, MEASURES[cell.measure].rounds)
