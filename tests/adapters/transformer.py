"""Attention, positions, Transformer layers and models."""

import jax
import jax.numpy as jnp
from flax import nnx

from models import layers
from models.backbone import Block
from models.layers import MLP, layer_norm
from models.ops.attention import attention
from models.transformer import SelfAttention
from tests.adapters.common import with_weights


def sdpa_core(inputs, weights, meta):
    q, k, v = (inputs[name] for name in "qkv")
    return {
        "y_causal": attention(q, k, v, block=8),
        "y_window": attention(q, k, v, window=meta["window"], block=8),
    }


def sinusoid(inputs, weights, meta):
    interleaved = layers.sinusoidal_positions(jnp.arange(meta["L"]), meta["d_model"], jnp.result_type(float))
    concatenated = jnp.concatenate([interleaved[:, 0::2], interleaved[:, 1::2]], axis=1)
    return {"exact_interleaved": interleaved, "exact_concat": concatenated}


def transformer_layer_prenorm_gelu(inputs, weights, meta):
    def layer(causal):
        def make():
            width = meta["d_model"]

            def mixer(rngs):
                return SelfAttention(width, width // meta["heads"], causal=causal, rngs=rngs)

            def mlp(rngs):
                return MLP(width, meta["d_ff"], activation=lambda x: jax.nn.gelu(x, approximate=False), rngs=rngs)

            return Block(width, mixer, mlp, layer_norm, nnx.Rngs(0))

        block = with_weights(
            make,
            {
                "norm.scale": weights["norm1.weight"],
                "norm.bias": weights["norm1.bias"],
                "mixer.qkv.kernel": weights["self_attn.in_proj_weight"].T,
                "mixer.qkv.bias": weights["self_attn.in_proj_bias"],
                "mixer.out.kernel": weights["self_attn.out_proj.weight"].T,
                "mixer.out.bias": weights["self_attn.out_proj.bias"],
                "mlp_norm.scale": weights["norm2.weight"],
                "mlp_norm.bias": weights["norm2.bias"],
                "mlp.up.kernel": weights["linear1.weight"].T,
                "mlp.up.bias": weights["linear1.bias"],
                "mlp.down.kernel": weights["linear2.weight"].T,
                "mlp.down.bias": weights["linear2.bias"],
            },
        )
        return block(inputs["x"], None, 0)[0]

    return {"y": layer(False), "y_causal": layer(True)}


ADAPTERS = {
    "sdpa_core": {"": sdpa_core},
    "sinusoid": {"": sinusoid},
    "transformer_layer_prenorm_gelu": {"": transformer_layer_prenorm_gelu},
}
