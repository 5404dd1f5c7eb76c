"""The recurrences of RNN, LSTM and GRU by C++ kernels on a CPU (models/ops/native/gated.cc). Axes: models/ops/gated.py.

Sequences stay rows, (B, T, D), as the layers pass them. The adjoints, and what is kept for them, are those of
models/ops/gated_scan.py.
"""

# jax.custom_vjp's types lose what a function takes and returns:
# pyright: reportArgumentType=false, reportCallIssue=false, reportGeneralTypeIssues=false, reportIndexIssue=false

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float

from lengthscale.models.ops import native
from lengthscale.models.ops.channels import sum_over_time


def _array(*shape: int):
    return jax.ShapeDtypeStruct(shape, jnp.float32)


def _weight_gradient(dg, h, h0):
    """sum_t dg_t h_{t-1}^T, as the transpose of a product of two matrices.

    Like models.layers.project: with the axes as they are, XLA copies dg, transposed, for this product and W_x's alike.
    """
    before = jnp.concatenate([h0[:, None], h[:, :-1]], axis=1)
    return lax.optimization_barrier(before.reshape(-1, h.shape[-1]).T @ dg.reshape(-1, dg.shape[-1])).T


@jax.custom_vjp
def rnn_native(
    xg: Float[Array, "B T D"],
    w_h: Float[Array, "D D"],
    bias: Float[Array, " D"],
    h0: Float[Array, "B D"],
) -> Float[Array, "B T D"]:
    """`models.ops.gated.rnn` by the kernel. Same arguments, with the bias, all in float32."""
    return native.call("rnn_forward", (native.like(xg),), xg, w_h, bias, h0, in_place={0: 0})[0]


def _rnn_fwd(xg, w_h, bias, h0):
    h = rnn_native(xg, w_h, bias, h0)
    return h, (h, w_h, h0)


def _rnn_bwd(residuals, dh):
    h, w_h, h0 = residuals
    dxg, dh0 = native.call("rnn_backward", (native.like(h), native.like(h0)), h, w_h, dh)
    return dxg, _weight_gradient(dxg, h, h0), sum_over_time(dxg), dh0


rnn_native.defvjp(_rnn_fwd, _rnn_bwd)


@jax.custom_vjp
def lstm_native(
    xg: Float[Array, "B T G"],
    w_h: Float[Array, "G D"],
    bias: Float[Array, " 4*D"],
    h0: Float[Array, "B D"],
    c0: Float[Array, "B D"],
) -> tuple[Float[Array, "B T D"], Float[Array, "B D"]]:
    """`models.ops.gated.lstm` by the kernel. Same arguments, with the bias, all in float32."""
    h, c, _, _ = _lstm_forward(xg, w_h, bias, h0, c0, kept=0)
    return h, c


def _lstm_forward(xg, w_h, bias, h0, c0, kept: int):
    """All h, the last c, and of `kept` steps (all or none) the gates and cells."""
    (batch, length, gates), width = xg.shape, w_h.shape[1]
    results = _array(batch, length, width), native.like(c0), _array(batch, kept, gates), _array(batch, kept, width)
    in_place = {0: 2} if kept else None
    return tuple(native.call("lstm_forward", results, xg, w_h, bias, h0, c0, in_place=in_place))


def _lstm_fwd(xg, w_h, bias, h0, c0):
    h, c, gates, cells = _lstm_forward(xg, w_h, bias, h0, c0, kept=xg.shape[1])
    return (h, c), (h, gates, cells, w_h, h0, c0)


def _lstm_bwd(residuals, cotangents):
    h, gates, cells, w_h, h0, c0 = residuals
    results = native.like(gates), native.like(h0), native.like(c0)
    dxg, dh0, dc0 = native.call("lstm_backward", results, gates, w_h, cells, c0, *cotangents, in_place={0: 0})
    return dxg, _weight_gradient(dxg, h, h0), sum_over_time(dxg), dh0, dc0


lstm_native.defvjp(_lstm_fwd, _lstm_bwd)


@jax.custom_vjp
def gru_native(
    xg: Float[Array, "B T G"],
    w_h: Float[Array, "G D"],
    bias: Float[Array, " 3*D"],
    b_n: Float[Array, " D"],
    h0: Float[Array, "B D"],
) -> Float[Array, "B T D"]:
    """`models.ops.gated.gru` by the kernel. Same arguments, with the bias, all in float32."""
    return _gru_forward(xg, w_h, bias, b_n, h0, kept=0)[0]


def _gru_forward(xg, w_h, bias, b_n, h0, kept: int):
    """All h, and of `kept` steps (all or none) the gates and the inner sum."""
    (batch, length, _), width = xg.shape, w_h.shape[1]
    results = _array(batch, length, width), _array(batch, kept, 4 * width)
    return tuple(native.call("gru_forward", results, xg, w_h, bias, b_n, h0))


def _gru_fwd(xg, w_h, bias, b_n, h0):
    h, kept = _gru_forward(xg, w_h, bias, b_n, h0, kept=xg.shape[1])
    return h, (h, kept, w_h, h0)


def _gru_bwd(residuals, dh):
    h, kept, w_h, h0 = residuals
    gates = _array(*h.shape[:2], w_h.shape[0])
    dxg, dg, dh0 = native.call("gru_backward", (gates, gates, native.like(h0)), h, w_h, kept, h0, dh)
    db_n = sum_over_time(dg[..., -h.shape[-1] :])
    return dxg, _weight_gradient(dg, h, h0), sum_over_time(dxg), db_n, dh0


gru_native.defvjp(_gru_fwd, _gru_bwd)
