"""Attention by a C++ kernel on a CPU (models/ops/native/attention.cc has the equations). Axes: see equation.py."""

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from lengthscale.models.ops import native
from lengthscale.models.ops.attention.equation import Cache, Mask


def attention_native(
    q: Float[Array, "B T H K"], k: Float[Array, "B S J K"], v: Float[Array, "B S J K"], mask: Mask
) -> Float[Array, "B T H K"]:
    """`models.ops.attention.attention` by the kernel. Same arguments, all in float32, K a multiple of 8.

    Available where `models.ops.attention.dispatch.misfit` gives no reason against it.
    """
    return _attention(q, k, v, causal=mask.causal, window=mask.window or 0)


def _forward(q, k, v, *, keep, causal, window):
    batch, length, heads, _ = q.shape
    results = native.like(q), native.floats(batch, heads, length)
    y, lse = native.call("attention_forward", results, q, k, v, causal=causal, window=window)
    return y, (q, k, v, y, lse)


def _backward(kept, dy, causal, window):
    return native.call("attention_backward", native.like(kept[:3]), kept, dy, causal=causal, window=window)


_attention = native.differentiable(_forward, _backward)


def step_native(
    q: Float[Array, "B 1 H K"],
    k: Float[Array, "B 1 J K"],
    v: Float[Array, "B 1 J K"],
    cache: Cache,
    mask: Mask,
) -> Float[Array, "B 1 H K"]:
    """`models.ops.attention.attention_with_cache` for one token by the kernel (models/ops/native/attention_step.cc).

    Same arguments, all in float32, K a multiple of 16. The cache is read once and not copied. It has no gradient.
    Available where `models.ops.attention.dispatch.reason_against_step` gives no reason against it.
    """
    at = tuple(jnp.asarray(number, jnp.int32) for number in (cache.layer, cache.filled))
    return native.call("attention_step", native.like(q), q, k, v, cache.k, cache.v, at, window=mask.window or 0)
