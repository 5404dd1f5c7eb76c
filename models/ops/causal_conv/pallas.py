"""The causal convolution as Pallas kernels for CUDA (Triton). The equation and its adjoint are in equation.py.

A program has a chunk of C tokens of one sequence and a block of channels, and goes through the tokens one by one. The
K-1 inputs before a token stay in registers, so that x is read once. Forward it writes y alone. The gradient keeps only
the arguments: its kernel computes the sum a again, and writes a token's dx when the K g that it needs are in registers,
K-1 tokens later. So a program also takes the first K-1 tokens of the chunk behind. Its sums over its own tokens are
shares of dw and dbias. The gradient of the state depends on K-1 tokens alone, and is left to JAX.

The last chunk ends with the sequence, so that it may overlap the one before: both write the same numbers there. Arrays
are read and written in their own precision; the arithmetic is in float32 at least. On a CPU the kernels run
interpreted.

For an H200 and bfloat16 the gradient with the outputs takes 1.7x less time than the form in JAX (25 us, not 41, for
T = 4096 and E = 1536, predicted), the outputs alone as much.

Axes: B batch, T time, C chunk, R run (tokens whose rows are read at once), E channels (a block of them, in a kernel),
K taps.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.experimental import pallas as pl
from jaxtyping import Float

from lengthscale.models.ops.causal_conv.shifted import conv_shifted
from lengthscale.models.ops.instructions import multiply_add, sigmoid
from lengthscale.models.ops.kernel_call import (
    compiled_with,
    over_runs,
    pad_channels,
    power_of_two_within,
    reason_against_kernels,
)
from lengthscale.models.ops.platform import platform

# Channels: two for each thread of a warp, so that a row of bfloat16 is 128 bytes. With them a thread has 64 registers,
# and 102 in the gradient's kernel (in float32 128), and spills none (ptxas, for an H200).
BLOCK = 64
RUN = 8
CHUNKS = 32, 512  # the tokens of a chunk: the fewest, and the most
# Programs, at least, where chunks are not the shortest: 8 warps for each of an H200's 132 cores. With more tokens
# chunks are longer, so that fewer tokens are read twice and the shares of dw are fewer.
PROGRAMS = 1024


def conv_pallas(
    x: Float[Array, "B T E"],
    w: Float[Array, "K E"],
    bias: Float[Array, " E"],
    before: Float[Array, "B K-1 E"],
    *,
    silu: bool,
) -> Float[Array, "B T E"]:
    """The outputs of `models.ops.causal_conv.causal_conv1d` by the kernels. Same arguments.

    Available where `reason_against_pallas` gives no reason against it.
    """
    length, width = x.shape[1:]
    run = min(RUN, length)
    chunk = min(_chunk(x.shape[0] * length * -(-width // BLOCK)), length // run * run)
    dtype = jnp.promote_types(jnp.result_type(x, w, bias, before), jnp.float32)
    inputs = _Inputs(*(pad_channels(array, BLOCK) for array in (x, w, bias[None], before)))
    y = _conv(_Plan(length, chunk, run, w.shape[0], dtype, silu), inputs)  # pyright: ignore[reportGeneralTypeIssues]
    return y[:, :, :width]  # pyright: ignore[reportIndexIssue] of custom_vjp


def reason_against_pallas(args: tuple[Array, ...]) -> str | None:
    """Why `conv_pallas` is not available for these x, w, bias and before, or None."""
    taps = len(args[1])
    if platform() not in ("cuda", "cpu") or taps < 2:
        return f"it is for CUDA and two taps at least, got {platform()} and {taps}"
    return reason_against_kernels()


def _chunk(programs_tokens):
    """The longest chunk with PROGRAMS of them."""
    shortest, longest = CHUNKS
    return max(shortest, min(longest, power_of_two_within(programs_tokens // PROGRAMS)))


class _Inputs(NamedTuple):
    """The arguments, or a program's references to its parts of them; the bias as a row."""

    x: Any
    w: Any
    bias: Any
    before: Any


