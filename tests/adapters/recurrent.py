"""RNN, LSTM, GRU."""

import jax.numpy as jnp

from models.ops.gated import gru, lstm, rnn


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


ADAPTERS = {
    "rnn_1layer": {"": recurrent},
    "rnn_2layer": {"": recurrent},
    "lstm_1layer": {"": recurrent},
    "lstm_2layer": {"": recurrent},
    "gru_1layer": {"": recurrent},
    "gru_2layer": {"": recurrent},
}
