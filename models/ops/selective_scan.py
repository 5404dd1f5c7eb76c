"""Mamba's selective state space recurrence, S6 (Gu and Dao, arXiv:2312.00752, algorithm 2).

    h_t = Abar_t h_{t-1} + Bbar_t u_t          y_t = C_t . h_t

Abar = exp(dt A) and Bbar = dt B as in Mamba's code, or by another rule of models/ops/discretise.py, whose gain is what
Bbar has beyond dt B.

The methods share one skeleton (models/ops/chunked.py): `lax.scan` over chunks of C tokens, keeping the state at chunk
borders alone, and a backward pass that runs the chunks in reverse and recomputes the states inside each. Memory is O(T
E + T/C N E): the (T, N, E) states are never whole in memory. What differs is the form inside a chunk:

    sequential    `lax.scan`, one sequence after the other, gradient of the chunk by autodiff
    associative   `lax.associative_scan` over the chunk, all sequences at once, gradient of the chunk by autodiff
    chunked       as sequential, gradient of the chunk by hand

Two methods are outside of it: "native" (models/ops/selective_scan_native.py) is the same skeleton in C++, for a CPU,
and "pallas" (models/ops/selective_scan_pallas.py) runs all chunks at the same time, by kernels for GPU and TPU.

Axes: B batch, T time, C chunk, E inner width, N state size. The wide axis E is last, so that a CPU's vectors are full,
and a batch of one is squeezed away, since XLA does not vectorise across an axis of size 1 (5x, measured).
"""

# jax.custom_vjp's types lose what a function takes and returns:
# pyright: reportArgumentType=false, reportCallIssue=false, reportGeneralTypeIssues=false, reportIndexIssue=false

from collections.abc import Callable
from functools import cache, partial

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float

from lengthscale.models.ops.availability import by_platform, check_known, reason_against_native, require
from lengthscale.models.ops.channels import scale, shift
from lengthscale.models.ops.chunked import ChunkForm, over_chunks
from lengthscale.models.ops.discretise import discretise, transition
from lengthscale.models.ops.linear_scan import scan_associative, to_chunks
from lengthscale.models.ops.selective_scan_native import gated_scan_native, scan_native
from lengthscale.models.ops.selective_scan_pallas import CHUNK as PALLAS_CHUNK
from lengthscale.models.ops.selective_scan_pallas import selective_scan_pallas

METHODS = ("sequential", "associative", "chunked", "native", "pallas")
# Tokens between kept states. On CPU a chunk's states should stay in the core's cache (64 x 32 KB at E=512, N=16): 16
# are 8% faster than 64 there, but keep 4 times as many states. The associative form wants enough work for its
# log-depth passes.
CHUNK = {"sequential": 64, "associative": 256, "chunked": 64, "native": 64, "pallas": PALLAS_CHUNK}


def selective_scan_reference(
    u: Float[Array, "B T E"],
    dt: Float[Array, "B T E"],
    A: Float[Array, "E N"],
    B: Float[Array, "B T N"],
    C: Float[Array, "B T N"],
    h0: Float[Array, "B N E"],
    *,
    discretisation: str = "mamba",
) -> tuple[Float[Array, "B T E"], Float[Array, "B N E"]]:
    """The equation, transcribed directly. Same arguments and results as `selective_scan`."""

    def step(h, x):
        u_t, dt_t, B_t, C_t = x
        Abar, Bbar = discretise(A.T, B_t[:, :, None], dt_t[:, None], discretisation)
        h = Abar * h + Bbar * u_t[:, None]
        return h, jnp.einsum("bn,bne->be", C_t, h)

    h, y = lax.scan(step, h0, tuple(jnp.moveaxis(x, 1, 0) for x in (u, dt, B, C)))
    return jnp.moveaxis(y, 0, 1), h


