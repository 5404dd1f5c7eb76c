"""Attention by a C++ kernel on a CPU (models/ops/native/attention.cc has the equations). Axes: see attention.py."""

# jax.custom_vjp's types lose what a function takes and returns:
# pyright: reportArgumentType=false, reportCallIssue=false, reportGeneralTypeIssues=false, reportIndexIssue=false

from functools import partial

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from models.ops import native


@partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def attention_native(
    q: Float[Array, "B T H K"],
    k: Float[Array, "B S J K"],
    v: Float[Array, "B S J K"],
    causal: bool,
    window: int | None,
) -> Float[Array, "B T H K"]:
    """All in float32, K a multiple of 8. window: keys that a query sees, itself included."""
    return _forward(q, k, v, causal, window)[0]


def _forward(q, k, v, causal, window):
    batch, length, heads, _ = q.shape
    results = native.like(q), jax.ShapeDtypeStruct((batch, heads, length), jnp.float32)
    return native.call("attention_forward", results, q, k, v, causal=causal, window=window or 0)


def _attention_fwd(q, k, v, causal, window):
    y, lse = _forward(q, k, v, causal, window)
    return y, (q, k, v, y, lse)


def _attention_bwd(causal, window, residuals, dy):
    results = tuple(native.like(x) for x in residuals[:3])
    return tuple(native.call("attention_backward", results, *residuals, dy, causal=causal, window=window or 0))


attention_native.defvjp(_attention_fwd, _attention_bwd)
