"""The selective scan as Pallas kernels for GPU (Triton) and TPU (Mosaic). The equations are in equation.py.

All chunks of C tokens run at once, so that one sequence fills a GPU. A chunk's map of its first state to its last is
h -> exp(A sum dt) h + end, where `end` is its last state from a start of zero:

    1. kernel: every chunk's end
    2. `lax.associative_scan` over the chunks: the state before each
    3. kernel: every chunk's outputs, from that state

The gradient is the same in reverse, lambda_t = C_t dy_t + exp(dt_{t+1} A) lambda_{t+1} (in the code dh). Its last
kernel recomputes the chunk's states: those between runs of R tokens, kept in registers, then those of each run. In
memory there are only the states between chunks, O(T/C N E), and each block's part of dB and dC. (Recomputing the states
in the backward pass is Gu and Dao's: arXiv:2312.00752, section 3.3.2.)

One program of a kernel takes a chunk of one sequence and a block of E. Its rows are (1, E) and its states (N, E): only
row loads and stores, products, selections and sums, which both compilers know. On a CPU it runs interpreted.

Axes: B batch, T time, I chunks, C chunk, R run, E inner width (a block of it, in a kernel), N state size.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.experimental import pallas as pl
from jaxtyping import Float

from lengthscale.models.ops.platform import platform
from lengthscale.models.ops.selective_scan.equation import Inputs

CHUNK = 64  # tokens between kept states
RUN = 8  # tokens whose states the backward kernel holds at once; and the rows of a TPU's register
# The block of E. A GPU's program is one warp, which sums over N and E without waiting for another: with 16 the
# backward kernel spills 108 bytes a thread, with 32 870 (ptxas, for an H100). A TPU's row is of 128.
GPU_BLOCK = 16
TPU_BLOCKS = (512, 256, 128)


def scan_pallas(
    x: Inputs, A: Float[Array, "E N"], h0: Float[Array, "B N E"], chunk: int = CHUNK
) -> tuple[Float[Array, "B T E"], Float[Array, "B N E"]]:
    """`models.ops.selective_scan.selective_scan` by the kernels, with the rule "mamba". Same arguments and results.

    chunk: tokens between kept states. Raises ValueError for a chunk that is not a power of two, of RUN at least.
    """
    if chunk < RUN or chunk & (chunk - 1):
        raise ValueError(f"the chunk of method pallas must be a power of two, of {RUN} at least, got {chunk}")
    dtype = jnp.result_type(*x, A, h0)
    (u, dt, B, C), A, h0 = jax.tree.map(lambda v: v.astype(dtype), (x, A, h0))
    length, width, states = u.shape[1], u.shape[2], A.shape[1]
    chunk = min(chunk, max(RUN, _power_of_two(length)))
    block = GPU_BLOCK
    if platform() == "tpu":
        block = next((block for block in TPU_BLOCKS if width % block == 0), TPU_BLOCKS[-1])
    # Zeros are exact everywhere: dt = 0 keeps the state, B = C = 0 and u = 0 add nothing to it and read nothing of it.
    u, dt = (_pad(v, chunk, block) for v in (u, dt))
    B, C = (_pad(v, chunk, max(RUN, _power_of_two(states))) for v in (B, C))
    A = _pad(A.T, B.shape[2], block)
    x, h0 = Inputs(u, dt, B, C), _pad(h0, *A.shape)
    y, h = _scan(chunk, block, x, A, h0)  # pyright: ignore[reportGeneralTypeIssues] of custom_vjp
    return y[:, :length, :width], h[:, :states, :width]


def _power_of_two(n):
    return 1 << (n - 1).bit_length()


def _pad(x, *multiples):
    """The last two axes padded to multiples of these."""
    missing = [-n % multiple for n, multiple in zip(x.shape[-2:], multiples, strict=True)]
    return jnp.pad(x, [(0, 0)] * (x.ndim - 2) + [(0, m) for m in missing]) if any(missing) else x


# Inside the kernels. x and A are what one program gets of the arrays; t is a token's number in the chunk.


def _row(ref, t):
    return ref[pl.ds(t, 1), :]


def _column(ref, t):
    """(1, N) as (N, 1)."""
    return _row(ref, t).T


def _decay(A, dt, t):
    return jnp.exp(_row(dt, t) * A)


def _next_state(h, A, x, t):
    return _decay(A, x.dt, t) * h + _column(x.B, t) * (_row(x.dt, t) * _row(x.u, t))


def _end_kernel(u, dt, A, B, end):
    A, x = A[...], Inputs(u, dt, B, None)  # pyright: ignore[reportArgumentType]: C is not needed
    end[...] = lax.fori_loop(0, dt.shape[0], lambda t, h: _next_state(h, A, x, t), jnp.zeros_like(A))


def _output_kernel(x, A, before, y):
    A = A[...]

    def step(t, h):
        h = _next_state(h, A, x, t)
        y[pl.ds(t, 1), :] = (h * _column(x.C, t)).sum(0, keepdims=True)
        return h

    lax.fori_loop(0, x.dt.shape[0], step, before[...])


def _adjoint_kernel(dt, A, C, dy, first):
    """The gradient of the state before the chunk, if nothing came after it."""
    A = A[...]

    def step(i, dh):
        t = dt.shape[0] - 1 - i
        return _decay(A, dt, t) * (dh + _column(C, t) * _row(dy, t))

    first[...] = lax.fori_loop(0, dt.shape[0], step, jnp.zeros_like(A))


def _gradient_kernel(x, A, edges, dy, dx, dA_chunk):
    """edges: the state before the chunk, and the gradient of the state after it. dx, dA_chunk: the results."""
    A = A[...]
    before, after = edges
    runs = x.dt.shape[0] // RUN
    number = lax.broadcasted_iota(jnp.int32, (runs, 1, 1), 0)

    def forward_run(run, h_and_borders):
        h, borders = h_and_borders
        borders = jnp.where(number == run, h[None], borders)
        for j in range(RUN):
            h = _next_state(h, A, x, run * RUN + j)
        return h, borders

    _, borders = lax.fori_loop(0, runs, forward_run, (before[...], jnp.zeros((runs, *A.shape), A.dtype)))

    def backward_run(i, dh_and_dA):
        dh, dA = dh_and_dA
        run = runs - 1 - i
        h = [jnp.where(number == run, borders, 0).sum(0)]
        for j in range(RUN):
            h.append(_next_state(h[j], A, x, run * RUN + j))
        for j in reversed(range(RUN)):
            t = run * RUN + j
            dt_t, u_t, dy_t = _row(x.dt, t), _row(x.u, t), _row(dy, t)
            dh = dh + _column(x.C, t) * dy_t
            dx.C[pl.ds(t, 1), :] = (h[j + 1] * dy_t).sum(1, keepdims=True).T
            dx.B[pl.ds(t, 1), :] = (dh * (dt_t * u_t)).sum(1, keepdims=True).T
            dh_B = (dh * _column(x.B, t)).sum(0, keepdims=True)
            dh = _decay(A, x.dt, t) * dh
            dl = dh * h[j]  # of l = dt A
            dx.u[pl.ds(t, 1), :] = dt_t * dh_B
            dx.dt[pl.ds(t, 1), :] = u_t * dh_B + (dl * A).sum(0, keepdims=True)
            dA = dA + dl * dt_t
        return dh, dA

    _, dA_chunk[...] = lax.fori_loop(0, runs, backward_run, (after[...], jnp.zeros_like(A)))


# The calls of the kernels: grid (I, B, blocks of E), the chunks first since a GPU limits the other two axes to 65,535.


@dataclass(frozen=True)
class _Cut:
    """An array's shape, and the part of it that one program of the grid gets."""

    shape: tuple[int, ...]
    part: pl.BlockSpec


