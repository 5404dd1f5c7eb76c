"""The decoder-only Transformer, GPT-2 (Radford et al. 2019): pre-norm blocks, learned positions, a tied head.

State: the keys and values of every token so far, stacked over the blocks, (N, B, J, S, K) each: J key heads, S slots.
"""

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax.numpy as jnp
from flax import nnx
from jax import Array, lax
from jaxtyping import Bool, Float

from lengthscale.models import Interface, Size
from lengthscale.models.backbone import (
    Backbone,
    BackboneConfig,
    gpt2_embed_std,
    matched_backbone,
    residual_backbone,
)
from lengthscale.models.base import Mixer
from lengthscale.models.layers import MLP, Linear, kernel_init, layer_norm, residual_init
from lengthscale.models.ops.attention import Cache, Mask, attention, attention_with_cache
from lengthscale.models.ops.rope import rope


class KVCache(NamedTuple):
    """The keys and values of the tokens so far."""

    k: Float[Array, "B J S K"]  # with a leading axis N when stacked over the blocks
    v: Float[Array, "B J S K"]


class LayerCache(NamedTuple):
    """One block's view of the stacked cache; nothing is copied."""

    stacked: KVCache
    layer: Array


@dataclass(frozen=True)
class AttentionConfig:
    """Multi-head attention of a sequence to itself. Raises ValueError where one number must divide another."""

    d_model: int
    head_size: int
    heads: int | None = None  # of queries; None: d_model / head_size
    kv_heads: int | None = None  # of keys and values, each for heads / kv_heads queries; None: as many as heads
    bias: bool = True
    rope_theta: float | None = None  # of rotary positions; None: none
    window: int | None = None  # the tokens that each one sees, itself included; None: all
    causal: bool = True  # without, it cannot decode
    n_residuals: int = 1  # residual additions in the model, which scale the initial values

    def __post_init__(self):
        if self.heads is None and self.d_model % self.head_size:
            raise ValueError(f"head_size must divide d_model, got head_size={self.head_size}, d_model={self.d_model}")
        heads, kv_heads = self.n_heads
        if heads % kv_heads:
            raise ValueError(f"kv_heads must divide heads, got kv_heads={kv_heads}, heads={heads}")

    @property
    def n_heads(self) -> tuple[int, int]:
        """Heads of queries, and of keys and values."""
        heads = self.heads or self.d_model // self.head_size
        return heads, self.kv_heads or heads


class SelfAttention(Mixer):
    """Multi-head attention: y = W_o attention(W_q x, W_k x, W_v x).

    With a window the cache is a ring of that many slots, the token at position p in slot p mod S.
    """

    has_cache = True
    reads_input_by = ("qkv",)

    def __init__(self, config: AttentionConfig, *, method: str = "auto", rngs: nnx.Rngs):
        heads, kv_heads = config.n_heads
        linear = partial(Linear, use_bias=config.bias, rngs=rngs)
        self.qkv = linear(config.d_model, (heads + 2 * kv_heads) * config.head_size, kernel_init=kernel_init)
        out_init = residual_init(config.n_residuals)
        self.out = linear(heads * config.head_size, config.d_model, kernel_init=out_init)
        self.heads, self.kv_heads, self.head_size = heads, kv_heads, config.head_size
        self.rope_theta = config.rope_theta
        self.window = config.window
        self.causal = config.causal
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


@dataclass(frozen=True, kw_only=True)
class GPT2Config:
    """GPT-2's hyper-parameters (Radford et al. 2019). Raises ValueError where heads do not divide d_model."""

    d_model: int
    n_layers: int
    heads: int
    n_positions: int  # tokens, the longest sequence
    d_ff: int  # the MLP's width
    epsilon: float = 1e-5  # of the norms
    tied: bool = True  # the head is the embedding, transposed

    def __post_init__(self):
        if self.d_model % self.heads:
            raise ValueError(f"heads must divide d_model, got heads={self.heads}, d_model={self.d_model}")


def gpt2(config: GPT2Config, *, interface: Interface, method: str = "auto", rngs: nnx.Rngs) -> Backbone:
    """GPT-2 as it was released: learned positions, GELU by tanh, a tied head. method: see models.ops.attention."""
    d_model, n_residuals = config.d_model, 2 * config.n_layers
    attention = AttentionConfig(d_model, d_model // config.heads, n_residuals=n_residuals)
    return residual_backbone(
        BackboneConfig(
            d_model,
            config.n_layers,
            norm=partial(layer_norm, epsilon=config.epsilon),
            tied=config.tied,
            positions=config.n_positions,
            embed_std=gpt2_embed_std(d_model),
        ),
        partial(SelfAttention, attention, method=method),
        partial(MLP, d_model, config.d_ff, n_residuals=n_residuals),
        interface=interface,
        rngs=rngs,
    )


def build(*, size: Size, interface: Interface, method: str, rngs: nnx.Rngs, positions: str = "learned") -> Backbone:
    """GPT-2 of this size; the MLP's width brings the parameters.

    positions: "learned", a table with a row for each of the interface's positions, which comes on top of the size's
    parameters; or "sinusoidal", fixed ones of the same initial size, for any length.
    """
    attention = AttentionConfig(size.d_model, size.head_size, n_residuals=2 * size.n_layers)
    make_mixer = partial(SelfAttention, attention, method=method)
    at = interface.positions if positions == "learned" else positions
    around = BackboneConfig(size.d_model, size.n_layers, positions=at, embed_std=gpt2_embed_std(size.d_model))
    return matched_backbone(size, interface, make_mixer, around=around, rngs=rngs)
