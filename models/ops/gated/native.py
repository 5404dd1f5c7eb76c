"""RNN, LSTM and GRU by C++ kernels on a CPU (models/ops/native/gated.cc). The equations and the axes: see equation.py.

Sequences stay rows, (B, T, D), as the layers pass them. The kernels' adjoints give dx and dg of all steps; the
gradients of the weights are products outside.
"""

import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float

from lengthscale.models.ops import native
from lengthscale.models.ops.channels import sum_over_time


def rnn_native(
    xg: Float[Array, "B T D"],
    w_h: Float[Array, "D D"],
    bias: Float[Array, " D"],
    h0: Float[Array, "B D"],
) -> Float[Array, "B T D"]:
    """`models.ops.gated.rnn` by the kernel. Same arguments, with the bias, all in float32."""
    return _rnn(xg, w_h, bias, h0)


def lstm_native(
    xg: Float[Array, "B T G"],
    w_h: Float[Array, "G D"],
    bias: Float[Array, " 4*D"],
    h0: Float[Array, "B D"],
    c0: Float[Array, "B D"],
) -> tuple[Float[Array, "B T D"], Float[Array, "B D"]]:
    """`models.ops.gated.lstm` by the kernel. Same arguments, with the bias, all in float32."""
    return _lstm(xg, w_h, bias, h0, c0)


def gru_native(
    xg: Float[Array, "B T G"],
    w_h: Float[Array, "G D"],
    bias: Float[Array, " 3*D"],
    b_n: Float[Array, " D"],
    h0: Float[Array, "B D"],
) -> Float[Array, "B T D"]:
    """`models.ops.gated.gru` by the kernel. Same arguments, with the bias, all in float32."""
    return _gru(xg, w_h, bias, b_n, h0)


def _weight_gradient(dg, h, h0):
    """sum_t dg_t h_{t-1}^T, as the transpose of a product of two matrices.

    Like models.layers.project: with the axes as they are, XLA copies dg, transposed, for this product and W_x's alike.
    """
    before = jnp.concatenate([h0[:, None], h[:, :-1]], axis=1)
    return lax.optimization_barrier(before.reshape(-1, h.shape[-1]).T @ dg.reshape(-1, dg.shape[-1])).T


def _rnn_forward(xg, w_h, bias, h0, *, keep):
    h = native.call("rnn_forward", native.like(xg), xg, w_h, bias, h0, in_place={0: 0})
    return h, (h, w_h, h0)


def _rnn_backward(kept, dh):
    h, w_h, h0 = kept
    dxg, dh0 = native.call("rnn_backward", native.like((h, h0)), h, w_h, dh)
    return dxg, _weight_gradient(dxg, h, h0), sum_over_time(dxg), dh0


_rnn = native.differentiable(_rnn_forward, _rnn_backward)


def _lstm_forward(xg, w_h, bias, h0, c0, *, keep):
    (batch, length, size), width = xg.shape, w_h.shape[1]
    steps = length if keep else 0  # whose gates and cells are kept
    kept = native.floats(batch, steps, size), native.floats(batch, steps, width)
    results = native.floats(batch, length, width), native.like(c0), *kept
    in_place = {0: 2} if keep else None
    h, c, gates, cells = native.call("lstm_forward", results, xg, w_h, bias, h0, c0, in_place=in_place)
    return (h, c), (h, gates, cells, w_h, h0, c0)


def _lstm_backward(kept, cotangents):
    h, gates, cells, w_h, h0, c0 = kept
    results = native.like((gates, h0, c0))
    dxg, dh0, dc0 = native.call("lstm_backward", results, gates, w_h, cells, c0, cotangents, in_place={0: 0})
    return dxg, _weight_gradient(dxg, h, h0), sum_over_time(dxg), dh0, dc0


_lstm = native.differentiable(_lstm_forward, _lstm_backward)


def _gru_forward(xg, w_h, bias, b_n, h0, *, keep):
    (batch, length, _), width = xg.shape, w_h.shape[1]
    gates_and_m = native.floats(batch, length if keep else 0, 4 * width)
    results = native.floats(batch, length, width), gates_and_m
    h, kept = native.call("gru_forward", results, xg, w_h, bias, b_n, h0)
    return h, (h, kept, w_h, h0)


def _gru_backward(kept, dh):
    h, gates_and_m, w_h, h0 = kept
    gates = native.floats(*h.shape[:2], w_h.shape[0])
    results = gates, gates, native.like(h0)
    dxg, dg, dh0 = native.call("gru_backward", results, h, w_h, gates_and_m, h0, dh)
    db_n = sum_over_time(dg[..., -h.shape[-1] :])
    return dxg, _weight_gradient(dg, h, h0), sum_over_time(dxg), db_n, dh0


_gru = native.differentiable(_gru_forward, _gru_backward)
