"""Contenders in jax: a function of named arrays, compiled and ready to call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from lengthscale.bench.device import memory
from lengthscale.bench.peers.case import Case
from lengthscale.bench.peers.contenders.prepared import Arrays, Given, Prepared, nothing

Sequence = Callable[[dict], Any]  # arrays -> y
Step = Callable[[dict, dict], tuple[Any, dict]]  # arrays, state -> y, state


def sequence(function: Sequence, case: Case, given: Given, work: float | None = None) -> Prepared:
    """The contender that calls `function` on a whole sequence; for "train", with the gradients by all arrays.

    work: FLOPs of one call, where a rate counts.
    """
    arrays = jax.device_put(given.arrays)
    if case.measure != "train":
        return prepare(function, arrays, outputs=lambda y: {"y": _float32(y)}, work=work)

    def value(arrays, w):
        return (function(arrays) * w).sum()

    def pulled_back(arrays, w):
        y, pull_back = jax.vjp(function, arrays)
        return y, *pull_back(w)

    train = jax.value_and_grad(value) if given.summed else pulled_back
    return prepare(train, arrays, jax.device_put(given.w), outputs=lambda results: named(results[1]), work=work)


def named(gradients: dict) -> Arrays:
    """Gradients under the names of outputs, such as "d x" for the gradient by x."""
    return {f"d {name}": _float32(gradient) for name, gradient in gradients.items()}


def _float32(x: jax.Array) -> np.ndarray:
    return np.asarray(x, np.float32)


def step(function: Step, given: Given, work: float | None = None) -> Prepared:
    """The contender that calls `function` on one token. The state is donated, and a call's new state goes to the next.

    work: None for the bytes of all arrays and of the state.
    """
    arrays, state = jax.device_put((given.arrays, given.state))
    compiled = jax.jit(function, donate_argnums=1).lower(arrays, state).compile()

    def call():
        nonlocal state
        y, state = jax.block_until_ready(compiled(arrays, state))
        return y

    return Prepared(call, lambda y: {"y": np.asarray(y)}, work or float(memory.tree_bytes((arrays, state))))


def prepare(function: Callable, *args, outputs=nothing, work: float | None = None) -> Prepared:
    """The contender that calls `function`, compiled for these arguments, which are on the device."""
    compiled = jax.jit(function).lower(*args).compile()
    plan = compiled.memory_analysis()
    return Prepared(
        lambda: compiled(*args),
        outputs,
        work,
        None if plan is None else plan.temp_size_in_bytes,
        wait=jax.block_until_ready,
    )
