"""RWKV-4 (Peng et al., arXiv:2305.13048): attention by a decaying sum, and a gated MLP, both with token shift.

    mix(m) = m x_t + (1 - m) x_{t-1}
    time mixing       r, k, v = W_r mix(m_r), W_k mix(m_k), W_v mix(m_v);  y = W_o (sigmoid(r) * wkv(k, v))
    channel mixing    r, k = W_r mix(m_r), W_k mix(m_k);                   y = sigmoid(r) * W_v relu(k)^2
    block             x = x + time(ln1(x));  x = x + channel(ln2(x))

wkv is in models/ops/wkv/. State: the last inputs of both mixings, after their norms, (B, D) each, and wkv's aa, bb
and p, (B, E) each in float32 at least. Axes: see models/base.py; E width of the time mixing, F of the channel mixing.
"""

import math
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array
from jaxtyping import Float

from lengthscale.models import Interface, Size
from lengthscale.models.backbone import Backbone, BackboneConfig, Norm
from lengthscale.models.base import Mixer
from lengthscale.models.budget import closest_width
from lengthscale.models.layers import Linear, layer_norm, scale
from lengthscale.models.ops.wkv import Decay, WKVState, empty_state, wkv
from lengthscale.models.remat import kept

zeros = nnx.initializers.zeros


class RWKVState(NamedTuple):
    """The last inputs of the time and channel mixings, and wkv's sums."""

    x_time: Float[Array, "B D"]
    x_channel: Float[Array, "B D"]
    wkv: WKVState


@dataclass(frozen=True, kw_only=True)
class RWKV4Config:
    """RWKV-4's hyper-parameters.

    epsilon: of all norms but the last, as transformers' RwkvModel has it. tied: the paper's head is not; a tied
    embedding starts as other models' does, since the paper's start, near 0, is none for a head.
    """

    d_model: int  # D
    n_layers: int
    d_time: int  # E, the time mixing's width
    d_channel: int  # F, the channel mixing's width
    epsilon: float = 1e-5
    tied: bool = False

    @property
    def norm(self) -> Norm:
        """Makes all norms but the last."""
        return partial(layer_norm, epsilon=self.epsilon)


class TimeMix(nnx.Module):
    """RWKV's attention. Starts as the first layer of its model would (`by_depth`)."""

    def __init__(self, d_model: int, width: int, *, method: str = "auto", rngs: nnx.Rngs):
        start = by_depth(d_model, width, n_layers=1)["time_mix"]
        self.decay, self.mix_k, self.mix_v, self.mix_r = (
            nnx.Param(start[name][0]) for name in ("decay", "mix_k", "mix_v", "mix_r")
        )
        zigzag = 0.5 * (jnp.arange(1, width + 1) % 3 - 1)
        self.first = nnx.Param(math.log(0.3) + zigzag)
        linear = partial(Linear, use_bias=False, rngs=rngs)
        self.key = linear(d_model, width, kernel_init=zeros)
        self.value = linear(d_model, width, kernel_init=nnx.initializers.normal(d_model**-0.5))
        self.receptance = linear(d_model, width, kernel_init=zeros)
        self.output = linear(width, d_model, kernel_init=zeros)
        self.method = method

    def __call__(
        self, x: Float[Array, "B T D"], last: Float[Array, "B D"], state: WKVState
    ) -> tuple[Float[Array, "B T D"], WKVState]:
        """Mixed inputs and wkv's new state; `last` is the input before x."""
        before = shifted(x, last)
        k = self.key(mixed(x, before, self.mix_k[...]))
        v = self.value(mixed(x, before, self.mix_v[...]))
        r = self.receptance(mixed(x, before, self.mix_r[...]))
        w = -jnp.exp(self.decay[...].astype(state.p.dtype))
        y, state = wkv(Decay(w, self.first[...]), k, v, state, method=self.method)
        return self.output(jax.nn.sigmoid(r) * y.astype(x.dtype)), state


class ChannelMix(nnx.Module):
    """RWKV's MLP, of a squared ReLU and a gate. Starts as the first layer of its model would (`by_depth`)."""

    def __init__(self, d_model: int, width: int, *, rngs: nnx.Rngs):
        start = by_depth(d_model, width, n_layers=1)["channel_mix"]
        self.mix_k, self.mix_r = (nnx.Param(start[name][0]) for name in ("mix_k", "mix_r"))
        linear = partial(Linear, use_bias=False, rngs=rngs)
        self.key = linear(d_model, width, kernel_init=nnx.initializers.normal(d_model**-0.5))
        self.receptance = linear(d_model, d_model, kernel_init=zeros)
        self.value = linear(width, d_model, kernel_init=zeros)

    def __call__(self, x: Float[Array, "B T D"], last: Float[Array, "B D"]) -> Float[Array, "B T D"]:
        """Mixed inputs; `last` is the input before x."""
        before = shifted(x, last)
        k = self.key(mixed(x, before, self.mix_k[...]))
        r = self.receptance(mixed(x, before, self.mix_r[...]))
        # The gate's gradient needs this product, 30% of a block's FLOPs and a small array.
        return jax.nn.sigmoid(r) * kept(self.value(jnp.square(jax.nn.relu(k))))


