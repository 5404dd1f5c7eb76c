"""Which form of the selective scan is taken. The equations and the axes are in equation.py.

Methods: "sequential", "associative" and "chunked" are forms in JAX (chunks.py); "native" is a C++ kernel for a CPU
(native.py); "pallas" has kernels for GPU and TPU, which run all chunks at the same time (pallas.py).
"""

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from lengthscale.models.ops.availability import by_platform, check_known, reason_against_native, require
from lengthscale.models.ops.channels import scale, shift
from lengthscale.models.ops.kernel_call import reason_against_kernels
from lengthscale.models.ops.selective_scan.chunks import scan_in_chunks, scan_one_token
from lengthscale.models.ops.selective_scan.equation import Gate, Inputs
from lengthscale.models.ops.selective_scan.native import scan_native
from lengthscale.models.ops.selective_scan.pallas import scan_pallas

METHODS = ("sequential", "associative", "chunked", "native", "pallas")
# Tokens between kept states. On CPU a chunk's states should stay in the core's cache (64 x 32 KB at E=512, N=16): 16
# are 8% faster than 64 there, but keep 4 times as many states. The associative form needs enough work for its
# log-depth passes.
CHUNK = {"sequential": 64, "associative": 256, "chunked": 64, "native": 64}


def selective_scan(
    x: Inputs,
    A: Float[Array, "E N"],
    h0: Float[Array, "B N E"] | None = None,
    *,
    discretisation: str = "mamba",
    method: str = "auto",
    chunk: int | None = None,
) -> tuple[Float[Array, "B T E"], Float[Array, "B N E"]]:
    """Outputs y and the last state, without the skip D u and the gate, which are the block's.

    x: u, dt, B, C of every token; dt is positive (after softplus). A: negative. h0: the state before the first token
    (None: 0). discretisation: one of models.ops.discretise.RULES. method: one of METHODS, or "auto": on CPU native, and
    chunked where there is no compiler or no kernel for it; on CUDA and TPU pallas; associative otherwise. Both kernels
    are for the rule "mamba", and by "auto" for a state in float32. chunk: tokens between kept states, and of pallas
    those of a program (default: CHUNK of the method, and of pallas by the size). The outputs are in u's precision, the
    state in h0's. Raises ValueError for an unknown method, one that is not available, and a chunk that the method does
    not support.
    """
    if h0 is None:
        h0 = jnp.zeros((x.u.shape[0], A.shape[1], A.shape[0]), jnp.promote_types(x.u.dtype, A.dtype))
    method = _chosen(method, discretisation, h0.dtype)
    if x.u.shape[1] > 1 and method == "pallas":
        return scan_pallas(x, A, h0, None, chunk)
    if x.u.shape[1] == 1:
        y, h = scan_one_token(x, A, h0, discretisation)
    elif method == "native":
        wide, A = jax.tree.map(lambda v: v.astype(h0.dtype), (x, A))
        y, h = scan_native(wide, A, h0, None, chunk or CHUNK[method])
    else:
        chunk = chunk or CHUNK[method]
        y, h = scan_in_chunks(x, A, h0, discretisation=discretisation, method=method, chunk=chunk)
    return y.astype(x.u.dtype), h


def gated_selective_scan(
    x: Inputs,
    A: Float[Array, "E N"],
    h0: Float[Array, "B N E"],
    gate: Gate,
    *,
    discretisation: str = "mamba",
    method: str = "auto",
) -> tuple[Float[Array, "B T E"], Float[Array, "B N E"]]:
    """(y + D u) silu(z) and the last state, y being `selective_scan`'s with dt = softplus(delta + delta_bias).

    This is the middle of a Mamba block; the methods native and pallas have it in their kernels. x: as that of
    `selective_scan`, but with delta as its dt. gate: z, D and delta_bias. The other arguments, the precisions and the
    errors are those of `selective_scan`.
    """
    method = _chosen(method, discretisation, h0.dtype)
    if x.u.shape[1] > 1 and method == "pallas":
        return scan_pallas(x, A, h0, gate)
    if x.u.shape[1] > 1 and method == "native" and {v.dtype for v in (x.u, x.dt, *gate)} == {h0.dtype}:
        return scan_native(x, A, h0, gate, CHUNK[method])
    precision = x.u.dtype
    if x.u.shape[1] == 1:  # as in the kernels; whole sequences are not widened, but for the scan
        x, gate = jax.tree.map(lambda v: v.astype(h0.dtype), (x, gate))
    dt = jax.nn.softplus(shift(x.dt, gate.delta_bias))
    wide, A = jax.tree.map(lambda v: v.astype(h0.dtype), (x._replace(dt=dt), A))
    y, h = selective_scan(wide, A, h0, discretisation=discretisation, method=method)
    return ((y.astype(x.u.dtype) + scale(x.u, gate.D)) * jax.nn.silu(gate.z)).astype(precision), h


def _chosen(method, discretisation, dtype) -> str:
    check_known(method, METHODS)
    if method == "auto":
        in_jax = by_platform({"cpu": "chunked"}, "associative")
        kernel = by_platform({"cpu": "native", "cuda": "pallas", "tpu": "pallas"}, in_jax)
        fits = dtype == jnp.float32 and _reason_against(kernel, discretisation, dtype) is None
        return kernel if fits else in_jax
    require(method, _reason_against(method, discretisation, dtype))
    return method


def _reason_against(method, discretisation, dtype) -> str | None:
    if method not in ("native", "pallas"):
        return None
    if discretisation != "mamba":
        return f"it is for the discretisation 'mamba', got {discretisation!r}"
    return reason_against_kernels() if method == "pallas" else reason_against_native([jax.ShapeDtypeStruct((), dtype)])
