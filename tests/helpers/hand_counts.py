"""What each op costs by its equation: counts by hand, by the convention of bench/device/flops.py, for test_cost_*.py.

A count is a sum with one term for each operation of the equation, its comment saying which. Axes: models/ops.
"""

from typing import Any

import jax
import jax.numpy as jnp

from lengthscale.models.ops.gated import gru, lstm, rnn


def zeros(*shapes, dtype=jnp.float32) -> list[Any]:
    return [jax.ShapeDtypeStruct(shape, dtype) for shape in shapes]


def with_gradient(op):
    """The op's outputs and the gradients by all arguments, for cotangents that cost nothing."""

    def run(*args):
        outputs, pull = jax.vjp(op, *args)
        return outputs, pull(jax.tree.map(jnp.ones_like, outputs))

    return run


# RNN, LSTM, GRU: what a token costs for each channel beside its products with W_h, which are 2 gates D.

RNN = (
    1  # x_h + W h
    + 1  # tanh
)
LSTM = (
    4  # x_g + W h, of four gates
    + 4  # their sigmoids and tanh
    + 3  # f c + i g
    + 2  # o tanh(c)
)
GRU = (
    2  # x_rz + W_rz h
    + 2  # their sigmoids
    + 3  # x_n + r (W_n h + b_n)
    + 1  # tanh
    + 4  # (1 - z) n + z h
)
RNN_BACKWARD = (
    1  # dh = what comes from the output + what comes from the next step
    + 3  # dh (1 - h^2)
)
LSTM_BACKWARD = (
    1  # dh, a sum of two
    + 1  # tanh(c), not kept
    + 5  # dc + dh o (1 - tanh(c)^2)
    + 4  # di = dc g i (1 - i)
    + 4  # df = dc c_before f (1 - f)
    + 4  # dg = dc i (1 - g^2)
    + 4  # do = dh tanh(c) o (1 - o)
    + 1  # dc f, for the step before
)
GRU_BACKWARD = (
    1  # dh, a sum of two
    + 5  # dn = dh (1 - z) (1 - n^2)
    + 4  # dr = dn (W_n h + b_n) r (1 - r)
    + 5  # dz = dh (h_before - n) z (1 - z)
    + 1  # of W_n h: dn r
    + 2  # dh z + W^T dg, for the step before
)
CELLS = {
    "rnn": (rnn, 1, RNN, RNN_BACKWARD),
    "lstm": (lstm, 4, LSTM, LSTM_BACKWARD),
    "gru": (gru, 3, GRU, GRU_BACKWARD),
}


RECURRENCE = 2  # a h + b

# The selective scan: of each token, what each of E N states costs, and each of E channels.

SCAN_STATE = (
    2  # exp(dt A)
    + 3  # exp(dt A) h + (dt u) B
    + 2  # C . h
)
SCAN_CHANNEL = 1  # dt u
SCAN_STATE_BACKWARD = (
    5  # the states again
    + 2  # dC = h . dy
    + 2  # dh + C dy
    + 2  # dB = dh . (dt u)
    + 2  # d(dt u) = B . dh
    + 1  # dh exp(dt A), for the step before
    + 1  # dl = that times h_before
    + 2  # ddt = A . dl
    + 2  # dA += dt dl
)
SCAN_CHANNEL_BACKWARD = (
    1  # dt u, again
    + 1  # du = dt d(dt u)
    + 2  # ddt + u d(dt u)
)


# Attention: of each pair of a query and a key that it sees, beside its products of K numbers.

SCORE = 3 + 1  # of each pair: its maximum with the others, exp(s - m); its share of the sum

CAUSAL, WINDOWED, WHOLE = {}, {"window": 12}, {"causal": False}


def seen(length, window=None, causal=True):
    """The pairs (query, key) that the mask allows, one by one."""
    return [
        (t, s)
        for t in range(length)
        for s in range(length)
        if (not causal or s <= t) and (window is None or s > t - window)
    ]


# The causal convolution.

CONV_TAP = 2  # w x, added to the bias or the sum
SILU = 2  # a sigmoid(a)
