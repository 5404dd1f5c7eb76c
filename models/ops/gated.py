"""The recurrences of RNN, LSTM (Hochreiter and Schmidhuber 1997) and GRU (Cho et al. 2014, in cuDNN's form).

    RNN   h = tanh(x_h + W h)
    LSTM  i, f, g, o = split(x_g + W h);  c = sigmoid(f) c + sigmoid(i) tanh(g);  h = sigmoid(o) tanh(c)
    GRU   r, z = sigmoid(x_rz + W_rz h);  n = tanh(x_n + r (W_n h + b_n));        h = (1 - z) n + z h

The input's part x_g = W_x x + b of all steps is one matrix product outside (see models/rnn.py, models/lstm.py and
models/gru.py), so that the scan holds only what is sequential. The adjoints are in models/ops/gated_scan.py.

Methods: "native", a C++ kernel for float32 on a CPU (models/ops/gated_native.py), and "sequential", a `lax.scan`
(models/ops/gated_scan.py).

Axes: B batch, T time, D width, G gates x D: 4 D in an LSTM, 3 D in a GRU.
"""

import jax.numpy as jnp
from jax import Array, lax
from jax.nn import sigmoid
from jaxtyping import Float

from lengthscale.models.ops.availability import check_known, uses_native
from lengthscale.models.ops.channels import shift
from lengthscale.models.ops.gated_native import gru_native, lstm_native, rnn_native
from lengthscale.models.ops.gated_scan import gru_scan, lstm_scan, rnn_scan

METHODS = ("sequential", "native")
# The kernel packs W first. With this many steps, and tokens in the whole batch, it gains more than that costs.
NATIVE_STEPS, NATIVE_TOKENS = 8, 128


def rnn_reference(
    xg: Float[Array, "B T D"], w_h: Float[Array, "D D"], h0: Float[Array, "B D"]
) -> Float[Array, "B T D"]:
    """The RNN's equation, transcribed directly. Same arguments and result as `rnn`."""

    def step(h, x):
        h = jnp.tanh(x + h @ w_h.T)
        return h, h

    return jnp.moveaxis(lax.scan(step, h0, jnp.moveaxis(xg, 1, 0))[1], 0, 1)


def lstm_reference(
    xg: Float[Array, "B T G"], w_h: Float[Array, "G D"], h0: Float[Array, "B D"], c0: Float[Array, "B D"]
) -> tuple[Float[Array, "B T D"], Float[Array, "B D"]]:
    """The LSTM's equation, transcribed directly. Same arguments and results as `lstm`."""

    def step(state, x):
        h, c = state
        i, f, g, o = jnp.split(x + h @ w_h.T, 4, axis=-1)
        c = sigmoid(f) * c + sigmoid(i) * jnp.tanh(g)
        h = sigmoid(o) * jnp.tanh(c)
        return (h, c), h

    (_, c), h = lax.scan(step, (h0, c0), jnp.moveaxis(xg, 1, 0))
    return jnp.moveaxis(h, 0, 1), c


def gru_reference(
    xg: Float[Array, "B T G"], w_h: Float[Array, "G D"], b_n: Float[Array, " D"], h0: Float[Array, "B D"]
) -> Float[Array, "B T D"]:
    """The GRU's equation, transcribed directly. Same arguments and result as `gru`."""

    def step(h, x):
        x_r, x_z, x_n = jnp.split(x, 3, axis=-1)
        h_r, h_z, h_n = jnp.split(h @ w_h.T, 3, axis=-1)
        r, z = sigmoid(x_r + h_r), sigmoid(x_z + h_z)
        n = jnp.tanh(x_n + r * (h_n + b_n))
        h = (1 - z) * n + z * h
        return h, h

    return jnp.moveaxis(lax.scan(step, h0, jnp.moveaxis(xg, 1, 0))[1], 0, 1)


def rnn(
    xg: Float[Array, "B T D"],
    w_h: Float[Array, "D D"],
    h0: Float[Array, "B D"],
    *,
    bias: Float[Array, " D"] | None = None,
    method: str = "auto",
) -> Float[Array, "B T D"]:
    """All hidden states of a tanh RNN.

    xg: the inputs' part of every step, less the bias, W_x x. w_h: the recurrent weights W. h0: the state before the
    first step. bias: b (None: 0, or it is in xg already); the kernel adds it to xg without another pass. method: one
    of METHODS, or "auto": native where it is available, with NATIVE_STEPS and NATIVE_TOKENS at least, else sequential.
    Raises ValueError for an unknown method, and for one that is not available.
    """
    b = jnp.zeros(xg.shape[-1], xg.dtype) if bias is None else bias
    if _is_native(method, xg, w_h, b, h0):
        return rnn_native(xg, w_h, b, h0)
    xg = xg if bias is None else shift(xg, bias)
    return rnn_scan(xg, w_h, h0)


def lstm(
    xg: Float[Array, "B T G"],
    w_h: Float[Array, "G D"],
    h0: Float[Array, "B D"],
    c0: Float[Array, "B D"],
    *,
    bias: Float[Array, " 4*D"] | None = None,
    method: str = "auto",
) -> tuple[Float[Array, "B T D"], Float[Array, "B D"]]:
    """All hidden states and the last cell state of an LSTM. The gates are in the order i, f, g, o, and G = 4 D.

    h0, c0: the hidden and the cell state before the first step. xg, w_h, bias, method: as `rnn`'s. Raises as `rnn`.
    """
    b = jnp.zeros(xg.shape[-1], xg.dtype) if bias is None else bias
    if _is_native(method, xg, w_h, b, h0, c0):
        return lstm_native(xg, w_h, b, h0, c0)
    xg = xg if bias is None else shift(xg, bias)
    return lstm_scan(xg, w_h, h0, c0)


def gru(
    xg: Float[Array, "B T G"],
    w_h: Float[Array, "G D"],
    b_n: Float[Array, " D"],
    h0: Float[Array, "B D"],
    *,
    bias: Float[Array, " 3*D"] | None = None,
    method: str = "auto",
) -> Float[Array, "B T D"]:
    """All hidden states of a GRU. The gates are in the order r, z, n, and G = 3 D.

    b_n: the bias in r * (W_n h + b_n). xg, w_h, h0, bias, method: as `rnn`'s. Raises as `rnn`.
    """
    b = jnp.zeros(xg.shape[-1], xg.dtype) if bias is None else bias
    if _is_native(method, xg, w_h, b, b_n, h0):
        return gru_native(xg, w_h, b, b_n, h0)
    xg = xg if bias is None else shift(xg, bias)
    return gru_scan(xg, w_h, b_n, h0)


def _is_native(method: str, xg, *others) -> bool:
    check_known(method, METHODS)
    batch, length, _ = xg.shape
    return uses_native(method, length >= NATIVE_STEPS and batch * length >= NATIVE_TOKENS, (xg, *others))