class _Cuts(NamedTuple):
    """How the arrays are cut: x, its gradient dx, A, and what there is for each chunk, of the shape of its state."""

    grid: tuple[int, ...]
    x: Inputs
    dx: Inputs
    A: _Cut
    state: _Cut


def _cuts(x, A, chunk, block):
    (batch, length, width), n = x.dt.shape, A.shape[0]
    grid = length // chunk, batch, width // block
    wide = _Cut(x.dt.shape, pl.BlockSpec((None, chunk, block), lambda i, b, e: (b, i, e)))
    narrow = _Cut(x.B.shape, pl.BlockSpec((None, chunk, n), lambda i, b, e: (b, i, 0)))
    # dB and dC are sums over E: each block of E gives its share.
    share = _Cut((grid[2], *x.B.shape), pl.BlockSpec((None, None, chunk, n), lambda i, b, e: (e, b, i, 0)))
    matrix = _Cut(A.shape, pl.BlockSpec((n, block), lambda i, b, e: (0, e)))
    state = _Cut((grid[0], batch, n, width), pl.BlockSpec((None, None, n, block), lambda i, b, e: (i, b, 0, e)))
    x, dx = (Inputs(wide, wide, each, each) for each in (narrow, share))  # pyright: ignore[reportArgumentType]
    return _Cuts(grid, x, dx, matrix, state)


