"""RNN, LSTM and GRU as one Pallas kernel (Triton) a step, for CUDA. The equations and the axes are in equation.py.

A step waits for the one before, so its time is about that of launching its kernels; this is the form with the fewest.
One kernel does both passes of all three cells. It multiplies a matrix and a vector that the step before has left, and
then applies functions of single units (units.py):

    forward    W h_{t-1}, then the gates, h_t and c_t
    backward   W^T dg_{t+1}, then dh_t, dc_t and dg_t

A program has some units of one sequence: their rows of the matrix, which stays in the GPU's L2 cache, and the whole
vector. The arrays of all steps are whole operands, of which it reads and writes the places of its step, in place; the
step's number goes from kernel to kernel too. So XLA adds nothing but the loop's counter, once for UNROLL steps.

Products and functions are in float32, whatever the arrays are in. States are rounded to the arrays' type at every step,
so that a sequence may be cut anywhere; gradients go from step to step in float32. On a CPU it runs interpreted.

Axes: B, T, D, G: see equation.py. Arrays of all steps are (B, T, R, D), states (B, R, D), the matrix (M, D, R D): R and
M are numbers of rows, such as the gates; U units of a program.
"""

import math
from collections.abc import Iterable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.experimental import pallas as pl
from jaxtyping import Float

from lengthscale.models.ops.availability import by_platform
from lengthscale.models.ops.gated.scan import UNROLL
from lengthscale.models.ops.gated.units import GRU, LSTM, RNN
from lengthscale.models.ops.kernel_call import compiled_with, power_of_two, reason_against_kernels, whole
from lengthscale.models.ops.platform import platform

NAME = "gated_step"
UNITS = 4  # of a program, one for each of its warps; at D = 768 there are 192 programs for a GPU's 100 to 150 cores
LOADED = 512  # bytes of a row that a warp loads at once: 16 for each lane
PADDED_TO = 128  # what widths beyond are padded to a multiple of, narrower ones to a power of two

_DTYPES = ("float32", "bfloat16", "float16")


def rnn_pallas(xg: Float[Array, "B T D"], w_h: Float[Array, "D D"], h0: Float[Array, "B D"]) -> Float[Array, "B T D"]:
    """All hidden states of a tanh RNN, the bias being in xg already."""
    return _padded(RNN, xg, w_h, (), (h0,))[0]


def lstm_pallas(
    xg: Float[Array, "B T G"], w_h: Float[Array, "G D"], h0: Float[Array, "B D"], c0: Float[Array, "B D"]
) -> tuple[Float[Array, "B T D"], Float[Array, "B D"]]:
    """All hidden states and the last cell state of an LSTM, the bias being in xg already."""
    h, (c,) = _padded(LSTM, xg, w_h, (), (h0, c0))
    return h, c


def gru_pallas(
    xg: Float[Array, "B T G"], w_h: Float[Array, "G D"], b_n: Float[Array, " D"], h0: Float[Array, "B D"]
) -> Float[Array, "B T D"]:
    """All hidden states of a GRU, the bias being in xg already (but not b_n)."""
    return _padded(GRU, xg, w_h, (b_n,), (h0,))[0]


def reason_against_pallas(arrays: Iterable[Array | jax.ShapeDtypeStruct]) -> str | None:
    """Why the kernel is not available for these arguments, or None: it is for CUDA, and interpreted on a CPU."""
    dtypes = sorted({array.dtype.name for array in arrays})
    if platform() not in ("cpu", "cuda") or len(dtypes) > 1 or dtypes[0] not in _DTYPES:
        return f"it is for one of {', '.join(_DTYPES)} on CUDA or a CPU, got {', '.join(dtypes)} on {platform()}"
    return reason_against_kernels()


class _Carry(NamedTuple):
    """What goes from step to step: its number, the states, of which the first is multiplied, and all steps' results.

    Inside the kernel all these are references to arrays.
    """

    at: Any
    states: tuple
    results: tuple


class _Given(NamedTuple):
    """What every step reads: the matrix, the arrays of all steps, vectors of one number a unit."""

    matrix: Any
    inputs: tuple
    constants: tuple


def _step_kernel(equations, direction, carry, given, after):
    b, units = pl.program_id(1), pl.ds(pl.program_id(0) * UNITS, UNITS)
    t = carry.at[0]
    factors = _factors(carry.states[0], given.matrix, b, units)  # first, since their addresses do not wait for t
    inputs = [_rows(x, (b, t), units) for x in given.inputs]
    states = [_rows(x, (b,), units) for x in carry.states]
    constants = [x[units].astype(jnp.float32) for x in given.constants]
    states, results = equations(_products(factors), inputs, states, constants)
    after.at[0] = t + direction  # every program writes the same
    for ref, rows in zip(after.states, states, strict=True):
        _write(ref, (b,), units, rows)
    for ref, rows in zip(after.results, results, strict=False):  # without a gradient, the first alone
        _write(ref, (b, t), units, rows)


