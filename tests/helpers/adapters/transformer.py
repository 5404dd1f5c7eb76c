"""Attention, positions, Transformer layers and models."""

import jax
import jax.numpy as jnp
from flax import nnx

from lengthscale.models import Interface, layers
from lengthscale.models.backbone import Block
from lengthscale.models.checkpoints import assemble
from lengthscale.models.encoder_decoder import (
    CrossAttention,
    EncoderBlock,
    EncoderDecoderConfig,
    TransformerEncoderDecoder,
)
from lengthscale.models.huggingface.tables import Config
from lengthscale.models.layers import MLP, layer_norm
from lengthscale.models.ops.attention import Mask, attention_weights_reference
from lengthscale.models.ops.attention.blocks import attention_in_blocks
from lengthscale.models.transformer import AttentionConfig, SelfAttention
from lengthscale.models.weights import with_weights
from tests.helpers.adapters.common import next_token_loss, norm, stacked


def sdpa_core(inputs, weights, meta):
    q, k, v = (inputs[name] for name in "qkv")
    return {
        "y_causal": attention_in_blocks(q, k, v, block=8),
        "y_window": attention_in_blocks(q, k, v, Mask(window=meta["window"]), block=8),
    }


def sinusoid(inputs, weights, meta):
    interleaved = layers.sinusoidal_positions(jnp.arange(meta["L"]), meta["d_model"], jnp.result_type(float))
    concatenated = jnp.concatenate([interleaved[:, 0::2], interleaved[:, 1::2]], axis=1)
    return {"exact_interleaved": interleaved, "exact_concat": concatenated}


def _self_attention(weights, theirs="", ours=""):
    """torch.nn.MultiheadAttention's weights."""
    return {
        f"{ours}qkv.kernel": weights[f"{theirs}in_proj_weight"].T,
        f"{ours}qkv.bias": weights[f"{theirs}in_proj_bias"],
        f"{ours}out.kernel": weights[f"{theirs}out_proj.weight"].T,
        f"{ours}out.bias": weights[f"{theirs}out_proj.bias"],
    }


def _cross_attention(weights, theirs="", ours=""):
    whole = _self_attention(weights, theirs, ours)
    kernel, bias = whole.pop(f"{ours}qkv.kernel"), whole.pop(f"{ours}qkv.bias")
    width = kernel.shape[0]
    return whole | {
        f"{ours}q.kernel": kernel[:, :width],
        f"{ours}q.bias": bias[:width],
        f"{ours}kv.kernel": kernel[:, width:],
        f"{ours}kv.bias": bias[width:],
    }


def _mlp(weights, prefix):
    return {
        "mlp.up.kernel": weights[f"{prefix}linear1.weight"].T,
        "mlp.up.bias": weights[f"{prefix}linear1.bias"],
        "mlp.down.kernel": weights[f"{prefix}linear2.weight"].T,
        "mlp.down.bias": weights[f"{prefix}linear2.bias"],
    }


def mha(inputs, weights, meta):
    width, size = meta["d_model"], meta["d_model"] // meta["heads"]
    x = inputs["x"]

    def layer(causal):
        return with_weights(
            lambda: SelfAttention(AttentionConfig(width, size, causal=causal), rngs=nnx.Rngs(0)),
            _self_attention(weights),
        )

    cross = with_weights(lambda: CrossAttention(width, size, rngs=nnx.Rngs(0)), _cross_attention(weights))
    q, k, _ = layer(True).project(x, 0)
    return {
        "full": layer(False).attend(x),
        "causal": layer(True).attend(x),
        "cross_padded": cross(x, inputs["mem"], ~inputs["key_padding_mask_True_is_pad"]),
        "causal_avg_weights": attention_weights_reference(q, k).mean(axis=1),
    }