def selective_scan(
    u: Float[Array, "B T E"],
    dt: Float[Array, "B T E"],
    A: Float[Array, "E N"],
    B: Float[Array, "B T N"],
    C: Float[Array, "B T N"],
    h0: Float[Array, "B N E"] | None = None,
    *,
    discretisation: str = "mamba",
    method: str = "auto",
    chunk: int | None = None,
) -> tuple[Float[Array, "B T E"], Float[Array, "B N E"]]:
    """Outputs y and the last state, without the skip D u and the gate, which are the block's.

    u: the inputs. dt: the steps, positive (after softplus). A: negative. B, C: what a token writes to the state and
    reads of it. h0: the state before the first token (None: 0). discretisation: one of models.ops.discretise.RULES.
    method: one of METHODS, or "auto": on CPU native, and chunked where there is no compiler or no kernel for it; on
    CUDA and TPU pallas; associative otherwise. Both kernels are for the rule "mamba", and by "auto" for float32. chunk:
    tokens between kept states (default: CHUNK of the method). Raises ValueError for an unknown method, one that is not
    available, and a chunk that the method does not support.
    """
    if h0 is None:
        h0 = jnp.zeros((u.shape[0], A.shape[1], A.shape[0]), jnp.promote_types(u.dtype, A.dtype))
    method = _chosen(method, discretisation, h0.dtype)
    if u.shape[1] == 1:
        return _one_token(discretisation, u, dt, A, B, C, h0)
    if method == "native":
        return scan_native(chunk or CHUNK[method], u, dt, A.T, B, C, h0)
    if method == "pallas":
        return selective_scan_pallas(u, dt, A, B, C, h0, chunk or CHUNK[method])
    run = partial(_scan_one, discretisation, method, chunk or CHUNK[method])
    if u.shape[0] == 1:
        y, h = run(u[0], dt[0], A.T, B[0], C[0], h0[0])
        return y[None], h[None]
    if method == "associative":
        return jax.vmap(run, in_axes=(0, 0, None, 0, 0, 0))(u, dt, A.T, B, C, h0)
    return lax.map(lambda x: run(x[0], x[1], A.T, *x[2:]), (u, dt, B, C, h0))  # on a CPU 1.1 to 1.6x faster than vmap


def gated_selective_scan(
    u: Float[Array, "B T E"],
    delta: Float[Array, "B T E"],
    A: Float[Array, "E N"],
    B: Float[Array, "B T N"],
    C: Float[Array, "B T N"],
    h0: Float[Array, "B N E"],
    *,
    z: Float[Array, "B T E"],
    D: Float[Array, " E"],
    delta_bias: Float[Array, " E"],
    discretisation: str = "mamba",
    method: str = "auto",
) -> tuple[Float[Array, "B T E"], Float[Array, "B N E"]]:
    """(y + D u) silu(z) and the last state, y being `selective_scan`'s with dt = softplus(delta + delta_bias).

    This is the middle of a Mamba block; the native method computes it in one pass. z: the gate. D: the skip. The other
    arguments: as `selective_scan`'s. The state is in h0's precision, the outputs in u's. Raises as `selective_scan`.
    """
    method = _chosen(method, discretisation, h0.dtype)
    if method == "native" and u.shape[1] > 1 and {x.dtype for x in (u, delta, z, D, delta_bias)} == {h0.dtype}:
        return gated_scan_native(CHUNK[method], u, delta, A.T, B, C, h0, z, D, delta_bias)
    dt = jax.nn.softplus(shift(delta, delta_bias))
    wide = (x.astype(h0.dtype) for x in (u, dt, A, B, C))
    y, h = selective_scan(*wide, h0, discretisation=discretisation, method=method)
    return (y.astype(u.dtype) + scale(u, D)) * jax.nn.silu(z), h


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
    return None if method == "pallas" else reason_against_native([jax.ShapeDtypeStruct((), dtype)])


def _one_token(rule, u, dt, A, B, C, h):
    """T = 1, decoding: no loop."""
    a, gain = transition(dt[:, 0, None] * A.T, rule)
    h = a * h + _times((dt * u)[:, 0, None] * B[:, 0, :, None], gain)
    return jnp.einsum("bne,bn->be", h, C[:, 0])[:, None], h


def _scan_one(rule: str, method: str, chunk: int, u, dt, A, B, C, h0):
    """One sequence: u, dt (T, E); A (N, E); B, C (T, N); h0 (N, E)."""
    length = u.shape[0]
    chunk = min(chunk, length)
    # dt = 0 leaves the state as it is, so padding with zeros is exact.
    xs = tuple(to_chunks(x, chunk) for x in (u, dt, B, C))
    y, h = over_chunks(_form(rule, method), A, h0, xs)
    return y.reshape(-1, y.shape[-1])[:length], h