class RWKVBlock(Mixer):
    """One block of a model with this config. Starts as the first layer of its model would (`by_depth`)."""

    def __init__(self, config: RWKV4Config, *, method: str = "auto", rngs: nnx.Rngs):
        self.ln1 = config.norm(config.d_model, rngs)
        self.time_mix = TimeMix(config.d_model, config.d_time, method=method, rngs=rngs)
        self.ln2 = config.norm(config.d_model, rngs)
        self.channel_mix = ChannelMix(config.d_model, config.d_channel, rngs=rngs)
        self.d_model, self.d_time = config.d_model, config.d_time

    def __call__(self, x, state: RWKVState | None, position):
        x_time, x_channel, sums = self.init_state(x.shape[0], 0, x.dtype) if state is None else state
        h = self.ln1(x)
        y, sums = self.time_mix(h, x_time, sums)
        x = x + y
        g = self.ln2(x)
        return x + self.channel_mix(g, x_channel), RWKVState(h[:, -1], g[:, -1], sums)

    def init_state(self, batch, capacity, dtype):
        last = jnp.zeros((batch, self.d_model), dtype)
        return RWKVState(last, last, empty_state(batch, self.d_time, dtype))


def shifted(x: Float[Array, "B T D"], last: Float[Array, "B D"]) -> Float[Array, "B T D"]:
    """x_{t-1} for every t, `last` being the one before the first."""
    return jnp.concatenate([last[:, None], x[:, :-1]], axis=1)


def mixed(x: Float[Array, "B T D"], before: Float[Array, "B T D"], m: Float[Array, " D"]) -> Float[Array, "B T D"]:
    """m x + (1 - m) before."""
    return before + scale(x - before, m)


def by_depth(d_model: int, d_time: int, n_layers: int) -> dict[str, dict[str, Float[Array, "N ..."]]]:
    """The initial values that differ between layers, stacked over them (the paper's appendix on initialisation)."""
    layer = jnp.arange(n_layers)[:, None]
    depth = layer / max(1, n_layers - 1)  # 0 to 1
    left = 1 - layer / n_layers  # 1 to almost 0
    channel = jnp.arange(d_model) / d_model
    decay = -5 + 8 * (jnp.arange(d_time) / max(1, d_time - 1)) ** (0.7 + 1.3 * depth)
    mix = channel**left
    time_mix = {"decay": decay, "mix_k": mix, "mix_v": mix + 0.3 * depth, "mix_r": channel ** (0.5 * left)}
    return {"time_mix": time_mix, "channel_mix": {"mix_k": mix, "mix_r": mix}}


def rwkv4(config: RWKV4Config, *, interface: Interface, method: str = "auto", rngs: nnx.Rngs) -> Backbone:
    """RWKV-4 with the paper's initial values. method: see models.ops.wkv."""
    embed_norm = None if interface.features else config.norm  # of numbers it would leave little but the sign
    model = Backbone(
        BackboneConfig(config.d_model, config.n_layers, embed_norm=embed_norm, tied=config.tied),
        partial(RWKVBlock, config, method=method),
        interface=interface,
        rngs=rngs,
    )
    for part, values in by_depth(config.d_model, config.d_time, config.n_layers).items():
        for name, value in values.items():
            getattr(getattr(model.blocks, part), name)[...] = value
    if not model.tied:
        head = model.head.kernel
        head[...] = nnx.initializers.normal(0.5 * config.d_model**-0.5)(rngs.params(), head.shape, head.dtype)
    if not interface.features:  # the norm after it makes it large, and its gradient too
        table = model.embedding
        table[...] = jax.random.uniform(rngs.params(), table.shape, table.dtype, minval=-1e-4, maxval=1e-4)
    return model


@cache
def config_of(size: Size) -> RWKV4Config:
    """Of this size: the channel mixing's width brings the parameters. The paper's is 4 D, and its head is not tied."""
    d_model, n_layers = size.d_model, size.n_layers
    config = RWKV4Config(d_model=d_model, n_layers=n_layers, d_time=d_model, d_channel=size.mlp_step, tied=True)

    def params(d_channel):
        return nnx.state(RWKVBlock(replace(config, d_channel=d_channel), rngs=nnx.Rngs(0)), nnx.Param)

    return replace(config, d_channel=closest_width(params, size.layer_params, size.mlp_step))


def build(*, size: Size, interface: Interface, method: str, rngs: nnx.Rngs) -> Backbone:
    """Of this size, see `config_of`."""
    return rwkv4(config_of(size), interface=interface, method=method, rngs=rngs)
