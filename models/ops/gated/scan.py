"""RNN, LSTM and GRU as one `lax.scan` each, with the adjoint by hand. The equations and the axes are in equation.py.

A step's state is a column, (D, B), for `W @ h` reads W along its rows: 1.8x faster than `h @ W` at batch 8 on CPU. A
batch of one becomes a vector. The backward scan computes dg alone, and dW is one matrix product of them all; autodiff
would add a whole dW at every step.

On CUDA a step is a few kernels, each about as long as its launch. Of them only the product and the gates are the
step's own: the loop's counter and the writing of outputs are shared by UNROLL steps (2.25 kernels a step, not 4; with
the gradient 4.9, not 10), and XLA can launch a body of several kernels as one CUDA graph.
"""

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.nn import sigmoid
from jaxtyping import Float

from lengthscale.models.ops.availability import by_platform

UNROLL = 8  # on CUDA; with 16 there are 6% fewer kernels to launch, and twice as many to compile


def rnn_scan(xg: Float[Array, "B T D"], w_h: Float[Array, "D D"], h0: Float[Array, "B D"]) -> Float[Array, "B T D"]:
    """All hidden states of a tanh RNN, the bias being in xg already."""
    return _from_columns(_rnn(_to_columns(xg), w_h, _column(h0)))


def lstm_scan(
    xg: Float[Array, "B T G"], w_h: Float[Array, "G D"], h0: Float[Array, "B D"], c0: Float[Array, "B D"]
) -> tuple[Float[Array, "B T D"], Float[Array, "B D"]]:
    """All hidden states and the last cell state of an LSTM, the bias being in xg already."""
    h, c = _lstm(_to_columns(xg), w_h, _column(h0), _column(c0))
    return _from_columns(h), _from_column(c)


def gru_scan(
    xg: Float[Array, "B T G"], w_h: Float[Array, "G D"], b_n: Float[Array, " D"], h0: Float[Array, "B D"]
) -> Float[Array, "B T D"]:
    """All hidden states of a GRU, the bias being in xg already (but not b_n)."""
    b_n = b_n if h0.shape[0] == 1 else b_n[:, None]
    return _from_columns(_gru(_to_columns(xg), w_h, b_n, _column(h0)))


def _scan(step, init, xs, reverse=False):
    return lax.scan(step, init, xs, reverse=reverse, unroll=by_platform({"cuda": UNROLL}, 1))


def _to_columns(x):  # (B, T, D) -> (T, D) for a batch of one, else (T, D, B)
    return x[0] if x.shape[0] == 1 else x.transpose(1, 2, 0)


def _from_columns(x):
    return x[None] if x.ndim == 2 else x.transpose(2, 0, 1)


def _column(x):  # (B, D) -> (D,) for a batch of one, else (D, B)
    return x[0] if x.shape[0] == 1 else x.T


def _from_column(x):
    return x[None] if x.ndim == 1 else x.T


def _weight_gradient(dg, h_before):
    """sum_t dg_t h_{t-1}^T as one matrix product."""
    axes = ((0,), (0,)) if dg.ndim == 2 else ((0, 2), (0, 2))
    return lax.dot_general(dg, h_before, (axes, ((), ())))


def _before(first, x):
    """x_{t-1} for every t."""
    return jnp.concatenate([first[None], x[:-1]])


@jax.custom_vjp
def _rnn(xg, w_h, h0):
    def step(h, x):
        h = jnp.tanh(x + w_h @ h)
        return h, h

    return _scan(step, h0, xg)[1]


def _rnn_fwd(xg, w_h, h0):
    h = _rnn(xg, w_h, h0)
    return h, (h, w_h, h0)


def _rnn_bwd(residuals, dh_out):
    h, w_h, h0 = residuals
    w_t = w_h.T

    def step(dh, x):
        dh_t, h_t = x
        dg = (dh + dh_t) * (1 - h_t * h_t)
        return w_t @ dg, dg

    dh0, dg = _scan(step, jnp.zeros_like(h0), (dh_out, h), reverse=True)
    return dg, _weight_gradient(dg, _before(h0, h)), dh0


_rnn.defvjp(_rnn_fwd, _rnn_bwd)


@jax.custom_vjp
def _lstm(xg, w_h, h0, c0):
    (h, c), _ = _lstm_scan(xg, w_h, h0, c0, keep=False)
    return h, c


