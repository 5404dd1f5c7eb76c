"""The Transformer of 2017, encoder and decoder (Vaswani et al., arXiv:1706.03762).

    encoder:  x = norm(x + attention(x));  x = norm(x + MLP(x))
    decoder:  x = norm(x + attention(x));  x = norm(x + cross(x, memory));  x = norm(x + MLP(x))

Post-norm blocks, ReLU, sinusoidal positions; one table for source, target and, transposed, the head (section 3.4). A
last LayerNorm after each stack, as torch.nn.Transformer has it; the paper has none. Tokens beyond a source's length
are keys that nobody may see. State: the target's keys and values, (N, B, H, capacity, K) each, the source's, made once
by `encode`, (N, B, H, S, K) each, and the sources' lengths. Axes: see models/base.py.
"""

from dataclasses import dataclass, replace
from functools import cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array
from jaxtyping import Bool, Float, Int

from lengthscale.models import TOKENS, Interface, Size
from lengthscale.models.backbone import Backbone, BackboneConfig, check_capacity
from lengthscale.models.base import EncoderDecoder, Mixer, State
from lengthscale.models.budget import closest_width
from lengthscale.models.layers import MLP, Linear, kernel_init, layer_norm, stacked
from lengthscale.models.ops.attention import Mask, attention, attention_to_cache
from lengthscale.models.remat import scan_blocks
from lengthscale.models.transformer import AttentionConfig, KVCache, LayerCache, SelfAttention


class DecoderState(NamedTuple):
    """Each with a leading axis N when stacked over the blocks."""

    target: KVCache
    source: KVCache
    lengths: Int[Array, " B"]


class LayerView(NamedTuple):
    """One block's view of the stacked state; nothing is copied."""

    stacked: DecoderState
    layer: Array


class CrossAttention(nnx.Module):
    """Multi-head attention of the target to the source's memory."""

    def __init__(self, d_model: int, head_size: int, *, method: str = "auto", rngs: nnx.Rngs):
        self.q = Linear(d_model, d_model, kernel_init=kernel_init, rngs=rngs)
        self.kv = Linear(d_model, 2 * d_model, kernel_init=kernel_init, rngs=rngs)
        self.out = Linear(d_model, d_model, kernel_init=kernel_init, rngs=rngs)
        self.head_size = head_size
        self.method = method

    def __call__(
        self, x: Float[Array, "B T D"], memory: Float[Array, "B S D"], mask: Bool[Array, "B S"] | None
    ) -> Float[Array, "B T D"]:
        """mask: the memory that may be seen (None: all)."""
        k, v = (self._heads(y) for y in jnp.split(self.kv(memory), 2, axis=-1))
        y = attention(self._heads(self.q(x)), k, v, Mask(causal=False), key_mask=mask, method=self.method)
        return self._merge(y)

    def keep(self, memory: Float[Array, "B S D"]) -> KVCache:
        """The memory's keys and values, for `read`."""
        return KVCache(*(self._heads(y).swapaxes(1, 2) for y in jnp.split(self.kv(memory), 2, axis=-1)))

    def read(self, x: Float[Array, "B T D"], view: LayerView) -> Float[Array, "B T D"]:
        """As __call__, on what `keep` kept, stacked over the blocks."""
        lengths = view.stacked.lengths[view.layer]
        return self._merge(attention_to_cache(self._heads(self.q(x)), *view.stacked.source, view.layer, lengths))

    def _heads(self, x):  # (B, T, D) -> (B, T, H, K)
        return x.reshape(*x.shape[:2], -1, self.head_size)

    def _merge(self, y):
        return self.out(y.reshape(*y.shape[:2], -1))


class EncoderBlock(nnx.Module):
    """Post-norm residual block: norm(x + attention(x)), then norm(x + MLP(x))."""

    def __init__(self, d_model: int, attention: SelfAttention, mlp: MLP, rngs: nnx.Rngs):
        self.attention = attention
        self.norm = layer_norm(d_model, rngs)
        self.mlp = mlp
        self.mlp_norm = layer_norm(d_model, rngs)

    def __call__(self, x: Float[Array, "B S D"], mask: Bool[Array, "B S"] | None = None) -> Float[Array, "B S D"]:
        """mask: the tokens that may be seen (None: all)."""
        x = self.norm(x + self.attention.attend(x, mask))
        return self.mlp_norm(x + self.mlp(x))


