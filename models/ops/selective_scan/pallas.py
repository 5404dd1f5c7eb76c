"""The selective scan as Pallas kernels for GPU (Triton) and TPU (Mosaic), with the gate of a Mamba block or without.

The equations are in equation.py; what one program of a kernel computes is in kernels.py. All chunks of C tokens run at
once, so that one sequence fills a GPU. A chunk's map of its first state to its last is h -> exp(A sum dt) h + end,
where `end` is its last state from a start of zero:

    1. kernel: every chunk's end and sum of dt
    2. kernel: the state before each, one chunk after the other; on a TPU `lax.associative_scan` over the chunks
    3. kernel: every chunk's outputs, from that state

The gradient is the same in reverse, lambda_t = C_t dy_t + exp(dt_{t+1} A) lambda_{t+1} (in the code dh). Its last
kernel recomputes the states from those that the forward pass has kept, one of K tokens. In memory there are only
those, O(T/K N E), and the programs' shares of dB and dC, which are sums over E. (Recomputing the states in the backward
pass is Gu and Dao's: arXiv:2312.00752, section 3.3.2.) On a CPU the kernels run interpreted.

Axes: B batch, T time, I chunks, C chunk, K tokens between kept states, E inner width (a part of it, in a kernel), N
state size.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.experimental import pallas as pl
from jaxtyping import Float

from lengthscale.models.ops.instructions import LOG2_E, has_instructions
from lengthscale.models.ops.kernel_call import compiled_with, power_of_two, power_of_two_within
from lengthscale.models.ops.platform import platform
from lengthscale.models.ops.selective_scan.block import RUN
from lengthscale.models.ops.selective_scan.equation import Gate, Inputs
from lengthscale.models.ops.selective_scan.kernels import (
    KEPT,
    adjoint_kernel,
    between_kernel,
    end_kernel,
    gradient_kernel,
    output_kernel,
)

# The block of E: a GPU's warp, one channel a thread; a TPU's row is of 128.
GPU_BLOCK = 32
TPU_BLOCKS = (512, 256, 128)
BETWEEN_BLOCKS = (128, GPU_BLOCK)  # of the kernel between chunks, where a thread has one state of one channel
CHUNKS = 64, 256  # the tokens of a chunk: the fewest, and the most
# Programs that fill a GPU some times over: 132 processors take 32 warps each, and 8 of the gradient's kernel. With more
# of them chunks are longer, and a program of the gradient's goes through more blocks of E.
PROGRAMS = 8192
GRADIENT_PROGRAMS = 4096
NO_STEP = -1e4  # softplus of it is 0, as is its slope


def scan_pallas(
    x: Inputs, A: Float[Array, "E N"], h0: Float[Array, "B N E"], gate: Gate | None = None, chunk: int | None = None
) -> tuple[Float[Array, "B T E"], Float[Array, "B N E"]]:
    """`models.ops.selective_scan.gated_selective_scan` by the kernels, with the rule "mamba"; without a gate,
    `selective_scan`. Same arguments and results; the outputs are in u's precision.

    chunk: the tokens that one program takes (default: by the size). Raises ValueError for a chunk that is not a power
    of two, of RUN at least.
    """
    if chunk is not None and (chunk < RUN or chunk & (chunk - 1)):
        raise ValueError(f"the chunk of method pallas must be a power of two, of {RUN} at least, got {chunk}")
    (batch, length, width), states, state = x.u.shape, A.shape[1], h0.dtype
    dtype = jnp.promote_types(jnp.result_type(*x, A, h0), jnp.float32)
    block = GPU_BLOCK
    if platform() == "tpu":
        block = next((block for block in TPU_BLOCKS if width % block == 0), TPU_BLOCKS[-1])
    chunk = min(chunk or _chunk(batch * length * -(-width // block)), max(RUN, power_of_two(length)))
    # Zeros are exact everywhere: dt = 0 keeps the state, B = C = 0 and u = 0 add nothing to it and read nothing of it.
    no_step = 0 if gate is None else NO_STEP
    u, dt = _pad(x.u, chunk, block), _pad(x.dt, chunk, block, value=no_step)
    # Every block of E reads all of B and C.
    B, C = (_pad(v.astype(dtype), chunk, max(RUN, power_of_two(states))) for v in x[2:])
    A = _pad(A.T.astype(dtype), B.shape[2], block)
    if gate is not None:
        D, bias = (_pad(v[None].astype(dtype), 1, block) for v in gate[1:])
        gate = Gate(_pad(gate.z, chunk, block), D, bias)  # pyright: ignore[reportArgumentType]: (1, E) in the kernels
    h0 = _pad(h0.astype(dtype), *A.shape)
    y, h = _scan(chunk, block, Inputs(u, dt, B, C), gate, A, h0)  # pyright: ignore[reportGeneralTypeIssues]
    return y[:, :length, :width], h[:, :states, :width].astype(state)


def _chunk(programs_tokens):
    """The longest chunk with PROGRAMS of them."""
    shortest, longest = CHUNKS
    return max(shortest, min(longest, power_of_two_within(programs_tokens // PROGRAMS)))


def _pad(x, *multiples, value=0.0):
    """The last two axes padded to multiples of these."""
    missing = [-n % multiple for n, multiple in zip(x.shape[-2:], multiples, strict=True)]
    widths = [(0, 0)] * (x.ndim - 2) + [(0, m) for m in missing]
    return jnp.pad(x, widths, constant_values=value) if any(missing) else x


# The calls of the kernels: grid (I, B, blocks of E), the chunks first since a GPU limits the other two axes to 65,535.


@dataclass(frozen=True)
class _Cut:
    """An array's shape and precision, and the part of it that one program of the grid gets."""

    shape: tuple[int, ...]
    dtype: Any
    part: pl.BlockSpec


