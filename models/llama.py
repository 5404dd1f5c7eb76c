"""Transformer++, the Llama-like decoder: RMSNorm, rotary positions, SwiGLU, grouped queries, no biases.

    x = x + attention(rms(x));  x = x + W_down (silu(W_gate rms(x)) * W_up rms(x))

Llama (Touvron et al., arXiv:2302.13971), grouped queries (Ainslie et al., arXiv:2305.13245); with a window, Mistral
(Jiang et al., arXiv:2310.06825). State: keys, after rotation, and values, (N, B, J, S, K) each, of J key heads; with a
window of W tokens a ring of W slots, whatever the length.
"""

import math
from dataclasses import dataclass, replace
from functools import cache, partial

from flax import nnx

from lengthscale.models import TOKENS, Interface, Size
from lengthscale.models.backbone import Backbone, BackboneConfig, residual_backbone
from lengthscale.models.budget import closest_width
from lengthscale.models.layers import SwiGLU, rms_norm
from lengthscale.models.transformer import AttentionConfig, SelfAttention

MAX_GROUP = 4  # query heads to a key head, of the sizes of SIZES: Llama 2 70B has 8, Mistral 7B and Llama 3 8B have 4


@dataclass(frozen=True, kw_only=True)
class LlamaConfig:
    """The hyper-parameters of Llama or, with a window, of Mistral. heads x head_size need not be d_model."""

    d_model: int
    n_layers: int
    heads: int  # of queries
    kv_heads: int  # of keys and values; must divide heads
    head_size: int
    d_ff: int  # the MLP's width
    window: int | None = None  # the tokens that each one sees, itself included; None: all
    rope_theta: float = 10_000.0  # the base of the rotary positions' wavelengths
    epsilon: float = 1e-5  # of the norms
    tied: bool = False  # the head is the embedding, transposed

    @property
    def attention(self) -> AttentionConfig:
        """One block's attention."""
        return AttentionConfig(
            self.d_model,
            self.head_size,
            heads=self.heads,
            kv_heads=self.kv_heads,
            bias=False,
            rope_theta=self.rope_theta,
            window=self.window,
            n_residuals=2 * self.n_layers,
        )

    def __post_init__(self):
        _ = self.attention  # refuses heads that do not divide


def llama(config: LlamaConfig, *, interface: Interface, method: str = "auto", rngs: nnx.Rngs) -> Backbone:
    """Llama or, with a window, Mistral, from their hyper-parameters. method: see models.ops.attention."""
    norm = partial(rms_norm, epsilon=config.epsilon)
    return residual_backbone(
        BackboneConfig(config.d_model, config.n_layers, norm=norm, tied=config.tied),
        partial(SelfAttention, config.attention, method=method),
        partial(SwiGLU, config.d_model, config.d_ff, n_residuals=2 * config.n_layers),
        interface=interface,
        rngs=rngs,
    )


@cache
def config_of(size: Size, window: int | None = None) -> LlamaConfig:
    """Of this size: groups of 4 query heads where so many divide the heads; the MLP's width brings the parameters."""
    heads = size.d_model // size.head_size
    config = LlamaConfig(
        d_model=size.d_model,
        n_layers=size.n_layers,
        heads=heads,
        kv_heads=heads // math.gcd(heads, MAX_GROUP),
        head_size=size.head_size,
        d_ff=size.mlp_step,
        window=window,
        tied=True,
    )

    def params(d_ff):
        return nnx.state(llama(replace(config, d_ff=d_ff), interface=TOKENS, rngs=nnx.Rngs(0)).blocks, nnx.Param)

    return replace(config, d_ff=closest_width(params, size.n_layers * size.layer_params, size.mlp_step))


def build(*, size: Size, interface: Interface, method: str, rngs: nnx.Rngs) -> Backbone:
    """Of this size, see `config_of`."""
    return llama(config_of(size), interface=interface, method=method, rngs=rngs)


def build_window(*, size: Size, interface: Interface, method: str, rngs: nnx.Rngs) -> Backbone:
    """With a window as wide as the model, as Mistral 7B's is (4,096 both)."""
    return llama(config_of(size, window=size.d_model), interface=interface, method=method, rngs=rngs)
