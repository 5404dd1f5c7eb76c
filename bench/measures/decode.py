"""Decoding: one token in, the next one out, at a context of L tokens.

The state stands at position L - 1 of a capacity of L, filled with random numbers: what a step costs does not depend on
them, and filling a Transformer's cache by running it would cost more than all the rest. Each step reads all L
positions, its own token being the last; the position is then set back, so that every sample has the same context. The
next token is the arg max, fed back, so that steps cannot overlap.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from bench import memory
from bench.cell import Cell
from bench.learner import cast, make_learner
from bench.measures import MEASURES
from bench.program import Program, Report, Result, measure
from bench.suites import Settings
from bench.tasks import text
from models.base import State


def make_program(cell: Cell, settings: Settings) -> Program:
    learner = make_learner(cell)

    def step(params, state, tokens):
        logits, after = learner.model(params, cell.dtype)(tokens, state)
        assert after is not None
        return after._replace(position=state.position), jnp.argmax(logits, axis=-1).astype(tokens.dtype)

    def make_state(key):
        params = cast(learner.params(key), cell.dtype)
        empty = learner.model(params, cell.dtype).init_state(cell.batch, cell.length)
        return params, fill(empty, cell.length - 1, key)

    _, state = jax.eval_shape(make_state, jax.random.key(cell.seed))
    return Program(
        step=jax.jit(step, donate_argnums=(1, 2)),
        make_state=make_state,
        inputs=(text.windows(text.load(cell.data).tokens, cell.batch, 1),),
        seed=cell.seed,
        tokens=cell.batch,
        columns={"n_params": learner.n_params, "state_bytes": memory.tree_bytes(state)},
        advance=lambda args, results: (args[0], *results),
    )


def run(cell: Cell, settings: Settings, report: Report) -> Result:
    return measure(make_program(cell, settings), settings, report, MEASURES[cell.measure].rounds)


def fill(state: State, position: int, key) -> State:
    """A state as after `position` tokens, of random numbers in [-1, 1)."""
    leaves, tree = jax.tree.flatten(state.layers)
    keys = jax.random.split(key, len(leaves))
    random = [jax.random.uniform(key, x.shape, x.dtype, -1, 1) for key, x in zip(keys, leaves, strict=True)]
    return State(jnp.int32(position), jax.tree.unflatten(tree, random))