def _lstm_scan(xg, w_h, h0, c0, keep: bool):
    """(all h, last c), and with `keep` the gates and cells that the gradient needs."""

    def step(state, x):
        h, c = state
        i, f, g, o = jnp.split(x + w_h @ h, 4)
        i, f, g, o = sigmoid(i), sigmoid(f), jnp.tanh(g), sigmoid(o)
        c = f * c + i * g
        h = o * jnp.tanh(c)
        return (h, c), (h, (jnp.concatenate([i, f, g, o]), c) if keep else None)

    (_, c), (h, kept) = _scan(step, (h0, c0), xg)
    return (h, c), kept


def _lstm_fwd(xg, w_h, h0, c0):
    (h, c_last), (gates, c) = _lstm_scan(xg, w_h, h0, c0, keep=True)  # pyright: ignore[reportGeneralTypeIssues]
    return (h, c_last), (h, gates, c, w_h, h0, c0)


def _lstm_bwd(residuals, cotangents):
    dh_out, dc_last = cotangents
    h, gates, c, w_h, h0, c0 = residuals
    w_t = w_h.T

    def step(carry, x):
        dh, dc = carry
        dh_t, gates, c, c_before = x
        i, f, g, o = jnp.split(gates, 4)
        tanh_c = jnp.tanh(c)
        dh = dh + dh_t
        dc = dc + dh * o * (1 - tanh_c * tanh_c)
        di, df, do = dc * g * i * (1 - i), dc * c_before * f * (1 - f), dh * tanh_c * o * (1 - o)
        dg = jnp.concatenate([di, df, dc * i * (1 - g * g), do])
        return (w_t @ dg, dc * f), dg

    (dh0, dc0), dg = _scan(step, (jnp.zeros_like(h0), dc_last), (dh_out, gates, c, _before(c0, c)), reverse=True)
    return dg, _weight_gradient(dg, _before(h0, h)), dh0, dc0


_lstm.defvjp(_lstm_fwd, _lstm_bwd)


@jax.custom_vjp
def _gru(xg, w_h, b_n, h0):
    return _gru_scan(xg, w_h, b_n, h0, keep=False)[0]


def _gru_scan(xg, w_h, b_n, h0, keep: bool):
    """All h, and with `keep` the gates and m = W_n h + b_n that the gradient needs."""

    def step(h, x):
        x_r, x_z, x_n = jnp.split(x, 3)
        h_r, h_z, h_n = jnp.split(w_h @ h, 3)
        r, z = sigmoid(x_r + h_r), sigmoid(x_z + h_z)
        m = h_n + b_n
        n = jnp.tanh(x_n + r * m)
        h = (1 - z) * n + z * h
        return h, (h, jnp.concatenate([r, z, n, m]) if keep else None)

    return _scan(step, h0, xg)[1]


def _gru_fwd(xg, w_h, b_n, h0):
    h, kept = _gru_scan(xg, w_h, b_n, h0, keep=True)
    return h, (h, kept, w_h, b_n, h0)


def _gru_bwd(residuals, dh_out):
    h, kept, w_h, b_n, h0 = residuals
    w_t = w_h.T
    h_before = _before(h0, h)

    def step(dh, x):
        dh_t, kept, h = x
        r, z, n, m = jnp.split(kept, 4)
        dh = dh + dh_t
        dn = dh * (1 - z) * (1 - n * n)
        dr, dz = dn * m * r * (1 - r), dh * (h - n) * z * (1 - z)
        dg = jnp.concatenate([dr, dz, dn * r])  # gradient of W h; x_g's differs in n alone
        return dh * z + w_t @ dg, (dg, dn)

    dh0, (dg, dn) = _scan(step, jnp.zeros_like(h0), (dh_out, kept, h_before), reverse=True)
    split = 2 * h0.shape[0]
    dxg = jnp.concatenate([dg[:, :split], dn], axis=1)
    db_n = dg[:, split:].sum(0) if b_n.ndim == 1 and h0.ndim == 1 else dg[:, split:].sum((0, 2))[:, None]
    return dxg, _weight_gradient(dg, h_before), db_n, dh0


_gru.defvjp(_gru_fwd, _gru_bwd)
