"""Mamba."""

import jax.numpy as jnp
from flax import nnx

from models import Interface
from models.backbone import Backbone, Block
from models.base import State
from models.layers import rms_norm
from models.mamba import Mamba, MambaState
from tests.adapters.common import next_token_loss, with_weights


def _mamba(meta, rngs):
    return Mamba(
        meta["hidden_size"],
        d_state=meta["state_size"],
        d_conv=meta["conv_kernel"],
        expand=meta["expand"],
        dt_rank=meta["time_step_rank"],
        rngs=rngs,
    )


def _mamba_weights(weights, prefix=""):
    return {
        "in_proj.kernel": weights[f"{prefix}in_proj.weight"].T,
        "conv_w": weights[f"{prefix}conv1d.weight"][:, 0].T,
        "conv_b": weights[f"{prefix}conv1d.bias"],
        "x_proj.kernel": weights[f"{prefix}x_proj.weight"].T,
        "dt_proj.kernel": weights[f"{prefix}dt_proj.weight"].T,
        "dt_proj.bias": weights[f"{prefix}dt_proj.bias"],
        "A_log": weights[f"{prefix}A_log"],
        "D": weights[f"{prefix}D"],
        "out_proj.kernel": weights[f"{prefix}out_proj.weight"].T,
    }


def mamba_mixer(inputs, weights, meta):
    mixer = with_weights(lambda: _mamba(meta, nnx.Rngs(0)), _mamba_weights(weights))
    return {"y": mixer(inputs["x"], None, 0)[0]}


def mamba_lm(inputs, weights, meta):
    def make():
        return Backbone(
            interface=Interface(meta["vocab"]),
            d_model=meta["hidden_size"],
            n_blocks=meta["layers"],
            make_block=lambda rngs: Block(meta["hidden_size"], lambda rngs: _mamba(meta, rngs), None, rms_norm, rngs),
            norm=rms_norm,
            rngs=nnx.Rngs(0),
        )

    blocks = []
    for number in range(meta["layers"]):
        prefix = f"backbone.layers.{number}."
        mixer = _mamba_weights(weights, f"{prefix}mixer.")
        blocks.append({"norm.scale": weights[f"{prefix}norm.weight"]} | {f"mixer.{k}": v for k, v in mixer.items()})
    stacked = {f"blocks.{name}": jnp.stack([block[name] for block in blocks]) for name in blocks[0]}
    embed, norm = weights["backbone.embeddings.weight"], weights["backbone.norm_f.weight"]
    model = with_weights(make, stacked | {"embedding": embed, "norm.scale": norm})
    ids = inputs["ids"]
    logits, state = model(ids, model.init_state(ids.shape[0], 0))
    assert isinstance(state, State)
    assert isinstance(state.layers, MambaState)
    outputs = {"logits": logits, "ce_loss": next_token_loss(logits, ids)}
    for number in range(meta["layers"]):  # their convolution's state holds K inputs, ours the K - 1 that are needed
        outputs[f"conv_state_l{number}[1:]"] = state.layers.conv[number].swapaxes(1, 2)
        outputs[f"ssm_state_l{number}"] = state.layers.h[number].swapaxes(1, 2)
    return outputs


ADAPTERS = {
    "mamba_mixer": {"": mamba_mixer},
    "mamba_lm": {"": mamba_lm},
}