def _run(kernel, grid, args, results):
    """The results of a kernel, cut as the tree `results` says. args: pairs of arrays and their cuts, in trees."""
    arrays, cuts = zip(*args, strict=True)
    dtype = jax.tree.leaves(arrays)[0].dtype
    return pl.pallas_call(
        kernel,
        grid=grid,
        in_specs=jax.tree.map(lambda cut: cut.part, cuts),
        out_specs=jax.tree.map(lambda cut: cut.part, results),
        out_shape=jax.tree.map(lambda cut: jax.ShapeDtypeStruct(cut.shape, dtype), results),
        interpret=platform() == "cpu",
        compiler_params=_compiler_params(),
    )(*arrays)


def _compiler_params() -> Any:
    if platform() == "tpu":
        from jax.experimental.pallas import tpu

        return tpu.CompilerParams(dimension_semantics=("parallel",) * 3)
    if platform() == "cpu":
        return None
    from jax.experimental.pallas import triton  # here, since not every jaxlib has it

    return triton.CompilerParams(num_warps=1, num_stages=1)


def _chunk_decays(chunk, dt, A):
    """exp(A sum dt) of every chunk, (I, B, N, E)."""
    batch, length, width = dt.shape
    sums = dt.reshape(batch, length // chunk, chunk, width).sum(2)
    return jnp.exp(sums.swapaxes(0, 1)[:, :, None] * A)


def _between_chunks(decays, ends, edge, reverse=False):
    """The value before every chunk, and after the last: x -> decay x + end over the chunks, starting from `edge`."""

    def compose(first, second):
        return second[0] * first[0], second[0] * first[1] + second[1]

    decays, ends = lax.associative_scan(compose, (decays, ends), reverse=reverse)
    leaving = decays * edge + ends
    if reverse:
        return jnp.concatenate([leaving[1:], edge[None]]), leaving[0]
    return jnp.concatenate([edge[None], leaving[:-1]]), leaving[-1]


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _scan(chunk, block, x, A, h0):
    return _scan_fwd(chunk, block, x, A, h0)[0]


def _scan_fwd(chunk, block, x, A, h0):
    cuts = _cuts(x, A, chunk, block)
    u, dt, B, _ = zip(x, cuts.x, strict=True)
    ends = _run(_end_kernel, cuts.grid, (u, dt, (A, cuts.A), B), cuts.state)
    before, last = _between_chunks(_chunk_decays(chunk, x.dt, A), ends, h0)
    y = _run(_output_kernel, cuts.grid, ((x, cuts.x), (A, cuts.A), (before, cuts.state)), cuts.x.u)
    return (y, last), (x, A, before)


def _scan_bwd(chunk, block, kept, cotangents):
    (x, A, before), (dy, dlast) = kept, cotangents
    cuts = _cuts(x, A, chunk, block)
    _, dt, _, C = zip(x, cuts.x, strict=True)
    firsts = _run(_adjoint_kernel, cuts.grid, (dt, (A, cuts.A), C, (dy, cuts.x.u)), cuts.state)
    after, dh0 = _between_chunks(_chunk_decays(chunk, x.dt, A), firsts, dlast, reverse=True)
    edges = (before, after), (cuts.state, cuts.state)
    args = (x, cuts.x), (A, cuts.A), edges, (dy, cuts.x.u)
    dx, dA = _run(_gradient_kernel, cuts.grid, args, (cuts.dx, cuts.state))
    return dx._replace(B=dx.B.sum(0), C=dx.C.sum(0)), dA.sum((0, 1)), dh0


_scan.defvjp(_scan_fwd, _scan_bwd)
