"""Decoding: one token in, the next one out, at a context of L tokens.

The state is at position L - 1 of a capacity of L, and its content is random (workloads/base.py says why). Each step
reads all L positions, of which its own token is the last. The position is then set back, so that every sample has the
same context. The next input is the arg max of the logits, so that steps cannot overlap; a model of real features gets
its first output as the next input in the same way.
"""

from __future__ import annotations

import jax
from flax import nnx

from lengthscale.bench.device import memory
from lengthscale.bench.device.decoding import laid_out, next_inputs
from lengthscale.bench.device.learner import make_learner
from lengthscale.bench.device.program import Notifier, Program, measure
from lengthscale.bench.device.workloads import make_workload
from lengthscale.bench.device.workloads.base import Arrays, Workload
from lengthscale.bench.plan.cell import Cell
from lengthscale.bench.plan.settings import Settings
from lengthscale.bench.results.messages import Done


def make_program(cell: Cell, settings: Settings) -> Program:
    """The program of one decoding step. Compiling it raises NotImplementedError where the model does not decode."""
    workload = make_workload(cell)
    return program_on(cell, workload, workload.prompt())


def program_on(cell: Cell, workload: Workload, prompt: Arrays) -> Program:
    """The program of one decoding step on the prompt's first token, with the state of the workload.

    Compiling it raises NotImplementedError where the model does not decode.
    """
    learner = make_learner(cell, workload)

    def make_model(key):
        return laid_out(learner.model(*learner.make_cast(key)))

    def step(arrays, state, inputs):
        graph, _ = nnx.split(nnx.eval_shape(lambda: make_model(jax.random.key(cell.seed))))
        outputs, after = nnx.merge(graph, arrays)(inputs, state)
        assert after is not None
        return after._replace(position=state.position), next_inputs(outputs, inputs)

    def make_state(key):
        model = make_model(key)
        return nnx.state(model), workload.full_state(model, key)

    return Program(
        step=jax.jit(step, donate_argnums=(1, 2)),
        make_state=make_state,
        inputs=(prompt[0][:, :1],),
        seed=cell.seed,
        name=f"{cell.key()} decode",
        tokens=cell.batch,
        columns=lambda results: {"n_params": learner.n_params, "state_bytes": memory.tree_bytes(results[0])},
        advance=lambda args, results: (args[0], *results),
    )


def run(cell: Cell, settings: Settings, notify: Notifier) -> Done:
    """Measure the cell. Raises SkippedError, and NotImplementedError where the model does not decode."""
    return measure(make_program(cell, settings), settings, notify)
