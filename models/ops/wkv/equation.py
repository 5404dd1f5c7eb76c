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

p is an output too. Its choice changes no y, which depends on the sums alpha and beta alone. So dp_t, its derivative at
constant alpha and beta, has no other way back than p' = max(p+w, k), to the token that last set p:

    dp_{t-1} = dp_t, dw += dp_t   where p_{t-1} + w > k_t          else dk_t += dp_t, dp_{t-1} = 0

Axes: B batch, T time, D channels.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import DTypeLike
from jaxtyping import Float


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
    state, y = lax.scan(partial(step, decay), state, (jnp.moveaxis(k, 1, 0), jnp.moveaxis(v, 1, 0)))
    return jnp.moveaxis(y, 0, 1), state


def step(
    decay: Decay, state: WKVState, kv: tuple[Float[Array, "B D"], Float[Array, "B D"]]
) -> tuple[WKVState, Float[Array, "B D"]]:
    """One token (k, v): the state after it, and y."""
    (w, u), (aa, bb, p), (k, v) = decay, state, kv
    q = jnp.maximum(p, u + k)
    old, new = jnp.exp(p - q), jnp.exp(u + k - q)
    y = (old * aa + new * v) / (old * bb + new)
    q = jnp.maximum(p + w, k)
    old, new = jnp.exp(p + w - q), jnp.exp(k - q)
    return WKVState(old * aa + new * v, old * bb + new, q), y


@jax.custom_vjp
def from_total(state):
    """The state as given; its gradient's p, at constant e^p aa and e^p bb, becomes that at constant aa and bb.

    With alpha = e^p aa and beta = e^p bb: dL/dp at constant aa, bb = dL/dp at constant alpha, beta + aa daa + bb dbb.
    """
    return state


def _from_total_bwd(state, d):
    return (d._replace(p=d.p + state.aa * d.aa + state.bb * d.bb),)


from_total.defvjp(lambda state: (state, state), _from_total_bwd)


@jax.custom_vjp
def to_total(state):
    """The inverse of `from_total`, for the state after the last chunk."""
    return state


def _to_total_bwd(state, d):
    return (d._replace(p=d.p - state.aa * d.aa - state.bb * d.bb),)


to_total.defvjp(lambda state: (state, state), _to_total_bwd)