def _times(x, gain):
    return x if gain is None else x * gain


# A chunk's forward: (rule, A, h0, (u, dt, B, C)) -> (h, y).


def _chunk_sequential(rule, A, h0, xs):
    def step(h, x):
        u, dt, B, C = x
        a, gain = transition(dt * A, rule)
        h = a * h + _times((dt * u) * B[:, None], gain)
        return h, C @ h

    return lax.scan(step, h0, xs)


def _chunk_associative(rule, A, h0, xs):
    u, dt, B, C = xs
    a, gain = transition(dt[:, None] * A, rule)
    h = scan_associative(a, _times((dt * u)[:, None] * B[:, :, None], gain), h0)
    return h[-1], jnp.einsum("cne,cn->ce", h, C)


# A chunk's backward: (rule, A, h0, xs, dh, dy) -> (dA, dh0, dxs), dh and dy being the gradients of the chunk's h and y.


def _backward_by_autodiff(chunk_forward: Callable, rule, A, h0, xs, dh, dy):
    _, vjp = jax.vjp(partial(chunk_forward, rule), A, h0, xs)
    return vjp((dh, dy))


def _backward_by_hand(rule, A, h0, xs, dh, dy):
    """The adjoint equations, with lambda_t = dL/dh_t, z_t = dt_t A and a(z), g(z) the rule's Abar and gain:

        lambda_t = C_t dy_t + a_{t+1} lambda_{t+1}
        dz_t = lambda_t h_{t-1} a'(z_t) + lambda_t dt_t u_t B_t g'(z_t)          dA = sum_t dt_t dz_t
        dC_t = sum_E h_t dy_t          dB_t = sum_E lambda_t g(z_t) dt_t u_t
        d(dt u)_t = sum_N lambda_t g(z_t) B_t, of which du_t = dt_t d(dt u)_t
        ddt_t = u_t d(dt u)_t + sum_N dz_t A          dh_0 = a_1 lambda_1

    For the rule "mamba" a' = a, g = 1 and g' = 0. (The chain rule on Gu and Dao, arXiv:2312.00752, algorithm 2.)

    All exponentials are computed first. The sums over N and E are products inside the steps, where h and dh are in the
    cache. As sums over the whole chunk they took half of the time: XLA vectorises only sums over the last axis.
    """
    u, dt, B, C = xs
    dtu = dt * u
    z = dt[:, None] * A
    (a, gain), (a_slope, gain_slope) = jax.jvp(partial(transition, rule=rule), (z,), (jnp.ones_like(z),))

    def recompute(h_before, x):
        a, gain, dtu, B, dy = x
        h = a * h_before + _times(dtu * B[:, None], gain)
        return h, (h_before, h @ dy)

    _, (h_before, dC) = lax.scan(recompute, h0, (a, gain, dtu, B, dy))

    def step(carry, x):  # dh_t = C_t dy_t + a_{t+1} dh_{t+1}
        dh, dA = carry
        h_before, a, gain, slopes, dt, dtu, B, C, dy = x
        dh = dh + C[:, None] * dy
        dz = dh * h_before * slopes[0]
        if gain is not None:
            dz += dh * (dtu * B[:, None]) * slopes[1]
        dx = _times(dh, gain)
        return (dh * a, dA + dz * dt), (dx @ dtu, B @ dx, jnp.ones_like(B) @ (dz * A))

    slopes = a_slope, gain_slope
    (dh0, dA), (dB, ddtu, ddt) = lax.scan(
        step, (dh, jnp.zeros_like(A)), (h_before, a, gain, slopes, dt, dtu, B, C, dy), reverse=True
    )
    return dA, dh0, (ddtu * dt, ddt + ddtu * u, dB, dC)


_BACKWARD = {
    "sequential": partial(_backward_by_autodiff, _chunk_sequential),
    "associative": partial(_backward_by_autodiff, _chunk_associative),
    "chunked": _backward_by_hand,
}


@cache  # one object for each form, since jit's caches compare it by identity
def _form(rule: str, method: str) -> ChunkForm:
    forward = _chunk_associative if method == "associative" else _chunk_sequential
    return ChunkForm(partial(forward, rule), partial(_BACKWARD[method], rule))
