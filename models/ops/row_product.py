"""The product of one row with a matrix, its norm before and its bias and activation behind it, as one Pallas kernel for
CUDA (Triton): what starts the two halves of a block when one sequence is decoded.

    y = f(W norm(x) + b)          norm(x) = (x - mean x) / sqrt(mean (x - mean x)^2 + epsilon) * scale + shift

or without the means and the shift (RMSNorm). A program has a few rows of W and the norm of its own, so that nothing
waits for another kernel. XLA makes three kernels of one row's LayerNorm, two of its RMSNorm, and another of the
activation. On a CPU it runs interpreted. It has no gradient.

Axes: D inputs, E outputs; of a program R outputs, and pieces of C inputs, since Triton's blocks are powers of two.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.experimental import pallas as pl
from jaxtyping import Float

from lengthscale.models.ops.kernel_call import compiled_with, power_of_two_within, reason_against_kernels, whole

PROGRAMS = 256  # at least, where E suffices: two for each of a GPU's cores
MOST_ROWS = 16
PIECE = 512  # inputs, at most
PRODUCTS = 4_096  # R C of them, at most: 32 a thread
MOST_PIECES = 16
ACTIVATIONS = {jax.nn.gelu: 8, jax.nn.relu: 1, jax.nn.silu: 2}  # that Triton is known to compile, and their FLOPs


class RowNorm(NamedTuple):
    """A norm over D. shift: LayerNorm's; None for an RMSNorm."""

    scale: Float[Array, " D"]
    shift: Float[Array, " D"] | None
    epsilon: float


def row_product_reference(
    x: Float[Array, " D"],
    w: Float[Array, "E D"],
    b: Float[Array, " E"] | None,
    norm: RowNorm,
    activation: Callable[[Array], Array] | None = None,
) -> Float[Array, " E"]:
    """The equation, transcribed directly. Same arguments and result as `row_product`."""
    dtype = x.dtype
    x = x if norm.shift is None else x - x.mean()
    x = x / jnp.sqrt((x * x).mean() + norm.epsilon) * norm.scale
    y = w @ (x if norm.shift is None else x + norm.shift)
    y = y if b is None else y + b
    return (y if activation is None else activation(y)).astype(dtype)


def row_product(
    x: Float[Array, " D"],
    w: Float[Array, "E D"],
    b: Float[Array, " E"] | None,
    norm: RowNorm,
    activation: Callable[[Array], Array] | None = None,
) -> Float[Array, " E"]:
    """The row y, in x's dtype, computed in float32. activation: one of ACTIVATIONS, or None.

    Available where `reason_against_row_product` gives no reason against it.
    """
    outputs, inputs = w.shape
    rows = min(MOST_ROWS, power_of_two_within(max(1, outputs // PROGRAMS)))
    piece = min(PIECE, PRODUCTS // rows, power_of_two_within(inputs))
    plan = _Plan(rows, piece, norm.epsilon, activation)
    given, result = _Given(x, w, b, norm.scale, norm.shift), jax.ShapeDtypeStruct((outputs,), x.dtype)
    return pl.pallas_call(
        partial(_kernel, plan),
        grid=(-(-outputs // rows),),
        in_specs=(jax.tree.map(whole, given),),
        out_specs=whole(result),
        out_shape=result,
        name="row_product",
        metadata={"flops": str(_flops(given, activation))},
        **compiled_with(num_warps=4),
    )(given)


def _flops(given, activation):
    """By the equation, with one norm, for bench/device/flops.py."""
    outputs, inputs = given.w.shape
    of_norm = 4 * inputs + 3 if given.shift is None else 7 * inputs + 4
    each = 2 * inputs + (given.b is not None) + (0 if activation is None else ACTIVATIONS[activation])
    return of_norm + outputs * each


def reason_against_row_product(x: Float[Array, "... D"]) -> str | None:
    """Why `row_product` is not available for these inputs, or None."""
    width = x.shape[-1]
    if x.size != width or x.dtype == jnp.float64:
        return f"it is for one row of at most float32, got {x.shape} of {x.dtype}"
    if width > MOST_PIECES * PIECE:
        return f"it is for at most {MOST_PIECES * PIECE} inputs, got {width}"
    return reason_against_kernels()


class _Given(NamedTuple):
    """The arguments as arrays, or a program's references to them."""

    x: Any
    w: Any
    b: Any
    scale: Any
    shift: Any


class _Plan(NamedTuple):
    """What a program does: so many rows of W, in pieces of so many inputs."""

    rows: int
    piece: int
    epsilon: float
    activation: Callable[[Array], Array] | None


def _kernel(plan, given, y):
    x, w, b, scale, shift = given
    inputs, outputs = x.shape[0], y.shape[0]
    # The last piece may overlap the one before, and the last rows those of another program, which writes the same.
    starts = [min(i * plan.piece, inputs - plan.piece) for i in range(-(-inputs // plan.piece))]
    new = [start + jnp.arange(plan.piece) >= i * plan.piece for i, start in enumerate(starts)]
    row = pl.ds(jnp.minimum(pl.program_id(0) * plan.rows, outputs - plan.rows), plan.rows)

    def pieces(ref):
        return [ref[pl.ds(start, plan.piece)].astype(jnp.float32) for start in starts]

    def over_new(values):
        return [jnp.where(is_new, value, 0) for is_new, value in zip(new, values, strict=True)]

    def mean(values):
        return sum(value.sum() for value in values) / inputs

    values = over_new(pieces(x))
    if shift is not None:
        center = mean(values)
        values = over_new([value - center for value in values])
    factor = jax.lax.rsqrt(mean([value * value for value in values]) + plan.epsilon)
    values = [value * factor * s for value, s in zip(values, pieces(scale), strict=True)]
    if shift is not None:
        values = over_new([value + s for value, s in zip(values, pieces(shift), strict=True)])
    products = jnp.zeros((plan.rows, plan.piece), jnp.float32)
    for start, value in zip(starts, values, strict=True):
        value = value.astype(x.dtype).astype(jnp.float32)  # as the norm rounds it
        products += w[row, pl.ds(start, plan.piece)].astype(jnp.float32) * value[None]
    total = products.sum(1)
    total = total if b is None else total + b[row].astype(jnp.float32)
    y[row] = (total if plan.activation is None else plan.activation(total)).astype(y.dtype)
