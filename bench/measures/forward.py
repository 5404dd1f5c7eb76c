"""Prefill: L tokens in, out come the last one's logits and the state that decoding continues from."""

from __future__ import annotations

import jax

from bench import memory
from bench.cell import Cell
from bench.learner import cast, make_learner
from bench.measures import MEASURES
from bench.program import Program, Report, Result, measure
from bench.suites import Settings
from bench.tasks import text
from models import streaming


def make_program(cell: Cell, settings: Settings) -> Program:
    learner = make_learner(cell)

    @jax.jit
    def step(params, tokens):
        model = learner.model(params, cell.dtype)
        return streaming.prefill(model, tokens, capacity=cell.length, chunk=cell.chunk)

    program = Program(
        step=step,
        make_state=lambda key: (cast(learner.params(key), cell.dtype),),
        inputs=(text.windows(text.load(cell.data).tokens, cell.batch, cell.length),),
        seed=cell.seed,
        tokens=cell.batch * cell.length,
        columns={"n_params": learner.n_params},
    )
    _, state = jax.eval_shape(step, *program.abstract_args)
    program.columns["state_bytes"] = memory.tree_bytes(state)
    return program


def run(cell: Cell, settings: Settings, report: Report) -> Result:
    return measure(make_program(cell, settings), settings, report, MEASURES[cell.measure].rounds)
