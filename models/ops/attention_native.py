"""Attention by a C++ kernel on a CPU (models/ops/native/attention.cc has the equations). Axes: see attention.py."""

# jax.custom_vjp's types lose what a function takes and returns:
# pyright: reportArgumentType=false, reportCallIssue=false, reportGeneralTypeIssues=false, reportIndexIssue=false

from functools import partial

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

from lengthscale.models.ops import native
from lengthscale.models.ops.availability import reason_against_float32_on_cpu


@partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def attention_native(
    q: Float[Array, "B T H K"],
    k: Float[Array, "B S J K"],
    v: Float[Array, "B S J K"],
    causal: bool,
    window: int | None,
) -> Float[Array, "B T H K"]:
    """Attention by the kernel, all in float32, K a multiple of 8; arguments as `models.ops.attention.attention`'s.

    Available where `models.ops.attention_kernels.misfit` gives no reason against it.
    """
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


def step_native(
    q: Float[Array, "B 1 H K"],
    k: Float[Array, "B 1 J K"],
    v: Float[Array, "B 1 J K"],
    k_cache: Float[Array, "N B J S K"],
    v_cache: Float[Array, "N B J S K"],
    layer: Int[Array, ""] | int,
    filled: Int[Array, ""] | int,
    window: int | None,
) -> Float[Array, "B 1 H K"]:
    """`models.ops.attention.attention_with_cache` for one token by the kernel (models/ops/native/attention_step.cc).

    Same arguments, all in float32, K a multiple of 16. The cache is read once and not copied. It has no gradient.
    Available where `reason_against_step` gives no reason against it.
    """
    place = (jnp.asarray(number, jnp.int32) for number in (layer, filled))
    return native.call("attention_step", (native.like(q),), q, k, v, k_cache, v_cache, *place, window=window or 0)[0]


def reason_against_step(q: Float[Array, "B T H K"], k_cache: Float[Array, "N B J S K"]) -> str | None:
    """Why `step_native` is not available for these queries and this cache, or None."""
    if reason := reason_against_float32_on_cpu((q, k_cache)):
        return reason
    if q.shape[1] != 1 or q.shape[3] % 16:
        return f"it is for one token and heads of a multiple of 16, got {q.shape[1]} and {q.shape[3]}"
    return native.missing()
