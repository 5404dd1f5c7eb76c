"""Which form of WKV is taken. The equations and the axes are in equation.py.

Methods: "sequential" and "associative" are forms in JAX (chunks.py); "pallas" has kernels for GPU and TPU, which run
all chunks at the same time (pallas.py).
"""

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from lengthscale.models.ops.availability import by_platform, check_known, require
from lengthscale.models.ops.kernel_call import reason_against_kernels
from lengthscale.models.ops.wkv.chunks import wkv_in_chunks
from lengthscale.models.ops.wkv.equation import Decay, WKVState, empty_state, step
from lengthscale.models.ops.wkv.pallas import wkv_pallas

METHODS = ("sequential", "associative", "pallas")
# Tokens between kept states. A sequential chunk's dozen arrays should stay in a core's cache; 32 to 128 are alike.
# The associative form wants enough work for its log-depth passes. The kernels' depend on the shapes (pallas.py).
CHUNK = {"sequential": 64, "associative": 1024}


def wkv(
    decay: Decay,
    k: Float[Array, "B T D"],
    v: Float[Array, "B T D"],
    state: WKVState | None = None,
    *,
    method: str = "auto",
    chunk: int | None = None,
) -> tuple[Float[Array, "B T D"], WKVState]:
    """Outputs y and the state after the last token, both in k's precision, float32 at least.

    decay: w = -exp(time_decay) and u = time_first. state: before the first token (None: empty). method: one of METHODS,
    or "auto": sequential on CPU; on CUDA pallas, if the state is float32; associative otherwise. chunk: tokens
    between kept states (default: CHUNK of the method; for pallas by the shapes). Raises ValueError for an unknown
    method, for shapes that do not fit, and for a chunk that the method does not support.
    """
    w, u = decay
    if k.shape != v.shape or w.shape != k.shape[2:] or u.shape != w.shape:
        shapes = f"w {w.shape}, u {u.shape}, k {k.shape}, v {v.shape}"
        raise ValueError(f"expected w and u (D,), k and v (B, T, D), got {shapes}")
    dtype = jnp.promote_types(k.dtype, jnp.float32)
    method = _chosen(method, dtype)
    start = empty_state(k.shape[0], k.shape[2], dtype) if state is None else state
    decay, start = jax.tree.map(lambda x: x.astype(dtype), (decay, start))
    if method == "pallas" and k.shape[1] > 1:
        return wkv_pallas(decay, k, v, start, chunk)
    k, v = k.astype(dtype), v.astype(dtype)
    if k.shape[1] == 1:  # decoding: no loop
        after, y = step(decay, start, (k[:, 0], v[:, 0]))
        return y[:, None], after
    return wkv_in_chunks(decay, k, v, start, method=method, chunk=chunk or CHUNK[method])


def _chosen(method, dtype) -> str:
    check_known(method, METHODS)
    if method != "auto":
        require(method, reason_against_kernels() if method == "pallas" else None)
        return method
    in_jax = by_platform({"cpu": "sequential"}, "associative")
    # On a TPU v5e the kernels' least time is the longer one: 3.7 ms, and not 2.4, for 64k tokens with the
    # gradient in float32, by bytes alone (predicted).
    fits = dtype == jnp.float32 and reason_against_kernels() is None
    return by_platform({"cuda": "pallas"}, in_jax) if fits else in_jax
