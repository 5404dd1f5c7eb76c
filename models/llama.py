"""Transformer++, the Llama-like decoder: RMSNorm, rotary positions, SwiGLU, grouped queries, no biases.

    x = x + attention(rms(x));  x = x + W_down (silu(W_gate rms(x)) * W_up rms(x))

Llama (Touvron et al., arXiv:2302.13971), grouped queries (Ainslie et al., arXiv:2305.13245); with a window, Mistral
(Jiang et al., arXiv:2310.06825). State: keys, after rotation, and values, (N, B, J, S, K) each, of J key heads; with a
window of W tokens a ring of W slots, whatever the length.
"""

import math
from collections.abc import Callable
from functools import cache, partial

from flax import nnx

from lengthscale.models import TOKENS, Interface, Size
from lengthscale.models.backbone import Backbone, Block
from lengthscale.models.budget import closest_width
from lengthscale.models.layers import SwiGLU, rms_norm
from lengthscale.models.transformer import SelfAttention

MAX_GROUP = 4  # query heads to a key head, of the sizes of SIZES: Llama 2 70B has 8, Mistral 7B and Llama 3 8B have 4


def llama(
    *,
    interface: Interface,
    d_model: int,
    n_layers: int,
    heads: int,
    kv_heads: int,
    head_size: int,
    d_ff: int,
    window: int | None = None,
    rope_theta: float = 10_000.0,
    epsilon: float = 1e-5,
    tied: bool = False,
    method: str = "auto",
    rngs: nnx.Rngs,
) -> Backbone:
    """Llama or, with a window, Mistral, from their hyper-parameters. heads x head_size need not be d_model."""
    norm = partial(rms_norm, epsilon=epsilon)
    n_residuals = 2 * n_layers

    def make_mixer(rngs):
        return SelfAttention(
            d_model,
            head_size,
            heads=heads,
            kv_heads=kv_heads,
            bias=False,
            rope_theta=rope_theta,
            window=window,
            n_residuals=n_residuals,
            method=method,
            rngs=rngs,
        )

    def make_mlp(rngs):
        return SwiGLU(d_model, d_ff, n_residuals=n_residuals, rngs=rngs)

    return Backbone(
        interface=interface,
        d_model=d_model,
        n_blocks=n_layers,
        make_block=lambda rngs: Block(d_model, make_mixer, make_mlp, norm, rngs),
        norm=norm,
        tied=tied,
        rngs=rngs,
    )


def build(*, size: Size, interface: Interface, method: str, rngs: nnx.Rngs, window: int | None = None) -> Backbone:
    """Of this size: groups of 4 query heads where so many divide the heads; the MLP's width brings the parameters."""
    return sized(size)(interface=interface, window=window, method=method, rngs=rngs)


@cache
def sized(size: Size) -> Callable[..., Backbone]:
    """llama with the hyper-parameters of a size."""
    heads = size.d_model // size.head_size
    make = partial(
        llama,
        d_model=size.d_model,
        n_layers=size.n_layers,
        heads=heads,
        kv_heads=heads // math.gcd(heads, MAX_GROUP),
        head_size=size.head_size,
        tied=True,
    )

    def params(d_ff):
        return nnx.state(make(interface=TOKENS, d_ff=d_ff, rngs=nnx.Rngs(0)).blocks, nnx.Param)

    return partial(make, d_ff=closest_width(params, size.n_layers * size.layer_params, size.mlp_step))


def build_window(*, size: Size, interface: Interface, method: str, rngs: nnx.Rngs) -> Backbone:
    """With a window as wide as the model, as Mistral 7B's is (4,096 both)."""
    return build(size=size, interface=interface, method=method, rngs=rngs, window=size.d_model)
