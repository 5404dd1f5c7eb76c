"""Operator: the operator over positions alone, outputs and gradients, at the shapes that one block of the model has.

A step gives the operator's outputs, and the gradient of their sum, weighted by random numbers, with respect to all
arrays that the operator reads. `operand_bytes` is what any form of it must move: those arrays, the weights, the outputs
and the gradients, each once. `calls` says which algorithm has run: the kernels that the step calls.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import jax
from flax import nnx

from lengthscale.bench.device import memory
from lengthscale.bench.device.flops import inner_jaxprs
from lengthscale.bench.device.learner import make_learner
from lengthscale.bench.device.operator_alone import OPERATORS, Tokens, layer_of
from lengthscale.bench.device.program import Notifier, Program, measure
from lengthscale.bench.device.workloads import make_endless_workload
from lengthscale.bench.plan.cell import Cell
from lengthscale.bench.plan.dtypes import DTYPES
from lengthscale.bench.plan.settings import Settings
from lengthscale.bench.results.messages import Done

NO_KERNEL = "none"  # all of the step is XLA's own code


def make_program(cell: Cell, settings: Settings) -> Program:
    """The program of one step. Raises NotImplementedError where the model has no such operator."""
    learner = make_learner(cell, make_endless_workload(cell))

    def make_layer(key):
        return layer_of(learner.model(*learner.make(key)))

    layer = nnx.eval_shape(make_layer, jax.random.key(cell.seed))
    operator = OPERATORS.get(type(layer))
    if operator is None:
        raise NotImplementedError(f"{cell.model} has no operator over positions that can be measured alone")
    apply = partial(operator.apply, layer)

    def make_state(key):
        of_model, of_tokens = jax.random.split(key)
        tokens = Tokens(cell.batch, cell.length, DTYPES[cell.dtype].arrays, nnx.Rngs(of_tokens))
        operands = operator.operands(make_layer(of_model), tokens)
        outputs = jax.eval_shape(apply, *operands)
        return operands, jax.random.normal(tokens.rngs.params(), outputs.shape, outputs.dtype)

    @jax.jit
    def step(operands, weights):
        outputs, pull = jax.vjp(apply, *operands)
        return outputs, pull(weights)

    def columns(results) -> dict:
        args = jax.eval_shape(make_state, jax.random.key(cell.seed))
        called = dict.fromkeys(_kernels_of(step.trace(*args).jaxpr))
        return {
            "n_params": learner.n_params,
            "operand_bytes": memory.tree_bytes((args, results)),
            "calls": " ".join(called) or NO_KERNEL,
        }

    return Program(
        step=step,
        make_state=make_state,
        inputs=(),
        seed=cell.seed,
        name=f"{cell.key()} operator",
        tokens=cell.batch * cell.length,
        columns=columns,
    )


def run(cell: Cell, settings: Settings, notify: Notifier) -> Done:
    """Measure the cell. Raises SkippedError where the program does not fit into memory."""
    return measure(make_program(cell, settings), settings, notify)


def _kernels_of(jaxpr: Any) -> Iterator[str]:
    """The names of the kernels that a program calls: our own in C++ and in Pallas, and cuDNN's attention."""
    for eqn in jaxpr.eqns:
        name = eqn.primitive.name
        if name == "ffi_call":
            yield eqn.params["target_name"]
        elif name == "pallas_call":
            yield eqn.params["name"] or name
        elif name.startswith("dot_product_attention"):
            yield name
        else:
            for inner in inner_jaxprs(eqn):
                yield from _kernels_of(inner)
