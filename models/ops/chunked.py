"""A recurrence in chunks that keeps only the states between them, with the gradient of the whole.

A chunk maps the shared parameters s, the state h_i before it and its inputs x_i to the state after it and its outputs:

    h_{i+1}, y_i = f(s, h_i, x_i)

The forward pass is `lax.scan` of f over the chunks i and keeps (h_i, x_i). With dy_i = dL/dy_i given and dh_{i+1} =
dL/dh_{i+1} carried, the backward pass runs the chunks in reverse; each one recomputes the states inside itself from h_i
and applies the transposed Jacobian of f:

    ds_i, dh_i, dx_i = (df/d(s, h_i, x_i))^T (dh_{i+1}, dy_i)          ds = sum_i ds_i

For T tokens in chunks of C, the states kept are T / C, and those recomputed at one time are C: checkpointing with one
level (Griewank and Walther, "Evaluating Derivatives", 2008, chapter 12), as in Gu and Dao, arXiv:2312.00752, 3.3.2.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Inexact, PyTree


class ChunkForm(NamedTuple):
    """How one chunk is computed. jit's caches compare it by identity: make each form once, or cache what makes it.

    forward: (shared, state, inputs) -> (state after, outputs). backward: (shared, state, inputs, gradient of the state
    after, gradient of the outputs) -> the gradients of (shared, state, inputs).
    """

    forward: Callable
    backward: Callable


def by_autodiff(forward: Callable) -> Callable:
    """The backward of a chunk whose forward is this, by jax."""

    def backward(shared, state, inputs, dafter, dy):
        _, vjp = jax.vjp(forward, shared, state, inputs)
        return vjp((dafter, dy))

    return backward


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def over_chunks(
    form: ChunkForm,
    shared: PyTree[Inexact[Array, "..."]],
    state: PyTree[Inexact[Array, "..."]],
    inputs: PyTree[Inexact[Array, "I ..."]],
) -> tuple[PyTree[Inexact[Array, "I ..."]], PyTree[Inexact[Array, "..."]]]:
    """The outputs of all chunks, stacked, and the state after the last one.

    form: how one chunk is computed. shared: the parameters of all chunks. state: the state before the first one.
    inputs: those of all chunks; their leading axis is the chunks. All but the form are trees of arrays.
    """
    return _fwd(form, shared, state, inputs)[0]


def _fwd(form, shared, state, inputs):
    def body(before, x):
        after, y = form.forward(shared, before, x)
        return after, (y, before)

    last, (y, borders) = lax.scan(body, state, inputs)
    return (y, last), (shared, inputs, borders)


def _bwd(form, residuals, cotangents):
    shared, inputs, borders = residuals
    dy, dlast = cotangents

    def body(carry, x):
        total, dafter = carry
        before, inputs, dy = x
        dshared, dbefore, dinputs = form.backward(shared, before, inputs, dafter, dy)
        return (jax.tree.map(jnp.add, total, dshared), dbefore), dinputs

    start = (jax.tree.map(jnp.zeros_like, shared), dlast)
    (dshared, dstate), dinputs = lax.scan(body, start, (borders, inputs, dy), reverse=True)
    return dshared, dstate, dinputs


over_chunks.defvjp(_fwd, _bwd)
