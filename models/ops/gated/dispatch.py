"""Which form of the RNN's, LSTM's and GRU's recurrences is taken. The equations and the axes are in equation.py.

Methods: "native", a C++ kernel for float32 on a CPU (native.py); "pallas", one kernel a step for CUDA (pallas.py); and
"sequential", a `lax.scan` (scan.py).
"""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from lengthscale.models.ops.availability import check_known, require, uses_native
from lengthscale.models.ops.channels import shift
from lengthscale.models.ops.gated.native import gru_native, lstm_native, rnn_native
from lengthscale.models.ops.gated.pallas import gru_pallas, lstm_pallas, reason_against_pallas, rnn_pallas
from lengthscale.models.ops.gated.scan import UNROLL, gru_scan, lstm_scan, rnn_scan
from lengthscale.models.ops.platform import platform

METHODS = ("sequential", "native", "pallas")
# The kernel packs W first. With this many steps, and tokens in the whole batch, it gains more than that costs.
NATIVE_STEPS, NATIVE_TOKENS = 8, 128
# Every sequence of a batch reads W from a GPU's L2 cache again, which at 5 TB/s (an assumption, not measured) takes
# as long for this many bytes as the launch of the one kernel a step that is saved.
PALLAS_BYTES = 12_000_000


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
    of METHODS, or "auto": native where it is available, with NATIVE_STEPS and NATIVE_TOKENS at least; on CUDA pallas,
    for UNROLL steps at least and PALLAS_BYTES at most, or one sequence; else sequential.
    Raises ValueError for an unknown method, and for one that is not available.
    """
    return _dispatch(method, _Forms(rnn_native, rnn_pallas, rnn_scan), xg, w_h, bias, h0)


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
    return _dispatch(method, _Forms(lstm_native, lstm_pallas, lstm_scan), xg, w_h, bias, h0, c0)


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
    return _dispatch(method, _Forms(gru_native, gru_pallas, gru_scan), xg, w_h, bias, b_n, h0)


class _Forms(NamedTuple):
    """A cell's functions, one a method."""

    native: Callable
    pallas: Callable
    scan: Callable


def _dispatch(method: str, forms: _Forms, xg, w_h, bias, *others):
    """The result of the form that is taken. others: the arguments after the weights."""
    check_known(method, METHODS)
    batch, length, _ = xg.shape
    b = jnp.zeros(xg.shape[-1], xg.dtype) if bias is None else bias
    worthwhile = length >= NATIVE_STEPS and batch * length >= NATIVE_TOKENS
    if uses_native(method, worthwhile, (xg, w_h, b, *others)):
        return forms.native(xg, w_h, b, *others)
    x = xg if bias is None else shift(xg, bias)
    form = forms.pallas if _uses_pallas(method, x, w_h, others) else forms.scan
    return form(x, w_h, *others)


def _uses_pallas(method: str, xg, w_h, others) -> bool:
    reason = reason_against_pallas((xg, w_h, *others))
    if method == "pallas":
        require(method, reason)
        return True
    batch, length, _ = xg.shape
    worthwhile = length >= UNROLL and (batch == 1 or batch * w_h.nbytes <= PALLAS_BYTES)
    return method == "auto" and platform() == "cuda" and worthwhile and reason is None