def _like(array, part):
    return _Cut(array.shape, array.dtype, part)


class _Cuts(NamedTuple):
    """How the arrays are cut among programs of some blocks of E: x, the gate, A, and what there is for each chunk."""

    grid: tuple[int, ...]
    x: Any
    gate: Any
    A: _Cut
    state: _Cut  # of a chunk
    row: _Cut  # of a chunk
    kept: _Cut  # the states of a chunk
    share: _Cut  # of dB and dC


def _cuts(x, gate, A, chunk, width):
    (batch, length, channels), n = x.dt.shape, A.shape[0]
    grid = length // chunk, batch, channels // width
    stretch = min(KEPT, chunk)
    wide = pl.BlockSpec((None, chunk, width), lambda i, b, e: (b, i, e))
    narrow = pl.BlockSpec((None, chunk, n), lambda i, b, e: (b, i, 0))
    row = pl.BlockSpec((1, width), lambda i, b, e: (0, e))

    def of_chunk(*shape, **first):
        part = pl.BlockSpec((None, None, shape[0], width), lambda i, b, e: (i, b, 0, e))
        return _Cut((grid[0], batch, *shape), A.dtype, part)

    return _Cuts(
        grid,
        x._make(map(_like, x, (wide, wide, narrow, narrow))),
        None if gate is None else gate._make(map(_like, gate, (wide, row, row))),
        _like(A, pl.BlockSpec((n, width), lambda i, b, e: (0, e))),
        of_chunk(n, channels),
        of_chunk(1, channels),
        _Cut(
            (length // stretch, batch, n, channels),
            A.dtype,
            pl.BlockSpec((chunk // stretch, None, n, width), lambda i, b, e: (i, b, 0, e)),
        ),
        _Cut((grid[2], *x.B.shape), A.dtype, pl.BlockSpec((None, None, chunk, n), lambda i, b, e: (e, b, i, 0))),
    )


def _run(kernel, grid, args, results, num_warps=1):
    """The results of a kernel, cut as the tree `results` says. args: pairs of arrays and their cuts, in trees."""
    arrays, cuts = zip(*args, strict=True)
    return pl.pallas_call(
        kernel,
        grid=grid,
        in_specs=jax.tree.map(lambda cut: cut.part, cuts),
        out_specs=jax.tree.map(lambda cut: cut.part, results),
        out_shape=jax.tree.map(lambda cut: jax.ShapeDtypeStruct(cut.shape, cut.dtype), results),
        **compiled_with(num_warps),
    )(*arrays)


def _between_chunks(totals, A, ends, edge, reverse=False):
    """The value before every chunk, and after the last: x -> exp(A sum dt) x + end over the chunks, from `edge`."""
    if platform() == "tpu":  # whose memory may not have room for a state of all chunks
        return _by_prefixes(totals, A, ends, edge, reverse)
    count, batch, states, width = ends.shape
    block = next(block for block in BETWEEN_BLOCKS if width % block == 0)
    of_state = _like(ends, pl.BlockSpec((count, None, 1, block), lambda n, b, e: (0, b, n, e)))
    total = _like(totals, pl.BlockSpec((count, None, 1, block), lambda n, b, e: (0, b, 0, e)))
    A_cut = _like(A, pl.BlockSpec((1, block), lambda n, b, e: (n, e)))
    edge_cut = _like(edge, pl.BlockSpec((None, 1, block), lambda n, b, e: (b, n, e)))
    args = ((totals, ends), (total, of_state)), (A, A_cut), (edge, edge_cut)
    grid = states, batch, width // block
    return _run(partial(between_kernel, reverse), grid, args, (of_state, edge_cut), block // 32)


def _by_prefixes(totals, A, ends, edge, reverse):
    def compose(first, second):
        return second[0] * first[0], second[0] * first[1] + second[1]

    decays = jnp.exp2(totals * (A * LOG2_E))
    decays, ends = lax.associative_scan(compose, (decays, ends), reverse=reverse)
    leaving = decays * edge + ends
    if reverse:
        return jnp.concatenate([leaving[1:], edge[None]]), leaving[0]
    return jnp.concatenate([edge[None], leaving[:-1]]), leaving[-1]


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _scan(chunk, block, x, gate, A, h0):
    return _forward(chunk, block, (x, gate, A, h0), keep=False)[0]


def _forward(chunk, block, args, keep):
    x, gate, A, h0 = args
    cuts = _cuts(x, gate, A, chunk, block)
    read = _without((x, cuts.x), "C"), _without((gate, cuts.gate), "z", "D"), (A, cuts.A)
    ends, totals = _run(end_kernel, cuts.grid, read, (cuts.state, cuts.row))
    before, last = _between_chunks(totals, A, ends, h0)
    read = (x, cuts.x), (gate, cuts.gate), (A, cuts.A), (before, cuts.state)
    y, kept = _run(output_kernel, cuts.grid, read, (cuts.x.u, cuts.kept if keep else None))
    return (y, last), (x, gate, A, totals, kept)


def _without(pair, *names):
    """Arrays and their cuts without those that a kernel does not read."""
    return tuple(each and each._replace(**dict.fromkeys(names)) for each in pair)


def _scan_fwd(chunk, block, *args):
    return _forward(chunk, block, args, keep=True)


def _scan_bwd(chunk, block, residuals, cotangents):
    (x, gate, A, totals, kept), (dout, dlast) = residuals, cotangents
    cuts = _cuts(x, gate, A, chunk, block)
    read = _without((x, cuts.x), "u", "B"), _without((gate, cuts.gate), "D"), (A, cuts.A), (dout, cuts.x.u)
    firsts = _run(adjoint_kernel, cuts.grid, read, cuts.state)
    after, dh0 = _between_chunks(totals, A, firsts, dlast, reverse=True)
    cuts = _cuts(x, gate, A, chunk, block * _blocks(cuts.grid))
    threads = (jnp.zeros(A.shape, jnp.int8), cuts.A) if has_instructions(A.dtype) else (None, None)
    given = (kept, after, dout, threads[0]), (cuts.kept, cuts.state, cuts.x.u, threads[1])
    read = (x, cuts.x), (gate, cuts.gate), (A, cuts.A), given
    dgate = None if gate is None else cuts.gate._replace(D=cuts.row, delta_bias=cuts.row)
    results = cuts.x._replace(B=cuts.share, C=cuts.share), dgate, cuts.state
    ((dx, dgate, dA),) = _run(partial(gradient_kernel, block), cuts.grid, read, (results,))
    dx = dx._replace(B=dx.B.sum(0), C=dx.C.sum(0))
    if gate is not None:
        dgate = dgate._replace(D=dgate.D.sum((0, 1)), delta_bias=dgate.delta_bias.sum((0, 1)))
    return dx, dgate, dA.sum((0, 1)), dh0


def _blocks(grid):
    """How many blocks of E one program of the gradient takes, each of which saves a share of dB and dC."""
    chunks, batch, blocks = grid
    fitting = [n for n in (8, 4, 2) if blocks % n == 0 and chunks * batch * blocks >= n * GRADIENT_PROGRAMS]
    return fitting[0] if fitting and platform() == "cuda" else 1


_scan.defvjp(_scan_fwd, _scan_bwd)
