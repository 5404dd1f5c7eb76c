"""Mamba's selective scan as Pallas kernels for GPU (Triton) and TPU (Mosaic): method "pallas" of selective_scan.py.

    h_t = exp(dt_t A) h_{t-1} + dt_t u_t B_t          y_t = C_t . h_t

All chunks of C tokens run at once, so that one sequence fills a GPU. A chunk's map of its first state to its last is
h -> exp(A sum dt) h + end, where `end` is its last state from a start of zero:

    1. kernel: every chunk's end
    2. `lax.associative_scan` over the chunks: the state before each
    3. kernel: every chunk's outputs, from that state

The gradient is the same in reverse, lambda_t = C_t dy_t + exp(dt_{t+1} A) lambda_{t+1}. Its last kernel recomputes the
chunk's states: those between runs of R tokens, kept in registers, then those of each run. In memory there are only
the states between chunks, O(T/C N E), and each block's part of dB and dC. (Recomputing the states in the backward pass
is Gu and Dao's: arXiv:2312.00752, section 3.3.2.)

One program of a kernel takes a chunk of one sequence and a block of E. Its rows are (1, E) and its states (N, E): only
row loads and stores, products, selections and sums, which both compilers know. On a CPU it runs interpreted.

Axes: B batch, T time, I chunks, C chunk, R run, E inner width (a block of it, in a kernel), N state size.
"""

# jax.custom_vjp's types lose what a function takes and returns:
# pyright: reportArgumentType=false, reportCallIssue=false, reportGeneralTypeIssues=false, reportIndexIssue=false

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.experimental import pallas as pl
from jaxtyping import Float

from lengthscale.models.ops.platform import platform

CHUNK = 64  # tokens between kept states
RUN = 8  # tokens whose states the backward kernel holds at once; and the rows of a TPU's register
# The block of E. A GPU's program is one warp, which sums over N and E without waiting for another: with 16 the
# backward kernel spills 108 bytes a thread, with 32 870 (ptxas, for an H100). A TPU's row is of 128.
GPU_BLOCK = 16
TPU_BLOCKS = (512, 256, 128)


def selective_scan_pallas(
    u: Float[Array, "B T E"],
    dt: Float[Array, "B T E"],
    A: Float[Array, "E N"],
    B: Float[Array, "B T N"],
    C: Float[Array, "B T N"],
    h0: Float[Array, "B N E"],
    chunk: int = CHUNK,
) -> tuple[Float[Array, "B T E"], Float[Array, "B N E"]]:
    """`models.ops.selective_scan.selective_scan` by the kernels, with the rule "mamba". Same arguments and results.

    chunk: tokens between kept states. Raises ValueError for a chunk that is not a power of two, of RUN at least.
    """
    if chunk < RUN or chunk & (chunk - 1):
        raise ValueError(f"the chunk of method pallas must be a power of two, of {RUN} at least, got {chunk}")
    dtype = jnp.result_type(u, dt, A, B, C, h0)
    u, dt, A, B, C, h0 = (x.astype(dtype) for x in (u, dt, A, B, C, h0))
    length, width, states = u.shape[1], u.shape[2], A.shape[1]
    chunk = min(chunk, max(RUN, _power_of_two(length)))
    block = GPU_BLOCK
    if platform() == "tpu":
        block = next((block for block in TPU_BLOCKS if width % block == 0), TPU_BLOCKS[-1])
    # Zeros are exact everywhere: dt = 0 keeps the state, B = C = 0 and u = 0 add nothing to it and read nothing of it.
    u, dt = (_pad(x, chunk, block) for x in (u, dt))
    B, C = (_pad(x, chunk, max(RUN, _power_of_two(states))) for x in (B, C))
    A = _pad(A.T, B.shape[2], block)
    y, h = _scan(chunk, block, u, dt, A, B, C, _pad(h0, *A.shape))
    return y[:, :length, :width], h[:, :states, :width]


def _power_of_two(n):
    return 1 << (n - 1).bit_length()


def _pad(x, *multiples):
    """The last two axes padded to multiples of these."""
    missing = [-n % multiple for n, multiple in zip(x.shape[-2:], multiples, strict=True)]
    return jnp.pad(x, [(0, 0)] * (x.ndim - 2) + [(0, m) for m in missing]) if any(missing) else x


# Inside the kernels. t is a token's number in the chunk.


def _row(ref, t):
    return ref[pl.ds(t, 1), :]


def _column(ref, t):
    """(1, N) as (N, 1)."""
    return _row(ref, t).T


def _decay(A, dt, t):
    return jnp.exp(_row(dt, t) * A)


def _next_state(h, A, u, dt, B, t):
    return _decay(A, dt, t) * h + _column(B, t) * (_row(dt, t) * _row(u, t))


def _end_kernel(u, dt, A, B, end):
    A = A[...]
    end[...] = lax.fori_loop(0, u.shape[0], lambda t, h: _next_state(h, A, u, dt, B, t), jnp.zeros_like(A))


def _output_kernel(u, dt, A, B, C, before, y):
    A = A[...]

    def step(t, h):
        h = _next_state(h, A, u, dt, B, t)
        y[pl.ds(t, 1), :] = (h * _column(C, t)).sum(0, keepdims=True)
        return h

    lax.fori_loop(0, u.shape[0], step, before[...])


def _adjoint_kernel(dt, A, C, dy, first):
    """The gradient of the state before the chunk, if nothing came after it."""
    A = A[...]

    def step(i, dh):
        t = dt.shape[0] - 1 - i
        return _decay(A, dt, t) * (dh + _column(C, t) * _row(dy, t))

    first[...] = lax.fori_loop(0, dt.shape[0], step, jnp.zeros_like(A))