class DecoderBlock(Mixer):
    """An EncoderBlock with cross-attention between its two parts, normed as they are."""

    def __init__(self, d_model: int, attention: SelfAttention, cross: CrossAttention, mlp: MLP, rngs: nnx.Rngs):
        self.attention = attention
        self.norm = layer_norm(d_model, rngs)
        self.cross = cross
        self.cross_norm = layer_norm(d_model, rngs)
        self.mlp = mlp
        self.mlp_norm = layer_norm(d_model, rngs)
        self.d_model = d_model

    def __call__(self, x, state: LayerView | None, position):
        if state is None:
            return self.teach(x, *self._no_source(x)), None
        y, new = self.attention(x, LayerCache(state.stacked.target, state.layer), position)
        x = self.norm(x + y)
        return self._finish(x, self.cross.read(x, state)), new

    def teach(
        self, x: Float[Array, "B T D"], memory: Float[Array, "B S D"], mask: Bool[Array, "B S"] | None
    ) -> Float[Array, "B T D"]:
        """A whole target with its source. mask: the memory that may be seen (None: all)."""
        x = self.norm(x + self.attention.attend(x))
        return self._finish(x, self.cross(x, memory, mask))

    def prefill(self, x):
        return self.prefill_after(x, *self._no_source(x))

    def prefill_after(self, x: Float[Array, "B T D"], memory: Float[Array, "B S D"], mask: Bool[Array, "B S"] | None):
        """As `teach`, and what the cache takes of the target."""
        y, new = self.attention.prefill(x)
        x = self.norm(x + y)
        return self._finish(x, self.cross(x, memory, mask)), new

    def init_state(self, batch, capacity, dtype):
        target = self.attention.init_state(batch, capacity, dtype)
        source = self.attention.init_state(batch, 1, dtype)  # one token that does not count
        return DecoderState(target, source, jnp.zeros(batch, jnp.int32))

    def layer_state(self, stacked, layer):
        return LayerView(stacked, layer)

    def commit(self, stacked, new, position):
        return stacked._replace(target=self.attention.commit(stacked.target, new, position))

    def _finish(self, x, y):
        x = self.cross_norm(x + y)
        return self.mlp_norm(x + self.mlp(x))

    def _no_source(self, x):
        return jnp.zeros((x.shape[0], 1, self.d_model), x.dtype), jnp.zeros((x.shape[0], 1), bool)


@dataclass(frozen=True, kw_only=True)
class EncoderDecoderConfig:
    """The hyper-parameters of the Transformer of 2017. Raises ValueError without a layer on each side."""

    d_model: int
    head_size: int  # must divide d_model
    n_encoder: int  # layers
    n_decoder: int  # layers
    d_ff: int  # the MLPs' width

    def __post_init__(self):
        if min(self.n_encoder, self.n_decoder) < 1:
            raise ValueError(f"encoder and decoder need a layer each, got {self.n_encoder} and {self.n_decoder}")


