"""The forms of the selective scan in JAX. The equations are in equation.py.

They share one skeleton (models/ops/chunked.py): `lax.scan` over chunks of C tokens, keeping the state at chunk borders
alone, and a backward pass that runs the chunks in reverse and recomputes the states inside each. Memory is O(T E +
T/C N E): the (T, N, E) states are never whole in memory. What differs is the form inside a chunk:

    sequential    `lax.scan`, one sequence after the other, gradient of the chunk by autodiff
    associative   `lax.associative_scan` over the chunk, all sequences at once, gradient of the chunk by autodiff
    chunked       as sequential, gradient of the chunk by hand

Axes: B batch, T time, C chunk, E inner width, N state size. The wide axis E is last, so that a CPU's vectors are full,
and a batch of one is squeezed away, since XLA does not vectorise across an axis of size 1 (5x, measured).
"""

from functools import cache, partial

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float

from lengthscale.models.ops.chunked import ChunkForm, by_autodiff, over_chunks
from lengthscale.models.ops.discretise import transition
from lengthscale.models.ops.linear_scan import scan_associative, to_chunks
from lengthscale.models.ops.selective_scan.equation import Inputs

# States are float32's, on every platform: by default a GPU and a TPU would round them to 10 and to 7 bits.
_product = partial(jnp.matmul, precision=lax.Precision.HIGHEST)
_einsum = partial(jnp.einsum, precision=lax.Precision.HIGHEST)


def scan_in_chunks(
    x: Inputs, A: Float[Array, "E N"], h0: Float[Array, "B N E"], *, discretisation: str, method: str, chunk: int
) -> tuple[Float[Array, "B T E"], Float[Array, "B N E"]]:
    """`models.ops.selective_scan.selective_scan` by "sequential", "associative" or "chunked". Same arguments."""
    run = partial(_scan_one, _form(discretisation, method), chunk, A.T)
    if x.u.shape[0] == 1:
        y, h = run(*jax.tree.map(lambda v: v[0], (x, h0)))
        return y[None], h[None]
    if method == "associative":
        return jax.vmap(run)(x, h0)
    return lax.map(lambda x_and_h0: run(*x_and_h0), (x, h0))  # on a CPU 1.1 to 1.6x faster than vmap


def scan_one_token(
    x: Inputs, A: Float[Array, "E N"], h: Float[Array, "B N E"], discretisation: str
) -> tuple[Float[Array, "B 1 E"], Float[Array, "B N E"]]:
    """`models.ops.selective_scan.selective_scan` for T = 1, decoding: no loop. h: the state before the token."""
    u, dt, B, C = x
    a, gain = transition(dt[:, 0, None] * A.T, discretisation)
    h = a * h + _times((dt * u)[:, 0, None] * B[:, 0, :, None], gain)
    return _einsum("bne,bn->be", h, C[:, 0])[:, None], h


def _scan_one(form, chunk, A, x, h0):
    """One sequence: x without its axis B; A and h0 (N, E)."""
    length = x.u.shape[0]
    chunk = min(chunk, length)
    # dt = 0 leaves the state as it is, so padding with zeros is exact.
    chunks = jax.tree.map(lambda v: to_chunks(v, chunk), x)
    y, h = over_chunks(form, A, h0, chunks)  # pyright: ignore[reportGeneralTypeIssues] of custom_vjp
    return y.reshape(-1, y.shape[-1])[:length], h


def _times(x, gain):
    return x if gain is None else x * gain


# A chunk's forward: (rule, A, h0, x) -> (h, y).


def _chunk_sequential(rule, A, h0, x):
    def step(h, x_t):
        u, dt, B, C = x_t
        a, gain = transition(dt * A, rule)
        h = a * h + _times((dt * u) * B[:, None], gain)
        return h, _product(C, h)

    return lax.scan(step, h0, x)


def _chunk_associative(rule, A, h0, x):
    u, dt, B, C = x
    a, gain = transition(dt[:, None] * A, rule)
    h = scan_associative(a, _times((dt * u)[:, None] * B[:, :, None], gain), h0)
    return h[-1], _einsum("cne,cn->ce", h, C)


def _backward_by_hand(rule, A, h0, x, dh, dy):
    """A chunk's backward by the adjoint equations: (dA, dh0, dx), given the gradients of the chunk's h and y.

    All exponentials are computed first. The sums over N and E are products inside the steps, where h and dh are in the
    cache. As sums over the whole chunk they took half of the time: XLA vectorises only sums over the last axis.
    """
    u, dt, B, C = x
    dtu = dt * u
    l = dt[:, None] * A
    (a, gain), (a_slope, gain_slope) = jax.jvp(partial(transition, rule=rule), (l,), (jnp.ones_like(l),))

    def recompute(h_before, x):
        a, gain, dtu, B, dy = x
        h = a * h_before + _times(dtu * B[:, None], gain)
        return h, (h_before, _product(h, dy))

    _, (h_before, dC) = lax.scan(recompute, h0, (a, gain, dtu, B, dy))

    def step(carry, x):
        after, dA = carry  # a_{t+1} lambda_{t+1}
        h_before, a, gain, slopes, dt, dtu, B, C, dy = x
        lam = after + C[:, None] * dy
        dl = lam * h_before * slopes[0]
        if gain is not None:
            dl += lam * (dtu * B[:, None]) * slopes[1]
        dBu = _times(lam, gain)  # of (dt u) B
        sums = _product(dBu, dtu), _product(B, dBu), _product(jnp.ones_like(B), dl * A)
        return (lam * a, dA + dl * dt), sums

    slopes = a_slope, gain_slope
    (dh0, dA), (dB, ddtu, ddt) = lax.scan(
        step, (dh, jnp.zeros_like(A)), (h_before, a, gain, slopes, dt, dtu, B, C, dy), reverse=True
    )
    return dA, dh0, Inputs(ddtu * dt, ddt + ddtu * u, dB, dC)


@cache  # one object for each form, since jit's caches compare it by identity
def _form(rule: str, method: str) -> ChunkForm:
    forward = partial(_chunk_associative if method == "associative" else _chunk_sequential, rule)
    return ChunkForm(forward, partial(_backward_by_hand, rule) if method == "chunked" else by_autodiff(forward))
