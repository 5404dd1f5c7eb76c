"""RWKV-4."""

import jax.numpy as jnp
from flax import nnx

from models import Interface
from models.ops.wkv import METHODS, WKVState, empty_state, wkv
from models.rwkv4 import ChannelMix, TimeMix, rwkv4
from tests.adapters.common import next_token_loss, with_weights
from tests.adapters.huggingface import norm, stacked


def wkv_of(method):
    """Without a state and with one, as one batch: half as much to compile."""

    def adapter(inputs, weights, meta):
        k, v = inputs["key"], inputs["value"]
        empty = empty_state(k.shape[0], k.shape[2], k.dtype)
        given = WKVState(inputs["num0"], inputs["den0"], inputs["max0"])
        w, u, k, v = -jnp.exp(inputs["time_decay"]), inputs["time_first"], _twice(k, k), _twice(v, v)
        # chunk: so that short fixtures have borders and a remainder too
        y, end = wkv(w, u, k, v, WKVState(*map(_twice, empty, given)), method=method, chunk=8)
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

        module = with_weights(make, time_mix_weights(weights))
        return {"y": module(x, jnp.zeros_like(x[:, 0]), empty_state(x.shape[0], width, x.dtype))[0]}

    return adapter


def channelmix(inputs, weights, meta):
    x, width = inputs["x"], weights["key.weight"].shape[0]
    module = with_weights(lambda: ChannelMix(x.shape[2], width, rngs=nnx.Rngs(0)), channel_mix_weights(weights))
    return {"y": module(x, jnp.zeros_like(x[:, 0]))}


def lm(inputs, weights, meta):
    def make():
        return rwkv4(
            interface=Interface(meta["vocab"]),
            d_model=meta["hidden"],
            n_layers=meta["layers"],
            d_time=weights["rwkv.blocks.0.attention.key.weight"].shape[0],
            d_channel=weights["rwkv.blocks.0.feed_forward.key.weight"].shape[0],
            epsilon=meta["ln_eps"],
            rngs=nnx.Rngs(0),
        )

    model = with_weights(make, rwkv4_weights(weights))
    ids = inputs["ids"]
    logits, state = model(ids, model.init_state(ids.shape[0], 0))
    assert state is not None
    x_time, x_channel, (aa, bb, p) = state.layers
    names = {"att_x": x_time, "ffn_x": x_channel, "num": aa, "den": bb, "max": p}
    states = {f"state_{name}": jnp.moveaxis(x, 0, -1) for name, x in names.items()}  # theirs end in the layer
    return {"logits": logits, "ce_loss": next_token_loss(logits, ids)} | states


def rwkv4_weights(weights: dict) -> dict:
    """transformers' RwkvForCausalLM's under our names, for models.rwkv4.rwkv4. Block 0's pre_ln is our embed_norm."""

    def block(layer):
        parts = {
            "time_mix": time_mix_weights(weights, f"{layer}.attention."),
            "channel_mix": channel_mix_weights(weights, f"{layer}.feed_forward."),
        }
        mixes = {f"{part}.{name}": array for part, names in parts.items() for name, array in names.items()}
        return norm(weights, f"{layer}.ln1", "ln1") | norm(weights, f"{layer}.ln2", "ln2") | mixes

    head = {"head.kernel": weights["head.weight"].T} if "head.weight" in weights else {}  # tied without one
    return (
        {"embedding": weights["rwkv.embeddings.weight"]}
        | norm(weights, "rwkv.blocks.0.pre_ln", "embed_norm")
        | norm(weights, "rwkv.ln_out", "norm")
        | head
        | stacked(weights, "rwkv.blocks", block)
    )


def time_mix_weights(weights: dict, prefix: str = "") -> dict:
    """RwkvSelfAttention's, for models.rwkv4.TimeMix."""
    vectors = {"decay": weights[f"{prefix}time_decay"], "first": weights[f"{prefix}time_first"]}
    return vectors | _mixes(weights, prefix, ("key", "value", "receptance"), ("output",))


def channel_mix_weights(weights: dict, prefix: str = "") -> dict:
    """RwkvFeedForward's, for models.rwkv4.ChannelMix."""
    return _mixes(weights, prefix, ("key", "receptance"), ("value",))


def _mixes(weights, prefix, shifted, plain):
    mixes = {f"mix_{name[0]}": weights[f"{prefix}time_mix_{name}"].reshape(-1) for name in shifted}
    return mixes | {f"{name}.kernel": weights[f"{prefix}{name}.weight"].T for name in (*shifted, *plain)}


WKV = {method: wkv_of(method) for method in METHODS}
ADAPTERS = {
    "rwkv4_wkv": WKV,
    "rwkv4_wkv_extreme": WKV,
    "rwkv4_timemix": {method: timemix_of(method) for method in METHODS},
    "rwkv4_channelmix": {"": channelmix},
    "rwkv4_lm": {"": lm},
}
