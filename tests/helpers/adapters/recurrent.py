"""RNN, LSTM, GRU; their four forms of input and output; the encoder-decoder."""

import jax
import jax.numpy as jnp
from flax import nnx

from lengthscale.models import Interface, forms
from lengthscale.models.gru import GRU
from lengthscale.models.lstm import LSTM
from lengthscale.models.recurrent import RecurrentConfig, RecurrentModel, Stack
from lengthscale.models.rnn import RNN
from lengthscale.models.seq2seq import Seq2Seq
from lengthscale.models.weights import with_weights

CELLS = {"RNN": RNN, "LSTM": LSTM, "GRU": GRU}


def _cell_weights(cell, weights, suffix):
    """One of torch's layers in one direction, under our names."""
    w_ih, w_hh, b_ih, b_hh = (weights[f"{name}_{suffix}"] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
    ours = {"w_x.kernel": w_ih.T, "w_h": w_hh}
    if cell is not GRU:
        return ours | {"w_x.bias": b_ih + b_hh}
    outer = 2 * w_hh.shape[1]  # the last gate's bias on h stays within r * (...)
    return ours | {"w_x.bias": b_ih + jnp.pad(b_hh[:outer], (0, w_hh.shape[1])), "b_n": b_hh[outer:]}


def _stack_weights(cell, weights, prefix=""):
    """torch.nn.RNN's, LSTM's or GRU's weights under the names of our Stack."""
    weights = {key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)}
    layers = []
    for number in range(_n_layers(weights)):
        layer = _cell_weights(cell, weights, f"l{number}")
        if f"weight_ih_l{number}_reverse" in weights:
            back = _cell_weights(cell, weights, f"l{number}_reverse")
            layer = {f"forward.{k}": v for k, v in layer.items()} | {f"backward.{k}": v for k, v in back.items()}
        layers.append(layer)
    ours = {f"first.{name}": value for name, value in layers[0].items()}
    if layers[1:]:
        ours |= {f"rest.{name}": jnp.stack([layer[name] for layer in layers[1:]]) for name in layers[0]}
    return ours


def _n_layers(weights):
    return sum(name.startswith("weight_ih_l") and not name.endswith("_reverse") for name in weights)


def _run(cell, inputs, weights, state):
    """torch's y, h_n, c_n of a stack."""
    bidirectional = "weight_ih_l0_reverse" in weights
    width = weights["weight_hh_l0"].shape[1]

    def make():
        features = inputs["x"].shape[-1]
        return Stack(cell, features, width, _n_layers(weights), bidirectional=bidirectional, rngs=nnx.Rngs(0))

    if bidirectional and state is not None:  # torch has a layer's directions one after the other
        state = jax.tree.map(lambda s: s[0::2], state), jax.tree.map(lambda s: s[1::2], state)
    stack = with_weights(make, _stack_weights(cell, weights))
    y, state = stack(inputs["x"], state, inputs.get("lengths"))
    if bidirectional:
        state = jax.tree.map(lambda *both: jnp.stack(both, axis=1).reshape(-1, *both[0].shape[1:]), *state)
    return {"y": y} | (dict(zip(("h_n", "c_n"), state, strict=True)) if cell is LSTM else {"h_n": state})


def recurrent(inputs, weights, meta):
    """torch.nn's RNN, LSTM and GRU, of any number of layers, in one direction or both."""
    cell = CELLS[meta["cls"]]
    return _run(cell, inputs, weights, (inputs["h0"], inputs["c0"]) if cell is LSTM else inputs["h0"])


def lstm_packed(inputs, weights, meta):
    return _run(LSTM, inputs, weights, None)


def rnn_forms(inputs, weights, meta):
    """One RNN and its head in the four forms; a second RNN decodes, with the same head."""
    x, first, n_features = inputs["x"], inputs["x1"], weights["rnn.weight_ih_l0"].shape[1]
    batch, length = x.shape[:2]
    interface = Interface(features=n_features, outputs=weights["head.bias"].shape[0])
    width = weights["rnn.weight_hh_l0"].shape[1]
    head = {"head.kernel": weights["head.weight"].T, "head.bias": weights["head.bias"]}

    def weights_at(place, name):
        return {f"{place}.{key}": value for key, value in _stack_weights(RNN, weights, f"{name}.").items()}

    model = with_weights(
        lambda: RecurrentModel(RNN, RecurrentConfig(width, 1), interface=interface, rngs=nnx.Rngs(0)),
        head | weights_at("stack", "rnn"),
    )
    pair = with_weights(
        lambda: Seq2Seq(RNN, RecurrentConfig(width, 1), interface=interface, rngs=nnx.Rngs(0)),
        head | weights_at("encoder", "rnn") | weights_at("stack", "dec"),
    )
    empty = model.init_state(batch, length)
    return {
        "n_to_n": model(x)[0],
        "n_to_1": forms.n_to_1(model, x),
        "one_to_n_zeros": forms.impulse_response(model, empty, first, length)[0],
        "one_to_n_feedback": forms.free_run(model, empty, first, length)[0],
        "n_to_m_teacher": pair.teach(x, inputs["y_teacher"]),
        "n_to_m_free": forms.free_run(pair, pair.encode(x), jnp.zeros((batch, n_features), x.dtype), meta["M"])[0],
    }


def seq2seq_lstm(inputs, weights, meta):
    model = with_weights(
        lambda: Seq2Seq(
            LSTM,
            RecurrentConfig(meta["hidden"], meta["layers"], d_embed=meta["embed"]),
            interface=Interface(meta["vocab"]),
            rngs=nnx.Rngs(0),
        ),
        {
            "source_embedding": weights["src_embed.weight"],
            "embedding": weights["tgt_embed.weight"],
            "head.kernel": weights["head.weight"].T,
            "head.bias": weights["head.bias"],
        }
        | {f"encoder.{key}": value for key, value in _stack_weights(LSTM, weights, "encoder.").items()}
        | {f"stack.{key}": value for key, value in _stack_weights(LSTM, weights, "decoder.").items()},
    )
    source, targets = inputs["src"], inputs["tgt_in"]
    logits = model.teach(source, targets)
    log_p = jnp.take_along_axis(jax.nn.log_softmax(logits), inputs["tgt_out"][..., None], axis=-1)
    outputs, (h, c) = model.encoder(model.embed_source(source))
    bos = jnp.ones_like(targets[:, 0])
    made, _ = forms.greedy(model, model.encode(source), bos, targets.shape[1])
    return {
        "logits": logits,
        "ce_loss": -log_p.mean(),
        "enc_out": outputs,
        "enc_h": h,
        "enc_c": c,
        "greedy_from_bos1": made,
    }


ADAPTERS = {
    "rnn_1layer": {"": recurrent},
    "rnn_2layer": {"": recurrent},
    "rnn_forms": {"": rnn_forms},
    "lstm_1layer": {"": recurrent},
    "lstm_1layer_bidir": {"": recurrent},
    "lstm_2layer": {"": recurrent},
    "lstm_packed": {"": lstm_packed},
    "gru_1layer": {"": recurrent},
    "gru_2layer": {"": recurrent},
    "seq2seq_lstm": {"": seq2seq_lstm},
}
