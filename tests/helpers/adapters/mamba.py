"""Mamba."""

from flax import nnx

from lengthscale.models.base import State
from lengthscale.models.checkpoints import assemble
from lengthscale.models.huggingface.mamba import mixer
from lengthscale.models.huggingface.tables import Config
from lengthscale.models.mamba import Mamba, MambaConfig, MambaState
from lengthscale.models.weights import with_weights
from tests.helpers.adapters.common import convert_all, next_token_loss


def mamba_mixer(inputs, weights, meta):
    config = Config(meta)

    def make():
        ours = MambaConfig(
            meta["hidden_size"],
            n_blocks=1,
            d_state=meta["state_size"],
            d_conv=meta["conv_kernel"],
            expand=meta["expand"],
            dt_rank=meta["time_step_rank"],
        )
        return Mamba(ours, rngs=nnx.Rngs(0))

    return {"y": with_weights(make, convert_all(mixer("", "", config), weights))(inputs["x"], None, 0)[0]}


def mamba_lm(inputs, weights, meta):
    config = {
        "model_type": "mamba",
        "vocab_size": meta["vocab"],
        "num_hidden_layers": meta["layers"],
        **{key: meta[key] for key in ("hidden_size", "state_size", "conv_kernel", "expand", "time_step_rank")},
    }
    model = assemble(Config(config), weights)
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
