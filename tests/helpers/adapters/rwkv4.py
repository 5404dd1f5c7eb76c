"""RWKV-4."""

import jax.numpy as jnp
from flax import nnx

from lengthscale.models.checkpoints import assemble
from lengthscale.models.huggingface.rwkv import channel_mix, time_mix
from lengthscale.models.huggingface.tables import Config
from lengthscale.models.ops.wkv import METHODS, Decay, WKVState, empty_state, wkv
from lengthscale.models.rwkv4 import ChannelMix, TimeMix
from lengthscale.models.weights import with_weights
from tests.helpers.adapters.common import convert_all, next_token_loss


def wkv_of(method):
    """Without a state and with one, as one batch: half as much to compile."""

    def adapter(inputs, weights, meta):
        k, v = inputs["key"], inputs["value"]
        empty = empty_state(k.shape[0], k.shape[2], k.dtype)
        given = WKVState(inputs["num0"], inputs["den0"], inputs["max0"])
        decay, k, v = Decay(-jnp.exp(inputs["time_decay"]), inputs["time_first"]), _twice(k, k), _twice(v, v)
        # chunk: so that short fixtures have borders and a remainder too
        y, end = wkv(decay, k, v, WKVState(*map(_twice, empty, given)), method=method, chunk=8)
        names = {"wkv": "wkv_from_state", "num": "num2", "den": "den2", "max": "max2"}
        outputs = {}
        for (without, with_state), x in zip(names.items(), (y, *end), strict=True):
            outputs[without], outputs[with_state] = jnp.split(x, 2)
        return outputs

    return adapter


def _twice(x, y):
    return jnp.concatenate([x, y])


def timemix_of(method):
    def adapter(inputs, weights, meta):
        x, width = inputs["x"], weights["time_decay"].size

        def make():
            return TimeMix(x.shape[2], width, method=method, rngs=nnx.Rngs(0))

        module = with_weights(make, convert_all(time_mix("", "", x.shape[2], width), weights))
        return {"y": module(x, jnp.zeros_like(x[:, 0]), empty_state(x.shape[0], width, x.dtype))[0]}

    return adapter


def channelmix(inputs, weights, meta):
    x, width = inputs["x"], weights["key.weight"].shape[0]
    ours = convert_all(channel_mix("", "", x.shape[2], width), weights)
    module = with_weights(lambda: ChannelMix(x.shape[2], width, rngs=nnx.Rngs(0)), ours)
    return {"y": module(x, jnp.zeros_like(x[:, 0]))}


def lm(inputs, weights, meta):
    config = {
        "model_type": "rwkv",
        "vocab_size": meta["vocab"],
        "hidden_size": meta["hidden"],
        "num_hidden_layers": meta["layers"],
        "attention_hidden_size": weights["rwkv.blocks.0.attention.key.weight"].shape[0],
        "intermediate_size": weights["rwkv.blocks.0.feed_forward.key.weight"].shape[0],
        "layer_norm_epsilon": meta["ln_eps"],
        "tie_word_embeddings": "head.weight" not in weights,
    }
    model = assemble(Config(config), weights)
    ids = inputs["ids"]
    logits, state = model(ids, model.init_state(ids.shape[0], 0))
    assert state is not None
    x_time, x_channel, (aa, bb, p) = state.layers
    names = {"att_x": x_time, "ffn_x": x_channel, "num": aa, "den": bb, "max": p}
    states = {f"state_{name}": jnp.moveaxis(x, 0, -1) for name, x in names.items()}  # theirs end in the layer
    return {"logits": logits, "ce_loss": next_token_loss(logits, ids)} | states


WKV = {method: wkv_of(method) for method in METHODS}
ADAPTERS = {
    "rwkv4_wkv": WKV,
    "rwkv4_wkv_extreme": WKV,
    # The kernels take long to compile where they are interpreted; here they have nothing to add to the above.
    "rwkv4_timemix": {method: timemix_of(method) for method in METHODS if method != "pallas"},
    "rwkv4_channelmix": {"": channelmix},
    "rwkv4_lm": {"": lm},
}
