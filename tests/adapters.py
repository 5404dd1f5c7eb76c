"""One adapter a family of golden fixtures: our code under the weights' original names.

An adapter is called as adapter(inputs, weights, meta) with dictionaries of arrays, and returns a dictionary of outputs.
Sizes come from meta and from shapes alone, so that other fixtures of a family pass unchanged. Everything is a function
of the arrays, so that gradients reach inputs and weights alike.
"""

import jax
import jax.numpy as jnp
from flax import nnx

from models import layers
from models.backbone import Backbone, Block
from models.base import State
from models.layers import MLP, layer_norm, rms_norm
from models.mamba import Mamba, MambaState
from models.ops.attention import attention
from models.ops.gated import gru, lstm, rnn
from models.ops.linear_scan import linear_scan
from models.ops.selective_scan import selective_scan
from models.transformer import SelfAttention


def with_weights(make, weights: dict):
    """The module that make() would give, with the weights, by their path ("mixer.in_proj.kernel"), as its own."""
    graph, abstract = nnx.split(nnx.eval_shape(make))
    flat = dict(nnx.to_flat_state(abstract))
    assert {".".join(map(str, path)) for path in flat} == set(weights), "the weights do not fit the module"
    for path, variable in flat.items():
        array = weights[".".join(map(str, path))]
        assert variable.shape == array.shape, f"{path}: {variable.shape}, weights {array.shape}"
        flat[path] = variable.replace(array)
    return nnx.merge(graph, nnx.from_flat_state(flat))


def causal_conv1d(inputs, weights, meta):
    w, bias = weights["weight"][:, 0].T, weights["bias"]
    y, _ = layers.causal_conv1d(inputs["x"], w, bias, jnp.zeros_like(inputs["state"]))
    continued, _ = layers.causal_conv1d(inputs["x"], w, bias, inputs["state"])
    return {"y": y, "y_from_state": continued, "y_silu": jax.nn.silu(y)}


def linear_scan_of(method):
    def adapter(inputs, weights, meta):
        a, b = inputs["a"], inputs["b"]
        h = linear_scan(inputs["a_re"] + 1j * inputs["a_im"], b + 1j * inputs["b_im"], method=method, chunk=8)
        return {
            "h": linear_scan(a, b, method=method, chunk=8),
            "h_from_h0": linear_scan(a, b, inputs["h0"], method=method, chunk=8),
            "h_cplx_re": h.real,
            "h_cplx_im": h.imag,
        }

    return adapter


def selective_scan_of(method):
    def adapter(inputs, weights, meta):
        u, delta, B, C, z = (inputs[name].swapaxes(1, 2) for name in ("u", "delta", "B", "C", "z"))

        def scan(dt):
            y, h = selective_scan(u, dt, inputs["A"], B, C, method=method)
            return y, h.swapaxes(1, 2)

        y, last = scan(jax.nn.softplus(delta + inputs["delta_bias"]))
        plain, last_plain = scan(jax.nn.softplus(delta))
        return {
            "y": ((y + inputs["D"] * u) * jax.nn.silu(z)).swapaxes(1, 2),
            "last_state": last,
            "y_plain": plain.swapaxes(1, 2),
            "last_state_plain": last_plain,
        }

    return adapter


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
            vocab=meta["vocab"],
            d_model=meta["hidden_size"],
            n_blocks=meta["layers"],
            make_mixer=lambda rngs: _mamba(meta, rngs),
            mlp_width=0,
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
    log_p = jax.nn.log_softmax(logits[:, :-1])
    outputs = {
        "logits": logits,
        "ce_loss": -jnp.take_along_axis(log_p, ids[:, 1:, None], axis=-1).mean(),
    }
    for number in range(meta["layers"]):  # their convolution's state holds K inputs, ours the K - 1 that are needed
        outputs[f"conv_state_l{number}[1:]"] = state.layers.conv[number].swapaxes(1, 2)
        outputs[f"ssm_state_l{number}"] = state.layers.h[number].swapaxes(1, 2)
    return outputs


def recurrent(inputs, weights, meta):
    """torch.nn's RNN, LSTM and GRU of any number of layers, one direction."""
    x, h_n, c_n = inputs["x"], [], []
    for number in range(meta["layers"]):
        w_ih, w_hh, b_ih, b_hh = (
            weights[f"{name}_l{number}"] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        h0 = inputs["h0"][number]
        if meta["cls"] == "LSTM":
            x, c = lstm(x @ w_ih.T + b_ih + b_hh, w_hh, h0, inputs["c0"][number])
            c_n.append(c)
        elif meta["cls"] == "GRU":
            width = h0.shape[-1]
            outer = b_ih + jnp.concatenate([b_hh[: 2 * width], jnp.zeros(width, b_hh.dtype)])
            x = gru(x @ w_ih.T + outer, w_hh, b_hh[2 * width :], h0)
        else:
            x = rnn(x @ w_ih.T + b_ih + b_hh, w_hh, h0)
        h_n.append(x[:, -1])
    outputs = {"y": x, "h_n": jnp.stack(h_n)}
    return outputs | {"c_n": jnp.stack(c_n)} if c_n else outputs


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
        return block(inputs["x"], lambda mixer, x: mixer(x, None, 0))[0]

    return {"y": layer(False), "y_causal": layer(True)}


# fixture family -> {variant: adapter}; a variant is one of our forms of the same thing
ADAPTERS = {
    "causal_conv1d": {"": causal_conv1d},
    "linear_scan": {method: linear_scan_of(method) for method in ("sequential", "associative", "chunked")},
    "selective_scan": {method: selective_scan_of(method) for method in ("sequential", "associative", "chunked")},
    "mamba_mixer": {"": mamba_mixer},
    "mamba_lm": {"": mamba_lm},
    "rnn_1layer": {"": recurrent},
    "rnn_2layer": {"": recurrent},
    "lstm_1layer": {"": recurrent},
    "lstm_2layer": {"": recurrent},
    "gru_1layer": {"": recurrent},
    "gru_2layer": {"": recurrent},
    "sdpa_core": {"": sdpa_core},
    "sinusoid": {"": sinusoid},
    "transformer_layer_prenorm_gelu": {"": transformer_layer_prenorm_gelu},
}