def _gradient_kernel(u, dt, A, B, C, before, dy, after, du, ddt, dA, dB, dC):
    """before: the state before the chunk; after: the gradient of the state after it."""
    A = A[...]
    runs = u.shape[0] // RUN
    number = lax.broadcasted_iota(jnp.int32, (runs, 1, 1), 0)

    def forward_run(run, h_and_borders):
        h, borders = h_and_borders
        borders = jnp.where(number == run, h[None], borders)
        for j in range(RUN):
            h = _next_state(h, A, u, dt, B, run * RUN + j)
        return h, borders

    _, borders = lax.fori_loop(0, runs, forward_run, (before[...], jnp.zeros((runs, *A.shape), A.dtype)))

    def backward_run(i, dh_and_dA):
        dh, dA = dh_and_dA
        run = runs - 1 - i
        h = [jnp.where(number == run, borders, 0).sum(0)]
        for j in range(RUN):
            h.append(_next_state(h[j], A, u, dt, B, run * RUN + j))
        for j in reversed(range(RUN)):
            t = run * RUN + j
            dt_t, u_t, dy_t = _row(dt, t), _row(u, t), _row(dy, t)
            dh = dh + _column(C, t) * dy_t
            dC[pl.ds(t, 1), :] = (h[j + 1] * dy_t).sum(1, keepdims=True).T
            dB[pl.ds(t, 1), :] = (dh * (dt_t * u_t)).sum(1, keepdims=True).T
            dh_B = (dh * _column(B, t)).sum(0, keepdims=True)
            dh = _decay(A, dt, t) * dh
            dz = dh * h[j]  # of z = dt A
            du[pl.ds(t, 1), :] = dt_t * dh_B
            ddt[pl.ds(t, 1), :] = u_t * dh_B + (dz * A).sum(0, keepdims=True)
            dA = dA + dz * dt_t
        return dh, dA

    _, dA[...] = lax.fori_loop(0, runs, backward_run, (after[...], jnp.zeros_like(A)))


# The calls of the kernels: grid (I, B, blocks of E), the chunks first since a GPU limits the other two axes to 65,535.


def _call(kernel, chunk, block, arrays, inputs, outputs):
    """Run a kernel; inputs and outputs are names, in the order of its arguments, that say how an array is cut."""
    batch, length, width = arrays["dt"].shape
    states, dtype = arrays["A"].shape[0], arrays["dt"].dtype
    grid = (length // chunk, batch, width // block)
    wide = (batch, length, width), pl.BlockSpec((None, chunk, block), lambda i, b, e: (b, i, e))
    narrow = (batch, length, states), pl.BlockSpec((None, chunk, states), lambda i, b, e: (b, i, 0))
    narrow_part = (grid[2], *narrow[0]), pl.BlockSpec((None, None, chunk, states), lambda i, b, e: (e, b, i, 0))
    state_shape = (grid[0], batch, states, width)
    state = state_shape, pl.BlockSpec((None, None, states, block), lambda i, b, e: (i, b, 0, e))
    cuts = {
        **dict.fromkeys(("u", "dt", "y", "dy", "du", "ddt"), wide),
        **dict.fromkeys(("B", "C"), narrow),
        **dict.fromkeys(("dB", "dC"), narrow_part),
        **dict.fromkeys(("end", "before", "first", "after", "dA"), state),
        "A": ((states, width), pl.BlockSpec((states, block), lambda i, b, e: (0, e))),
    }
    return pl.pallas_call(
        kernel,
        grid=grid,
        in_specs=[cuts[name][1] for name in inputs],
        out_specs=[cuts[name][1] for name in outputs],
        out_shape=[jax.ShapeDtypeStruct(cuts[name][0], dtype) for name in outputs],
        interpret=platform() == "cpu",
        compiler_params=_compiler_params(),
    )(*(arrays[name] for name in inputs))


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
def _scan(chunk, block, u, dt, A, B, C, h0):
    return _scan_fwd(chunk, block, u, dt, A, B, C, h0)[0]


def _scan_fwd(chunk, block, u, dt, A, B, C, h0):
    arrays = {"u": u, "dt": dt, "A": A, "B": B, "C": C}
    (ends,) = _call(_end_kernel, chunk, block, arrays, ("u", "dt", "A", "B"), ("end",))
    arrays["before"], last = _between_chunks(_chunk_decays(chunk, dt, A), ends, h0)
    (y,) = _call(_output_kernel, chunk, block, arrays, ("u", "dt", "A", "B", "C", "before"), ("y",))
    return (y, last), arrays


def _scan_bwd(chunk, block, arrays, cotangents):
    dy, dlast = cotangents
    arrays = arrays | {"dy": dy}
    (firsts,) = _call(_adjoint_kernel, chunk, block, arrays, ("dt", "A", "C", "dy"), ("first",))
    decays = _chunk_decays(chunk, arrays["dt"], arrays["A"])
    arrays["after"], dh0 = _between_chunks(decays, firsts, dlast, reverse=True)
    inputs = ("u", "dt", "A", "B", "C", "before", "dy", "after")
    du, ddt, dA, dB, dC = _call(_gradient_kernel, chunk, block, arrays, inputs, ("du", "ddt", "dA", "dB", "dC"))
    return du, ddt, dA.sum((0, 1)), dB.sum(0), dC.sum(0), dh0


_scan.defvjp(_scan_fwd, _scan_bwd)
