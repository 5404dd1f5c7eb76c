"""Prefill: L tokens in, the logits of the last one and the state from which decoding continues out."""

from __future__ import annotations

import jax

from lengthscale.bench.device import memory
from lengthscale.bench.device.learner import make_learner
from lengthscale.bench.device.program import Notifier, Program, measure
from lengthscale.bench.device.workloads import make_workload
from lengthscale.bench.device.workloads.base import Arrays, Workload
from lengthscale.bench.plan.cell import Cell
from lengthscale.bench.plan.settings import Settings
from lengthscale.bench.results.messages import Done


def make_program(cell: Cell, settings: Settings) -> Program:
    """The program of one prefill."""
    workload = make_workload(cell)
    return program_on(cell, workload, workload.prompt())


def program_on(cell: Cell, workload: Workload, inputs: Arrays) -> Program:
    """The program of one prefill of these inputs, of which only shapes and dtypes matter before it runs."""
    learner = make_learner(cell, workload)

    @jax.jit
    def step(params, statistics, *prompt):
        return workload.prefill(learner.model(params, statistics), *prompt)

    def columns(results) -> dict:
        _, state = results
        state_bytes = None if state is None else memory.tree_bytes(state)
        return {"n_params": learner.n_params, "state_bytes": state_bytes}

    return Program(
        step=step,
        make_state=learner.make_cast,
        inputs=inputs,
        seed=cell.seed,
        name=f"{cell.key()} forward",
        tokens=cell.batch * cell.length,
        columns=columns,
    )


def run(cell: Cell, settings: Settings, notify: Notifier) -> Done:
    """Measure the cell. Raises SkippedError where the program does not fit into memory."""
    return measure(make_program(cell, settings), settings, notify)
