"""The decoder-only Transformer: GPT-2's pre-norm blocks (Radford et al. 2019), sinusoidal positions (2017).

State: the keys and values of every token so far, stacked over the blocks, (N, B, J, S, K) each: J key heads, S slots.
"""

from functools import partial
from typing import NamedTuple

import jax.numpy as jnp
from flax import nnx
from jax import Array, lax
from jaxtyping import Bool, Float

from lengthscale.models import Interface, Size
from lengthscale.models.backbone import Backbone, Block, matched_backbone
from lengthscale.models.base import Mixer
from lengthscale.models.layers import MLP, Linear, kernel_init, layer_norm, residual_init
from lengthscale.models.ops.attention import Cache, Mask, attention, attention_with_cache
from lengthscale.models.ops.rope import rope


class KVCache(NamedTuple):
    k: Float[Array, "B J S K"]  # with a leading axis N when stacked over the blocks
    v: Float[Array, "B J S K"]


class LayerCache(NamedTuple):
    """One block's view of the stacked cache; nothing is copied."""

    stacked: KVCache
    layer: Array


class SelfAttention(Mixer):
    """Multi-head attention: y = W_o attention(W_q x, W_k x, W_v x). Without `causal` it cannot decode.

    heads: of queries (None: d_model / head_size). kv_heads: of keys and values, each for heads / kv_heads queries
    (None: all). rope_theta: rotary positions (None: none). window: the tokens that each sees, itself included (None:
    all); the cache is then a ring of that many slots, the token at position p in slot p mod S.
    """

    has_cache = True

    def __init__(
        self,
        d_model: int,
        head_size: int,
        *,
        heads: int | None = None,
        kv_heads: int | None = None,
        bias: bool = True,
        rope_theta: float | None = None,
        window: int | None = None,
        causal: bool = True,
        n_residuals: int = 1,
        method: str = "auto",
        rngs: nnx.Rngs,
    ):
        if heads is None and d_model % head_size:
            raise ValueError(f"head_size must divide d_model, got head_size={head_size}, d_model={d_model}")
        heads = heads or d_model // head_size
        kv_heads = kv_heads or heads
        if heads % kv_heads:
            raise ValueError(f"kv_heads must divide heads, got kv_heads={kv_heads}, heads={heads}")
        linear = partial(Linear, use_bias=bias, rngs=rngs)
        self.qkv = linear(d_model, (heads + 2 * kv_heads) * head_size, kernel_init=kernel_init)
        self.out = linear(heads * head_size, d_model, kernel_init=residual_init(n_residuals))
        self.heads, self.kv_heads, self.head_size = heads, kv_heads, head_size
        self.rope_theta = rope_theta
        self.window = window
        self.causal = causal
        self.method = method

    def __call__(self, x, state: LayerCache | None, position):
        if state is None:
            return self.attend(x), None
        q, k, v = self.project(x, position)
        slots = state.stacked.k.shape[3]
        if x.shape[1] > slots and slots != self.window:
            raise ValueError(f"the cache must hold the tokens, got capacity={slots}, {x.shape[1]} tokens")
        cache = Cache(*state.stacked, state.layer, position)
        y = attention_with_cache(q, k, v, cache, window=self.window, method=self.method)
        return self._merge(y), self._kept(k, v)

    def attend(self, x: Float[Array, "B T D"], key_mask: Bool[Array, "B T"] | None = None) -> Float[Array, "B T D"]:
        """A whole sequence to itself. key_mask: the tokens that may be seen (None: all)."""
        return self._merge(self._attention(*self.project(x, 0), key_mask))

    def prefill(self, x):
        q, k, v = self.project(x, 0)
        return self._merge(self._attention(q, k, v)), self._kept(k, v)

    def init_state(self, batch, capacity, dtype):
        slots = capacity if self.window is None else min(capacity, self.window)
        zeros = jnp.zeros((batch, self.kv_heads, slots, self.head_size), dtype)
        return KVCache(zeros, zeros)

    def layer_state(self, stacked, layer):
        return LayerCache(stacked, layer)

    def commit(self, stacked, new, position):
        """Write the new tokens of all blocks behind the first `position` ones; in place when the state is donated."""
        write = _append if self.window is None else _write_ring
        return KVCache(*(write(old, x, position) for old, x in zip(stacked, new, strict=True)))

    def project(
        self, x: Float[Array, "B T D"], position
    ) -> tuple[Float[Array, "B T H K"], Float[Array, "B T J K"], Float[Array, "B T J K"]]:
        """Queries, keys and values, turned by their positions if there is a rope_theta."""
        at = self.heads * self.head_size, (self.heads + self.kv_heads) * self.head_size
        q, k, v = (y.reshape(*y.shape[:2], -1, self.head_size) for y in jnp.split(self.qkv(x), at, axis=-1))
        if self.rope_theta is not None:
            positions = position + jnp.arange(x.shape[1])
            q, k = rope(q, positions, self.rope_theta), rope(k, positions, self.rope_theta)
        return q, k, v

    def _attention(self, q, k, v, key_mask=None):
        return attention(q, k, v, Mask(self.causal, self.window), key_mask=key_mask, method=self.method)

    def _merge(self, y):
        return self.out(y.reshape(*y.shape[:2], -1))

    def _kept(self, k, v):
        """What the cache takes of the new tokens: of more than a window the last ones, token t at t mod window."""
        k, v = (x.transpose(0, 2, 1, 3) for x in (k, v))
        length = k.shape[2]
        if self.window is not None and length > self.window:
            k, v = (jnp.roll(x[:, :, -self.window :], length % self.window, axis=2) for x in (k, v))
        return KVCache(k, v)


def _append(old, new, position):
    at = tuple(jnp.asarray(index, jnp.int32) for index in (0, 0, 0, position, 0))
    return lax.dynamic_update_slice(old, new, at)


def _write_ring(old, new, position):
    slots = old.shape[3]
    if new.shape[3] == 1:
        return _append(old, new, position % slots)  # on a CPU five times faster than a scatter of one slot
    at = (position + jnp.arange(new.shape[3])) % slots
    return old.at[:, :, :, at].set(new, unique_indices=True)


def gpt2(
    *,
    vocab: int,
    d_model: int,
    n_layers: int,
    heads: int,
    n_positions: int,
    d_ff: int,
    epsilon: float = 1e-5,
    tied: bool = True,
    method: str = "auto",
    rngs: nnx.Rngs,
) -> Backbone:
    """GPT-2 as it was released (Radford et al. 2019): learned positions, GELU by tanh, a tied head."""
    norm = partial(layer_norm, epsilon=epsilon)
    if d_model % heads:
        raise ValueError(f"heads must divide d_model, got heads={heads}, d_model={d_model}")

    def make_mixer(rngs):
        return SelfAttention(d_model, d_model // heads, n_residuals=2 * n_layers, method=method, rngs=rngs)

    def make_mlp(rngs):
        return MLP(d_model, d_ff, n_residuals=2 * n_layers, rngs=rngs)

    return Backbone(
        interface=Interface(vocab),
        d_model=d_model,
        n_blocks=n_layers,
        make_block=lambda rngs: Block(d_model, make_mixer, make_mlp, norm, rngs),
        norm=norm,
        tied=tied,
        positions=n_positions,
        rngs=rngs,
    )


def build(*, size: Size, interface: Interface, method: str, rngs: nnx.Rngs) -> Backbone:
    def make_mixer(rngs):
        return SelfAttention(size.d_model, size.head_size, n_residuals=2 * size.n_layers, method=method, rngs=rngs)

    return matched_backbone(size, interface, make_mixer, positions="sinusoidal", rngs=rngs)