@dataclass(frozen=True)
class _Plan:
    """How a sequence is cut: `chunk` is a multiple of `run`, and neither is longer than the sequence.

    dtype: the precision of the arithmetic.
    """

    length: int
    chunk: int
    run: int
    taps: int
    dtype: Any
    silu: bool

    @property
    def programs(self) -> int:
        return -(-self.length // self.chunk)

    def own(self) -> tuple[Any, Any, Any]:
        """Where a program's chunk starts, its first token that no other chunk has, and its end."""
        first = pl.program_id(0) * self.chunk
        start = jnp.minimum(first, self.length - self.chunk) if self.length % self.chunk else first
        return start, first, start + self.chunk

    def rows(self, refs, t):
        """The rows (1, E) of token t, or past the end those of the last token."""
        at = pl.ds(jnp.minimum(t, self.length - 1), 1)
        return [ref[at, :] for ref in refs]

    def window(self, inputs, start):
        """The K-1 inputs before a chunk."""
        rows = []
        for j in range(self.taps - 1):
            t = start - (self.taps - 1) + j
            old = inputs.before[pl.ds(jnp.minimum(start + j, self.taps - 2), 1), :].astype(self.dtype)
            rows.append(jnp.where(t < 0, old, inputs.x[pl.ds(jnp.maximum(t, 0), 1), :].astype(self.dtype)))
        return tuple(rows)

    def weights(self, inputs):
        """The taps and the bias as rows."""
        w = [inputs.w[pl.ds(k, 1), :].astype(self.dtype) for k in range(self.taps)]
        return w, inputs.bias[...].astype(self.dtype)

    def over_tokens(self, refs, first, body, carry):
        """body(t, the rows of t, what is carried) for `chunk` tokens."""

        def load(number):
            return [self.rows(refs, first + number * self.run + j) for j in range(self.run)]

        def run(number, loaded, carry):
            for j, rows in enumerate(loaded):
                carry = body(first + number * self.run + j, rows, carry)
            return carry

        return over_runs(self.chunk // self.run, load, run, carry)


def _forward_kernel(plan, inputs, y):
    w, bias = plan.weights(inputs)
    start, _, _ = plan.own()

    def token(t, rows, window):
        window = *window, rows[0].astype(plan.dtype)
        a = _add_products(bias, w, window)
        y[pl.ds(t, 1), :] = (a * sigmoid(a) if plan.silu else a).astype(y.dtype)
        return window[1:]

    plan.over_tokens((inputs.x,), start, token, plan.window(inputs, start))


def _gradient_kernel(plan, inputs, dy, dx, shares):
    """The gradients of a chunk's x, and its shares of those of w and, in the last row, of bias."""
    w, bias = plan.weights(inputs)
    start, first, end = plan.own()

    def add(t, rows, carry):
        window, gs, sums = carry
        x_t, g = (row.astype(plan.dtype) for row in rows)
        window = *window, x_t
        if plan.silu:
            a = _add_products(bias, w, window)
            s = sigmoid(a)
            g = g * multiply_add(a * s, 1 - s, s)
        g = jnp.where(t < plan.length, g, 0)
        own = jnp.where((t >= first) & (t < end), g, 0)
        sums = *(multiply_add(own, x, total) for x, total in zip(window, sums[:-1], strict=True)), sums[-1] + own
        return window[1:], (*gs, g), sums

    def token(t, rows, carry):
        window, gs, sums = add(t, rows, carry)
        dx[pl.ds(t - (plan.taps - 1), 1), :] = _add_products(w[-1] * gs[0], w[-2::-1], gs[1:]).astype(dx.dtype)
        return window, gs[1:], sums

    carry = plan.window(inputs, start), (), (jnp.zeros_like(bias),) * (plan.taps + 1)
    for j in range(plan.taps - 1):
        carry = add(start + j, plan.rows((inputs.x, dy), start + j), carry)
    *_, sums = plan.over_tokens((inputs.x, dy), start + plan.taps - 1, token, carry)
    for k, total in enumerate(sums):
        shares[pl.ds(k, 1), :] = total


def _add_products(total, w, rows):
    """total + sum_k w_k rows_k."""
    for w_k, row in zip(w, rows, strict=True):
        total = multiply_add(w_k, row, total)
    return total


def _run(kernel, plan, args, results) -> Any:
    """The results of a kernel, for the grid (chunks, B, blocks of E): a GPU limits the latter two axes to 65,535."""
    batch, _, width = args[0].x.shape

    def cut(array):
        *outer, rows, _ = array.shape
        place = {0: lambda i, b, e: (0, e), 1: lambda i, b, e: (b, 0, e), 2: lambda i, b, e: (i, b, 0, e)}[len(outer)]
        return pl.BlockSpec((*(None,) * len(outer), rows, BLOCK), place)

    return pl.pallas_call(
        partial(kernel, plan),
        grid=(plan.programs, batch, width // BLOCK),
        in_specs=jax.tree.map(cut, args),
        out_specs=jax.tree.map(cut, results),
        out_shape=results,
        **compiled_with(num_warps=1),
    )(*args)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _conv(plan, inputs):
    y = jax.ShapeDtypeStruct(inputs.x.shape, jnp.result_type(*inputs))
    return _run(_forward_kernel, plan, (inputs,), (y,))[0]


def _conv_bwd(plan, inputs, dy):
    x, w, bias, _ = inputs
    dx = jax.ShapeDtypeStruct(x.shape, x.dtype)
    shares = jax.ShapeDtypeStruct((plan.programs, x.shape[0], plan.taps + 1, x.shape[2]), plan.dtype)
    dx, shares = _run(_gradient_kernel, plan, (inputs, dy), (dx, shares))
    sums = shares.sum((0, 1))
    return (_Inputs(dx, sums[:-1].astype(w.dtype), sums[-1:].astype(bias.dtype), _before_bwd(plan, inputs, dy)),)


def _before_bwd(plan, inputs, dy):
    """The gradient of the state, which only the first K-1 outputs see."""
    x, w, bias, before = (array.astype(plan.dtype) for array in inputs)
    near = slice(min(plan.taps - 1, plan.length))

    def outputs(before):
        return conv_shifted(x[:, near], w, bias[0], before, silu=plan.silu)

    _, pull = jax.vjp(outputs, before)
    return pull(dy[:, near].astype(plan.dtype))[0].astype(inputs.before.dtype)


_conv.defvjp(lambda plan, inputs: (_conv(plan, inputs), inputs), _conv_bwd)
