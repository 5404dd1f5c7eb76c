"""The forms of WKV in JAX. The equations are in equation.py.

Both share one skeleton (models/ops/chunked.py): `lax.scan` over chunks of C tokens that keeps only the state at chunk
borders, and a backward pass that runs the chunks in reverse and recomputes the states inside each. Memory is O(T E).
Inside a chunk:

    sequential    `lax.scan` for p, all exponentials at once, `lax.scan` for the sums
    associative   `lax.associative_scan` on (p, aa, bb) for runs of tokens

Axes: B batch, T time, I chunks, C chunk, D channels, E = B D. Channels do not meet, so the batch counts as more of
them. Then no scan has a batch axis of one, across which XLA would not vectorise.
"""

from functools import cache, partial

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float

from lengthscale.models.ops.chunked import ChunkForm, over_chunks
from lengthscale.models.ops.linear_scan import to_chunks
from lengthscale.models.ops.wkv.equation import Decay, WKVState, from_total, to_total


def wkv_in_chunks(
    decay: Decay, k: Float[Array, "B T D"], v: Float[Array, "B T D"], state: WKVState, *, method: str, chunk: int
) -> tuple[Float[Array, "B T D"], WKVState]:
    """`models.ops.wkv.wkv` by "sequential" or "associative", all in one precision. Same arguments and results."""
    batch, length, width = k.shape
    chunk = min(chunk, length)
    k, v = (x.swapaxes(0, 1).reshape(length, batch * width) for x in (k, v))
    decay = jax.tree.map(lambda x: jnp.tile(x, batch), decay)
    y, state = _in_pieces(method, chunk, decay, k, v, jax.tree.map(jnp.ravel, state))
    return y.reshape(length, batch, width).swapaxes(0, 1), jax.tree.map(lambda x: x.reshape(batch, width), state)


def _in_pieces(method: str, chunk: int, decay, k, v, state):
    """(T, E) in whole chunks, then what is left: no padding, since the state decays with any token."""
    whole = k.shape[0] // chunk * chunk
    y, state = _over_chunks(method, decay, to_chunks(k[:whole], chunk), to_chunks(v[:whole], chunk), state)
    y = y.reshape(whole, -1)
    if whole == k.shape[0]:
        return y, state
    rest, state = _over_chunks(method, decay, k[None, whole:], v[None, whole:], state)
    return jnp.concatenate([y, rest[0]]), state


def _weights(x, y):
    """e^{x-m}, e^{y-m} with m = max(x, y), by one exponential."""
    e = jnp.exp(-jnp.abs(x - y))
    return jnp.where(x > y, 1, e), jnp.where(x > y, e, 1)


# A chunk's states: (w, k, v, state) -> the state before each of its tokens, the state after the last.


def _states_sequential(w, k, v, state):
    def largest(p, k):
        return jnp.maximum(p + w, k), p

    def add(sums, x):
        (aa, bb), (old, new, new_v) = sums, x
        return (old * aa + new_v, old * bb + new), sums

    p_last, p = lax.scan(largest, state.p, k)
    old, new = _weights(p + w, k)
    (aa_last, bb_last), (aa, bb) = lax.scan(add, (state.aa, state.bb), (old, new, new * v))
    return WKVState(aa, bb, p), WKVState(aa_last, bb_last, p_last)


def _states_associative(w, k, v, state):
    """A run of n tokens decays what was before by e^{n w}, and adds its own (aa, bb, p) to it."""

    def compose(first, second):
        n, *sums = first
        n_second, aa, bb, p = second
        old, new = _weights(sums[2] + n_second * w, p)
        p = jnp.maximum(sums[2] + n_second * w, p)
        return n + n_second, old * sums[0] + new * aa, old * sums[1] + new * bb, p

    n = jnp.ones((k.shape[0] + 1, 1), k.dtype)
    runs = (v, jnp.ones_like(k), k)
    sums = [jnp.concatenate([first[None], x]) for first, x in zip(state, runs, strict=True)]
    _, *sums = lax.associative_scan(compose, (n, *sums))
    return WKVState(*(x[:-1] for x in sums)), WKVState(*(x[-1] for x in sums))


# The gradients of the sums, carried back: lam_{t-1} = a_t lam_t + g_t -> lam_t for each t, lam_0.


def _carry_back_sequential(a, g, last):
    def step(lam, x):
        a, g = x
        return jax.tree.map(lambda lam, g: a * lam + g, lam, g), lam

    first, lam = lax.scan(step, last, (a, g), reverse=True)
    return lam, first


def _carry_back_associative(a, g, last):
    def compose(first, second):
        (a, g), (a_second, g_second) = first, second
        return a_second * a, jax.tree.map(lambda g, g_second: a_second * g + g_second, g, g_second)

    g = jax.tree.map(lambda g, last: jnp.concatenate([g, last[None]]), g, last)
    a = jnp.concatenate([a, jnp.ones_like(a[:1])])
    _, lam = lax.associative_scan(compose, (a, g), reverse=True)
    return jax.tree.map(lambda x: x[1:], lam), jax.tree.map(lambda x: x[0], lam)


_FORMS = {
    "sequential": (_states_sequential, _carry_back_sequential),
    "associative": (_states_associative, _carry_back_associative),
}


def _chunk_forward(method, shared, state, kv):
    (w, u), (k, v) = shared, kv
    before, after = _FORMS[method][0](w, k, v, state)
    old, new = _weights(before.p, u + k)
    return after, (old * before.aa + new * v) / (old * before.bb + new)


def _chunk_backward(method, shared, state, kv, dafter, dy):
    """Gradients of a chunk, given those of its outputs and of the state after it: dshared, dstate, (dk, dv).

    The adjoint is at constant p, for the choice of p changes no y. What p itself adds, where it is an output, is the
    following. In `dafter` and `dstate`, p stands for a derivative at constant sums e^p aa and e^p bb, on which alone y
    depends. So it has no other way through the chunk than p' = max(p+w, k), back to the token that last set p.
    """
    (w, u), (k, v) = shared, kv
    states, carry_back = _FORMS[method]
    (aa, bb, p), _ = states(w, k, v, state)
    old, new = _weights(p, u + k)
    denominator = old * bb + new
    y = (old * aa + new * v) / denominator
    g = dy / denominator
    decay, add = _weights(p + w, k)
    (daa, dbb), (daa_first, dbb_first) = carry_back(decay, (old * g, -old * g * y), (dafter.aa, dafter.bb))
    dk_now = new * g * (v - y)
    t = jnp.arange(k.shape[0])[:, None]
    setter = jnp.where(p + w > k, -1, t).max(axis=0)  # -1: before the chunk
    dk = dk_now + add * (v * daa + dbb) + jnp.where(t == setter, dafter.p, 0)
    dv = new * g + add * daa
    dw = (decay * (aa * daa + bb * dbb)).sum(0) + (k.shape[0] - 1 - setter) * dafter.p
    dstate = WKVState(daa_first, dbb_first, jnp.where(setter < 0, dafter.p, 0))
    return Decay(dw, dk_now.sum(0)), dstate, (dk, dv)


@cache  # one object for each form, since jit's caches compare it by identity
def _form(method: str) -> ChunkForm:
    return ChunkForm(partial(_chunk_forward, method), partial(_chunk_backward, method))


def _over_chunks(method, decay, k, v, state):
    form, start = _form(method), from_total(state)
    y, after = over_chunks(form, decay, start, (k, v))  # pyright: ignore[reportGeneralTypeIssues] of custom_vjp
    return y, to_total(after)