def transformer_layer_prenorm_gelu(inputs, weights, meta):
    def layer(causal):
        def make():
            width = meta["d_model"]

            def mixer(rngs):
                return SelfAttention(AttentionConfig(width, width // meta["heads"], causal=causal), rngs=rngs)

            def mlp(rngs):
                return MLP(width, meta["d_ff"], activation=lambda x: jax.nn.gelu(x, approximate=False), rngs=rngs)

            return Block(width, mixer, mlp, layer_norm, nnx.Rngs(0))

        ours = _self_attention(weights, "self_attn.", "mixer.") | _mlp(weights, "")
        ours |= norm(weights, "norm1", "norm") | norm(weights, "norm2", "mlp_norm")
        return with_weights(make, ours)(inputs["x"], None, 0)[0]

    return {"y": layer(False), "y_causal": layer(True)}


def _encoder_block(weights, prefix=""):
    return (
        _self_attention(weights, f"{prefix}self_attn.", "attention.")
        | _mlp(weights, prefix)
        | norm(weights, f"{prefix}norm1", "norm")
        | norm(weights, f"{prefix}norm2", "mlp_norm")
    )


def _decoder_block(weights, prefix):
    return (
        _self_attention(weights, f"{prefix}self_attn.", "attention.")
        | _cross_attention(weights, f"{prefix}multihead_attn.", "cross.")
        | _mlp(weights, prefix)
        | norm(weights, f"{prefix}norm1", "norm")
        | norm(weights, f"{prefix}norm2", "cross_norm")
        | norm(weights, f"{prefix}norm3", "mlp_norm")
    )


def transformer_layer_postnorm_relu(inputs, weights, meta):
    def layer(causal):
        def make():
            width, rngs = meta["d_model"], nnx.Rngs(0)
            config = AttentionConfig(width, width // meta["heads"], causal=causal)
            self_attention = SelfAttention(config, rngs=rngs)
            return EncoderBlock(
                width, self_attention, MLP(width, meta["d_ff"], activation=jax.nn.relu, rngs=rngs), rngs
            )

        return with_weights(make, _encoder_block(weights))(inputs["x"])

    return {"y": layer(False), "y_causal": layer(True)}


def transformer_encdec(inputs, weights, meta):
    """torch.nn.Transformer, which has no embeddings."""
    width = meta["d_model"]

    def make():
        config = EncoderDecoderConfig(
            d_model=width,
            head_size=width // meta["heads"],
            n_encoder=meta["enc_layers"],
            n_decoder=meta["dec_layers"],
            d_ff=meta["d_ff"],
        )
        return TransformerEncoderDecoder(config, interface=Interface(vocab=1), rngs=nnx.Rngs(0))

    ours = norm(weights, "encoder.norm", "encoder_norm") | norm(weights, "decoder.norm", "norm")
    ours |= stacked(weights, "encoder.layers", lambda layer: _encoder_block(weights, f"{layer}."), "encoder")
    ours |= stacked(weights, "decoder.layers", lambda layer: _decoder_block(weights, f"{layer}."))
    model = with_weights(make, ours | {"embedding": jnp.zeros((1, width))})
    mask = ~inputs["src_pad_True_is_pad"]
    return {"y": model.norm(model.mix_with(inputs["tgt"], model.memory(inputs["src"], mask), mask))}


def gpt2_lm(inputs, weights, meta):
    shapes = {name.removeprefix("transformer."): array.shape for name, array in weights.items()}
    config = {
        "model_type": "gpt2",
        "vocab_size": shapes["wte.weight"][0],
        "n_embd": meta["d_model"],
        "n_layer": meta["layers"],
        "n_head": meta["heads"],
        "n_positions": shapes["wpe.weight"][0],
        "n_inner": shapes["h.0.mlp.c_fc.weight"][1],
    }
    return _lm(assemble(Config(config), weights), inputs["ids"])


def llama_lm(inputs, weights, meta):
    """Llama; with a sliding_window in meta, Mistral. The epsilon of both is transformers' default."""
    config = {
        "model_type": "mistral" if "sliding_window" in meta else "llama",
        "vocab_size": weights["model.embed_tokens.weight"].shape[0],
        "hidden_size": meta["d_model"],
        "num_hidden_layers": meta["layers"],
        "num_attention_heads": meta["heads"],
        "num_key_value_heads": meta["kv_heads"],
        "head_dim": weights["model.layers.0.self_attn.o_proj.weight"].shape[1] // meta["heads"],
        "intermediate_size": weights["model.layers.0.mlp.up_proj.weight"].shape[0],
        "sliding_window": meta.get("sliding_window"),
        "rope_theta": meta["rope_theta"],
        "tie_word_embeddings": "lm_head.weight" not in weights,
    }
    return _lm(assemble(Config(config), weights), inputs["ids"])


def _lm(model, ids):
    logits = model(ids)[0]
    return {"logits": logits, "ce_loss": next_token_loss(logits, ids)}


ADAPTERS = {
    "mha": {"": mha},
    "sdpa_core": {"": sdpa_core},
    "sinusoid": {"": sinusoid},
    "transformer_layer_prenorm_gelu": {"": transformer_layer_prenorm_gelu},
    "transformer_layer_postnorm_relu": {"": transformer_layer_postnorm_relu},
    "transformer_encdec": {"": transformer_encdec},
    "gpt2_lm": {"": gpt2_lm},
    "llama_lm": {"": llama_lm},
    "mistral_swa_lm": {"": llama_lm},
}
