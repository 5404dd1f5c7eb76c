"""What RNN, LSTM and GRU compute for single units, from the products with W on, and its adjoint: for pallas.py.

The equations are in equation.py. Arguments and results are tuples of arrays, of which each is a tuple of its rows: the
gates of an input, the one row of a state. All are float32.
"""

from collections.abc import Callable
from dataclasses import dataclass

import jax.numpy as jnp
from jax.nn import sigmoid


@dataclass(frozen=True)
class Cell:
    """A cell's functions, and how many rows they give.

    step: (W h, inputs, states, constants) -> (states, (h, what the gradient needs)); the first state is h.
    adjoint: (dh, dcells, h_t, h_{t-1}, what the gradient needs) -> ((dg, what of dh_{t-1} is not W^T dg, dcells),
    (dx, dg if it differs)).
    """

    step: Callable
    adjoint: Callable
    gates: int
    kept: tuple[int, ...] = ()  # rows of what the gradient needs, besides h
    gradients: int = 1  # 2: dg differs from dx


def _rnn_step(products, inputs, states, constants):
    ((x,),) = inputs
    h = jnp.tanh(x + products[0])
    return ((h,),), ((h,),)


def _rnn_adjoint(dh, dcells, h, before, kept):
    dg = dh * (1 - h * h)
    return ((dg,), (jnp.zeros_like(dh),)), ((dg,),)


def _lstm_step(products, inputs, states, constants):
    (x,), (_, (before,)) = inputs, states
    i, f, g, o = (each + product for each, product in zip(x, products, strict=True))
    i, f, g, o = sigmoid(i), sigmoid(f), jnp.tanh(g), sigmoid(o)
    c = f * before + i * g
    h = o * jnp.tanh(c)
    return ((h,), (c,)), ((h,), (i, f, g, o, before))


def _lstm_adjoint(dh, dcells, h, before, kept):
    ((dc,),), ((i, f, g, o, c_before),) = dcells, kept
    tanh_c = jnp.tanh(f * c_before + i * g)
    dc = dc + dh * o * (1 - tanh_c * tanh_c)
    di, df, do = dc * g * i * (1 - i), dc * c_before * f * (1 - f), dh * tanh_c * o * (1 - o)
    dg = di, df, dc * i * (1 - g * g), do
    return (dg, (jnp.zeros_like(dh),), (dc * f,)), (dg,)


def _gru_step(products, inputs, states, constants):
    ((x_r, x_z, x_n),), ((before,),), (b_n,) = inputs, states, constants
    r, z, m = sigmoid(x_r + products[0]), sigmoid(x_z + products[1]), products[2] + b_n
    n = jnp.tanh(x_n + r * m)
    h = (1 - z) * n + z * before
    return ((h,),), ((h,), (r, z, n, m))


def _gru_adjoint(dh, dcells, h, before, kept):
    ((r, z, n, m),) = kept
    dn = dh * (1 - z) * (1 - n * n)
    dr, dz = dn * m * r * (1 - r), dh * (before - n) * z * (1 - z)
    dg = dr, dz, dn * r
    return (dg, (dh * z,)), ((dr, dz, dn), dg)


RNN = Cell(_rnn_step, _rnn_adjoint, 1)
LSTM = Cell(_lstm_step, _lstm_adjoint, 4, kept=(5,))
GRU = Cell(_gru_step, _gru_adjoint, 3, kept=(4,), gradients=2)