def _factors(vector, matrix, b, units):
    """Block by block of the columns: the vector's, and those of the units' rows of the matrix.

    The vector's are read once for each unit: in the rows' layout, into which they would be moved with some barriers.
    """
    rows, width, total = matrix.shape
    columns = math.gcd(width, LOADED // matrix.dtype.itemsize)
    return [
        (
            vector[b, jnp.full((UNITS, 1), start // width), start % width + jnp.arange(columns)[None]],
            [matrix[m, units, pl.ds(start, columns)] for m in range(rows)],
        )
        for start in range(0, total, columns)
    ]


def _products(factors):
    """The units' rows times the vector, for each of M."""
    sums = []
    for vector, rows in factors:
        parts = [row.astype(jnp.float32) * vector.astype(jnp.float32) for row in rows]
        sums = [total + part for total, part in zip(sums, parts, strict=True)] if sums else parts
    return [each.sum(1) for each in sums]


def _rows(ref, at, units):
    return [ref[(*at, row, units)].astype(jnp.float32) for row in range(ref.shape[-2])]


def _write(ref, at, units, rows):
    for row, value in enumerate(rows):
        ref[(*at, row, units)] = value.astype(ref.dtype)


def _all_steps(equations, direction, given, states, rows):
    """(states after the last step, results of all steps), from a start at the first step or, backwards, the last.

    rows: those of each array of results.
    """
    batch, length, _, width = given.inputs[0].shape
    results = tuple(jnp.zeros((batch, length, n, width), given.inputs[0].dtype) for n in rows)
    carry = _Carry(jnp.full(1, 0 if direction > 0 else length - 1, jnp.int32), states, results)
    first = 1 + len(states)
    step = pl.pallas_call(
        partial(_step_kernel, equations, direction),
        grid=(width // UNITS, batch),
        in_specs=jax.tree.map(whole, (carry, given)),
        out_specs=(jax.tree.map(whole, carry),),
        out_shape=(jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), carry),),
        input_output_aliases={first + i: first + i for i in range(len(results))},
        name=NAME,
        **compiled_with(num_warps=UNITS),
    )
    unroll = by_platform({"cuda": UNROLL}, 1)
    carry, _ = lax.scan(lambda carry, _: (step(carry, given)[0], None), carry, None, length=length, unroll=unroll)
    return carry.states, carry.results


# The recurrence of a cell: xg is (B, T, G, D), the weights (G, D, D), states (B, 1, D), h (B, T, 1, D).


def _padded(cell, xg, w_h, constants, states):
    """(all h, the last states but h), computed with padded units, which stay at 0 and change no other."""
    batch, length, _ = xg.shape
    width = w_h.shape[1]
    missing = -width % min(PADDED_TO, max(UNITS, power_of_two(width)))

    def pad(x, axes=1):
        return jnp.pad(x, [(0, 0)] * (x.ndim - axes) + [(0, missing)] * axes) if missing else x

    h, last = _recurrence(  # pyright: ignore[reportGeneralTypeIssues] of custom_vjp
        cell,
        pad(xg.reshape(batch, length, cell.gates, width)),
        pad(w_h.reshape(cell.gates, width, width), axes=2),
        tuple(map(pad, constants)),
        tuple(pad(x)[:, None] for x in states),
    )
    return h[:, :, 0, :width], tuple(x[:, 0, :width] for x in last)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _recurrence(cell, xg, w, constants, states):
    states, (h,) = _all_steps(cell.step, 1, _Given(w, (xg,), constants), states, (1,))
    return h, states[1:]


def _recurrence_fwd(cell, xg, w, constants, states):
    last, (h, *kept) = _all_steps(cell.step, 1, _Given(w, (xg,), constants), states, (1, *cell.kept))
    return (h, last[1:]), (h, kept, w, constants, states[0])


def _recurrence_bwd(cell, residuals, cotangents):
    (h, kept, w, constants, h0), (dy, dcells) = residuals, cotangents
    before = jnp.concatenate([h0[:, None], h[:, :-1]], axis=1)
    gates, width = w.shape[:2]
    zeros = jnp.zeros((h0.shape[0], gates, width), jnp.float32)
    dstates = zeros, zeros[:, :1], *(dc.astype(jnp.float32) for dc in dcells)

    def equations(products, inputs, states, _):
        ((dy,), (h,), (before,), *kept), (_, (direct,), *dcells) = inputs, states
        return cell.adjoint(dy + products[0] + direct, dcells, h, before, kept)

    given = _Given(w.transpose(2, 0, 1).reshape(1, width, -1), (dy, h, before, *kept), ())
    (dg_1, direct, *dcells), gradients = _all_steps(equations, -1, given, dstates, (gates,) * cell.gradients)
    dxg, dg = gradients[0], gradients[-1]
    dw = jnp.einsum("btgj,btk->gjk", dg, before[:, :, 0])
    dh0 = direct + jnp.einsum("bgj,gjk->bk", dg_1, w.astype(jnp.float32), precision=lax.Precision.HIGHEST)[:, None]
    dconstants = tuple(dg[:, :, -1].sum((0, 1)) for _ in constants)  # of the GRU's b_n
    return dxg, dw, dconstants, tuple(x.astype(h.dtype) for x in (dh0, *dcells))


_recurrence.defvjp(_recurrence_fwd, _recurrence_bwd)
