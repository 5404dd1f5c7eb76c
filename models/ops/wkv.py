"""RWKV-4's WKV operator: attention by an exponential decay of its own in each channel (Peng et al., arXiv:2305.13048).

    y_t = (sum_{i<t} e^{(t-1-i) w + k_i} v_i + e^{u + k_t} v_t) / (the same sums without v)

The two sums are a recurrence, alpha_t = e^w alpha_{t-1} + e^{k_t} v_t and beta_t = e^w beta_{t-1} + e^{k_t}, and y_t =
(alpha_{t-1} + e^{u+k_t} v_t) / (beta_{t-1} + e^{u+k_t}). They overflow: k may be over 88. So the state is (aa, bb, p)
with alpha = e^p aa and beta = e^p bb, p being the largest exponent in the sums. Put into the recurrence and divided by
e^{p'}, and for y divided by e^q above and below the line, this gives

    y = (e^{p-q} aa + e^{u+k-q} v) / (e^{p-q} bb + e^{u+k-q})           q  = max(p, u+k)
    aa' = e^{p+w-p'} aa + e^{k-p'} v,  bb' = e^{p+w-p'} bb + e^{k-p'}   p' = max(p+w, k)

No exponent is above 0 and one of each pair is 0. So, from an empty state, bb is at least 1 after the first token, and
the denominator of y is at every token.

The adjoint, by the chain rule at constant p, with dy_t = dL/dy_t given. daa_t and dbb_t are the gradients of the sums
after token t, (old, new) = (e^{p-q}, e^{u+k-q}) and (decay, add) = (e^{p+w-p'}, e^{k-p'}) the weights of token t:

    g_t = dy_t / (old_t bb_{t-1} + new_t)
    daa_{t-1} = decay_t daa_t + old_t g_t          dbb_{t-1} = decay_t dbb_t - old_t g_t y_t
    dv_t = new_t g_t + add_t daa_t
    dk_t = new_t g_t (v_t - y_t) + add_t (v_t daa_t + dbb_t)          du = sum_t new_t g_t (v_t - y_t)
    dw = sum_t decay_t (aa_{t-1} daa_t + bb_{t-1} dbb_t)

Both methods share one skeleton (models/ops/chunked.py): `lax.scan` over chunks of C tokens that keeps only the state at
chunk borders, and a backward pass that runs the chunks in reverse and recomputes the states inside each. Memory is
O(T E). Inside a chunk:

    sequential    `lax.scan` for p, all exponentials at once, `lax.scan` for the sums
    associative   `lax.associative_scan` on (p, aa, bb) for runs of tokens

Axes: B batch, T time, D channels, C chunk, E = B D. Channels do not meet, so the batch counts as more of them. Then no
scan has a batch axis of one, across which XLA would not vectorise.
"""

from functools import cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import DTypeLike
from jaxtyping import Float

from lengthscale.models.ops.availability import by_platform, check_known
from lengthscale.models.ops.chunked import ChunkForm, over_chunks
from lengthscale.models.ops.linear_scan import to_chunks

METHODS = ("sequential", "associative")
# Tokens between kept states. A sequential chunk's dozen arrays should stay in a core's cache; 32 to 128 are alike.
# The associative form wants enough work for its log-depth passes.
CHUNK = {"sequential": 64, "associative": 1024}


class Decay(NamedTuple):
    """How the past is weighted in each channel: the decay w, negative, and the bonus u of the current token."""

    w: Float[Array, " D"]
    u: Float[Array, " D"]


class WKVState(NamedTuple):
    """The sums with and without v, divided by e^p. Empty: 0, 0, -1e38 (not -inf, whose differences are NaN)."""

    aa: Float[Array, "B D"]
    bb: Float[Array, "B D"]
    p: Float[Array, "B D"]


def empty_state(batch: int, width: int, dtype: DTypeLike) -> WKVState:
    """The state before the first token of a sequence, of shape (batch, width), in `dtype` but float32 at least."""
    dtype = jnp.promote_types(dtype, jnp.float32)
    zeros = jnp.zeros((batch, width), dtype)
    return WKVState(zeros, zeros, jnp.full_like(zeros, -1e38))


def wkv_reference(
    decay: Decay, k: Float[Array, "B T D"], v: Float[Array, "B T D"], state: WKVState
) -> tuple[Float[Array, "B T D"], WKVState]:
    """The recurrence, transcribed directly. Same arguments and results as `wkv`."""
    state, y = lax.scan(partial(_step, decay), state, (jnp.moveaxis(k, 1, 0), jnp.moveaxis(v, 1, 0)))
    return jnp.moveaxis(y, 0, 1), state


def _step(decay, state, kv):
    (w, u), (aa, bb, p), (k, v) = decay, state, kv
    q = jnp.maximum(p, u + k)
    old, new = jnp.exp(p - q), jnp.exp(u + k - q)
    y = (old * aa + new * v) / (old * bb + new)
    q = jnp.maximum(p + w, k)
    old, new = jnp.exp(p + w - q), jnp.exp(k - q)
    return WKVState(old * aa + new * v, old * bb + new, q), y


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
    or "auto": sequential on CPU, associative elsewhere. chunk: tokens between kept states (default: CHUNK of the
    method). Raises ValueError for an unknown method and for shapes that do not fit.
    """
    w, u = decay
    if k.shape != v.shape or w.shape != k.shape[2:] or u.shape != w.shape:
        shapes = f"w {w.shape}, u {u.shape}, k {k.shape}, v {v.shape}"
        raise ValueError(f"expected w and u (D,), k and v (B, T, D), got {shapes}")
    check_known(method, METHODS)
    if method == "auto":
        method = by_platform({"cpu": "sequential"}, "associative")
    batch, length, width = k.shape
    dtype = jnp.promote_types(k.dtype, jnp.float32)
    state = empty_state(batch, width, dtype) if state is None else state
    decay, k, v, state = jax.tree.map(lambda x: x.astype(dtype), (decay, k, v, state))
    if length == 1:  # decoding: no loop
        state, y = _step(decay, state, (k[:, 0], v[:, 0]))
        return y[:, None], state
    chunk = min(chunk or CHUNK[method], length)
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


@jax.custom_vjp
def _from_total(state):
    """The state as given; its gradient's p, at constant e^p aa and e^p bb, becomes that at constant aa and bb.

    With alpha = e^p aa and beta = e^p bb: dL/dp at constant aa, bb = dL/dp at constant alpha, beta + aa daa + bb dbb.
    """
    return state


def _from_total_bwd(state, d):
    return (d._replace(p=d.p + state.aa * d.aa + state.bb * d.bb),)


_from_total.defvjp(lambda state: (state, state), _from_total_bwd)


@jax.custom_vjp
def _to_total(state):
    """The inverse of `_from_total`, for the state after the last chunk."""
    return state


def _to_total_bwd(state, d):
    return (d._replace(p=d.p - state.aa * d.aa - state.bb * d.bb),)


_to_total.defvjp(lambda state: (state, state), _to_total_bwd)


@cache  # one object for each form, since jit's caches compare it by identity
def _form(method: str) -> ChunkForm:
    return ChunkForm(partial(_chunk_forward, method), partial(_chunk_backward, method))


def _over_chunks(method, decay, k, v, state):
    form, start = _form(method), _from_total(state)
    y, after = over_chunks(form, decay, start, (k, v))  # pyright: ignore[reportGeneralTypeIssues] of custom_vjp
    return y, _to_total(after)
