"""Softmax attention, and its gradient (Vaswani et al., arXiv:1706.03762, section 3.2.1).

    x_ts = q_t . k_s / sqrt(K)          p_ts = softmax_s(x_ts)          y_t = sum_s p_ts v_s

where s runs over the keys that query t may see: s <= t (causal), s > t - window (windowed). The adjoint, dy = dL/dy
given, and p = 0 for the keys that a query may not see:

    dv_s = sum_t p_ts dy_t          dx_ts = p_ts (dy_t . v_s - dy_t . y_t)
    dq_t = sum_s dx_ts k_s / sqrt(K)          dk_s = sum_t dx_ts q_t / sqrt(K)

Keys and values may have fewer heads than queries (grouped queries: Ainslie et al., arXiv:2305.13245): query head h then
reads head h // (H / J).

Axes: B batch, T time, S key time, or slots of a cache, H query heads, J key heads, K head size, N layers.
"""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int


@dataclass(frozen=True)
class Mask:
    """Which keys a query may see, by their positions.

    causal: no later key. window: the number of keys, the query's own included (None: all). Raises ValueError for a
    window under 1.
    """

    causal: bool = True
    window: int | None = None

    def __post_init__(self):
        if self.window is not None and self.window < 1:
            raise ValueError(f"window must be at least 1 (a query sees itself), got {self.window}")

    def allowed(self, query: Int[Array, " T"], key: Int[Array, " S"]) -> Bool[Array, "T S"]:
        """Whether each query may see each key, of these positions."""
        query, key = query[:, None], key[None, :]
        allowed = jnp.ones((query.shape[0], key.shape[1]), bool)
        if self.causal:
            allowed &= key <= query
        if self.window is not None:
            allowed &= key > query - self.window
        return allowed


CAUSAL = Mask()


class Cache(NamedTuple):
    """The keys and values of the `filled` tokens before the new ones: `layer` of the stacked caches of N layers.

    The token at position p is in slot p mod S, so a cache of S = window slots is a ring.
    """

    k: Float[Array, "N B J S K"]
    v: Float[Array, "N B J S K"]
    layer: Int[Array, ""] | int
    filled: Int[Array, ""] | int


def attention_weights_reference(
    q: Float[Array, "B T H K"],
    k: Float[Array, "B S J K"],
    mask: Mask = CAUSAL,
    *,
    key_mask: Bool[Array, "B S"] | None = None,
) -> Float[Array, "B H T S"]:
    """The softmax's weights p, the whole matrix: how much each query takes of each key. Arguments as `attention`'s.

    The row of a query that may see no key is 0.
    """
    k = jnp.repeat(k, q.shape[2] // k.shape[2], axis=2)
    x = jnp.einsum("bthk,bshk->bhts", q, k) * q.shape[-1] ** -0.5
    allowed = mask.allowed(jnp.arange(q.shape[1]), jnp.arange(k.shape[1]))
    if key_mask is not None:
        allowed = allowed & key_mask[:, None, None, :]
    return jax.nn.softmax(jnp.where(allowed, x, -1e30)) * allowed  # a row that sees nothing is 0


def attention_reference(
    q: Float[Array, "B T H K"],
    k: Float[Array, "B S J K"],
    v: Float[Array, "B S J K"],
    mask: Mask = CAUSAL,
    *,
    key_mask: Bool[Array, "B S"] | None = None,
) -> Float[Array, "B T H K"]:
    """The outputs, by the equation with the whole (T, S) matrix. Same arguments and result as `attention`."""
    p = attention_weights_reference(q, k, mask, key_mask=key_mask)
    return jnp.einsum("bhts,bshk->bthk", p, jnp.repeat(v, q.shape[2] // v.shape[2], axis=2))


def attention_with_cache_reference(
    q: Float[Array, "B T H K"],
    k: Float[Array, "B T J K"],
    v: Float[Array, "B T J K"],
    cache: Cache,
    *,
    window: int | None = None,
) -> Float[Array, "B T H K"]:
    """The outputs of `attention_with_cache` by the equation, with the whole matrix. Same arguments and result.

    Slot s holds the last position before `filled` that is s modulo S; a negative one means that it is still empty.
    """
    new = cache.filled + jnp.arange(q.shape[1])
    slot = jnp.arange(cache.k.shape[3])
    old = cache.filled - 1 - (cache.filled - 1 - slot) % slot.size
    position = jnp.concatenate([old, new])
    k, v = (
        jnp.repeat(jnp.concatenate([past[cache.layer].swapaxes(1, 2), x], axis=1), q.shape[2] // x.shape[2], axis=2)
        for past, x in ((cache.k, k), (cache.v, v))
    )
    allowed = Mask(window=window).allowed(new, position) & (position >= 0)
    x = jnp.einsum("bthk,bshk->bhts", q, k) * q.shape[-1] ** -0.5
    return jnp.einsum("bhts,bshk->bthk", jax.nn.softmax(jnp.where(allowed, x, -1e30)), v)
