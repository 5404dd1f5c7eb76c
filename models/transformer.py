"""The decoder-only Transformer: GPT-2's pre-norm blocks (Radford et al. 2019), sinusoidal positions (2017).

State: the keys and values of every token so far, stacked over the blocks, (N, B, H, capacity, K) each.
"""

from typing import NamedTuple

import jax.numpy as jnp
from flax import nnx
from jax import Array, lax
from jaxtyping import Float

from models import Interface, Size
from models.backbone import Backbone, matched_backbone
from models.base import Mixer
from models.layers import kernel_init, residual_init
from models.ops.attention import attention, attention_with_cache


class KVCache(NamedTuple):
    k: Float[Array, "B H S K"]  # with a leading axis N when stacked over the blocks
    v: Float[Array, "B H S K"]


class LayerCache(NamedTuple):
    """One block's view of the stacked cache; nothing is copied."""

    stacked: KVCache
    layer: Array


class SelfAttention(Mixer):
    """Multi-head attention: y = W_o attention(W_q x, W_k x, W_v x). Without `causal` it cannot decode."""

    def __init__(
        self,
        d_model: int,
        head_size: int,
        *,
        causal: bool = True,
        n_residuals: int = 1,
        method: str = "auto",
        rngs: nnx.Rngs,
    ):
        if d_model % head_size:
            raise ValueError(f"head_size must divide d_model, got head_size={head_size}, d_model={d_model}")
        self.qkv = nnx.Linear(d_model, 3 * d_model, kernel_init=kernel_init, rngs=rngs)
        self.out = nnx.Linear(d_model, d_model, kernel_init=residual_init(n_residuals), rngs=rngs)
        self.head_size = head_size
        self.causal = causal
        self.method = method

    def __call__(self, x, state: LayerCache | None, position):
        if state is None:
            return self._attend(x)[0], None
        q, k, v = self._heads(x)
        capacity = state.stacked.k.shape[3]
        if x.shape[1] > capacity:
            raise ValueError(f"the cache must hold the tokens, got capacity={capacity}, {x.shape[1]} tokens")
        y = attention_with_cache(q, k, v, *state.stacked, state.layer, position)
        return self._merge(y), _as_cache(k, v)

    def prefill(self, x):
        return self._attend(x)

    def init_state(self, batch, capacity, dtype):
        heads = self.qkv.in_features // self.head_size
        zeros = jnp.zeros((batch, heads, capacity, self.head_size), dtype)
        return KVCache(zeros, zeros)

    def layer_state(self, stacked, layer):
        return LayerCache(stacked, layer)

    def commit(self, stacked, new, position):
        """Write the new tokens of all blocks behind the first `position` ones; in place when the state is donated."""
        at = tuple(jnp.asarray(index, jnp.int32) for index in (0, 0, 0, position, 0))
        return KVCache(*(lax.dynamic_update_slice(old, x, at) for old, x in zip(stacked, new, strict=True)))

    def _attend(self, x):
        q, k, v = self._heads(x)
        return self._merge(attention(q, k, v, causal=self.causal, method=self.method)), _as_cache(k, v)

    def _heads(self, x):  # (B, T, D) -> three (B, T, H, K)
        q, k, v = jnp.split(self.qkv(x), 3, axis=-1)
        return (y.reshape(*y.shape[:2], -1, self.head_size) for y in (q, k, v))

    def _merge(self, y):
        return self.out(y.reshape(*y.shape[:2], -1))


def _as_cache(k, v):
    return KVCache(k.transpose(0, 2, 1, 3), v.transpose(0, 2, 1, 3))


def build(*, size: Size, interface: Interface, method: str, rngs: nnx.Rngs) -> Backbone:
    def make_mixer(rngs):
        return SelfAttention(size.d_model, size.head_size, n_residuals=2 * size.n_layers, method=method, rngs=rngs)

    return matched_backbone(size, interface, make_mixer, positions="sinusoidal", rngs=rngs)