class TransformerEncoderDecoder(Backbone, EncoderDecoder):
    """A Backbone of decoder blocks, and an encoder that it reads from. method: see models.ops.attention."""

    def __init__(self, config: EncoderDecoderConfig, *, interface: Interface, method: str = "auto", rngs: nnx.Rngs):
        d_model, head_size = config.d_model, config.head_size
        make_mlp = partial(MLP, d_model, config.d_ff, activation=jax.nn.relu)

        def make_encoder_block(rngs):
            attention = SelfAttention(AttentionConfig(d_model, head_size, causal=False), method=method, rngs=rngs)
            return EncoderBlock(d_model, attention, make_mlp(rngs=rngs), rngs)

        def make_decoder_block(rngs):
            attention = SelfAttention(AttentionConfig(d_model, head_size), method=method, rngs=rngs)
            cross = CrossAttention(d_model, head_size, method=method, rngs=rngs)
            return DecoderBlock(d_model, attention, cross, make_mlp(rngs=rngs), rngs)

        around = BackboneConfig(d_model, config.n_decoder, positions="sinusoidal", scaled=True)
        super().__init__(around, make_decoder_block, interface=interface, rngs=rngs)
        self.encoder = stacked(make_encoder_block, config.n_encoder, rngs)
        self.encoder_norm = layer_norm(d_model, rngs)

    def encode(self, source, lengths=None, capacity=0):
        memory, _ = self._read(source, lengths)
        _, kept = self._run_blocks(memory, lambda block, memory, layer: (memory, block.cross.keep(memory)))
        return self._state_of(kept, source.shape[1] if lengths is None else lengths, capacity)

    def prefill_after(self, source, targets, capacity):
        check_capacity(capacity, targets.shape[1])
        memory, _ = self._read(source, None)

        def run(block, x, layer):
            x, new = block.prefill_after(x, memory, None)
            return x, (new, block.cross.keep(memory))

        x, (new, kept) = self._run_blocks(self.embed(targets), run, unrolled=False)
        empty = self._state_of(kept, source.shape[1], capacity)
        layers = self._a_block.commit(empty.layers, new, 0)
        return self.logits(x[:, -1]), State(jnp.int32(targets.shape[1]), layers)

    def teach(self, source, targets, lengths=None):
        return self.logits(self.mix_with(self.embed(targets), *self._read(source, lengths)))

    def memory(self, x: Float[Array, "B S D"], mask: Bool[Array, "B S"] | None = None) -> Float[Array, "B S D"]:
        """The encoder on an embedded source. mask: the tokens that may be seen (None: all)."""
        graph, params = nnx.split(self.encoder)
        x, _ = scan_blocks(self.remat, lambda x, params: (nnx.merge(graph, params)(x, mask), None), x, params)
        return self.encoder_norm(x)

    def mix_with(
        self, x: Float[Array, "B T D"], memory: Float[Array, "B S D"], mask: Bool[Array, "B S"] | None = None
    ) -> Float[Array, "B T D"]:
        """The decoder's blocks on a whole embedded target. mask: the memory that may be seen (None: all)."""
        return self._run_blocks(x, lambda block, x, layer: (block.teach(x, memory, mask), None))[0]

    def _state_of(self, kept, lengths, capacity) -> State:
        """The state after a source of these lengths, of which the blocks have kept keys and values, (N, B, J, S, K)."""
        state = self.init_state(kept.k.shape[1], capacity)
        lengths = jnp.broadcast_to(jnp.asarray(lengths, jnp.int32), state.layers.lengths.shape)
        return state._replace(layers=state.layers._replace(source=kept, lengths=lengths))

    def _read(self, source, lengths):
        """The memory of a source, and its mask."""
        if lengths is None:
            return self.memory(self.embed(source)), None
        if lengths.shape != source.shape[:1]:
            raise ValueError(f"lengths must hold one number a source, shape {source.shape[:1]}, got {lengths.shape}")
        mask = jnp.arange(source.shape[1]) < lengths[:, None]
        return self.memory(self.embed(source), mask), mask


@cache
def config_of(size: Size) -> EncoderDecoderConfig:
    """Of this size: half of the layers to each, and one MLP width for all, which brings the parameters."""
    n_encoder = size.n_layers // 2
    config = EncoderDecoderConfig(
        d_model=size.d_model,
        head_size=size.head_size,
        n_encoder=n_encoder,
        n_decoder=size.n_layers - n_encoder,
        d_ff=size.mlp_step,
    )

    def params(d_ff):
        model = TransformerEncoderDecoder(replace(config, d_ff=d_ff), interface=TOKENS, rngs=nnx.Rngs(0))
        return nnx.state((model.encoder, model.blocks), nnx.Param)

    return replace(config, d_ff=closest_width(params, size.n_layers * size.layer_params, size.mlp_step))


def build(*, size: Size, interface: Interface, method: str, rngs: nnx.Rngs) -> TransformerEncoderDecoder:
    """Of this size, see `config_of`."""
    return TransformerEncoderDecoder(config_of(size), interface=interface, method=method, rngs=rngs)
