"""Prefill: L tokens in, out come the last one's logits and the state that decoding continues from."""

from __future__ import annotations

import jax

from bench import memory
from bench.cell import Cell
from bench.learner import make_learner
from bench.measures import MEASURES
from bench.program import Program, Report, Result, measure
from bench.suites import Settings
from bench.workloads import make_workload


def make_program(cell: Cell, settings: Settings) -> Program:
    workload = make_workload(cell)
    learner = make_learner(cell, workload)

    @jax.jit
    def step(params, statistics, *prompt):
        return workload.prefill(learner.model(params, statistics), *prompt)

    program = Program(
        step=step,
        make_state=learner.make_cast,
        inputs=workload.prompt(),
        seed=cell.seed,
        tokens=cell.batch * cell.length,
        columns={"n_params": learner.n_params},
    )
    _, state = jax.eval_shape(step, *program.abstract_args)
    program.columns["state_bytes"] = memory.tree_bytes(state) if state is not None else None
    return program


def run(cell: Cell, settings: Settings, report: Report) -> Result:
    return measure(make_program(cell, settings), settings, report, MEASURES[cell.measure].rounds)
