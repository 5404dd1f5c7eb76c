"""WKV as Pallas kernels for GPU (Triton) and TPU (Mosaic). The equations are in equation.py, the kernels in kernels.py.

All chunks of C tokens run at once, so that one sequence fills a GPU. A chunk of n tokens decays the sums before it by
e^{n w} and adds its own, which are its last state from an empty one:

    1. end_kernel         every chunk's last state from an empty one
    2. between_kernel     the state before each chunk, one chunk after the other
    3. output_kernel      every chunk's outputs, from that state

The gradient goes back in the same way. That of the state before a chunk is, for what came after, linear: daa = decay
daa_after + aa, where aa is what the chunk's own outputs give:

    1. pull_kernel            every chunk's decay and aa (and of bb and p), and the states before its runs of R tokens
    2. pull_between_kernel    the gradient of the state after each chunk
    3. gradient_kernel        a run's states, in registers, then the gradients of its tokens, one run before the other

k and v are read in their own precision, states are float32 at least. In memory there are only the states between
chunks, O(T/C D), and in the backward pass those between runs, 3 T/R D.

Axes: B batch, T time, C chunk, R run, D channels.
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.experimental import pallas as pl
from jaxtyping import Float

from lengthscale.models.ops.availability import by_platform
from lengthscale.models.ops.kernel_call import compiled_with, pad_channels, power_of_two
from lengthscale.models.ops.wkv import kernels
from lengthscale.models.ops.wkv.equation import Decay, WKVState, from_total, to_total
from lengthscale.models.ops.wkv.kernels import RUN, Chunks, Pull


@dataclass(frozen=True)
class Form:
    """How the work is cut into programs on a platform."""

    blocks: tuple[int, ...]  # of channels; the first that fits is taken
    together: int  # chunks of a program
    lanes: int  # channels that all programs should have together
    shortest: int  # chunk
    longest: int


# A GPU's program has a channel for each thread. An H200's 132 cores then have 31 warps each: fewer do not hide what a
# load waits for, more make the states between chunks more.
GPU = Form(blocks=(128, 64, 32), together=1, lanes=2**17, shortest=32, longest=1024)
# A TPU runs its programs one after the other, so all that counts is that eight chunks fill the rows of its registers,
# and that the arrays fit into its memory twice.
TPU = Form(blocks=(128,), together=8, lanes=2**10, shortest=8, longest=256)


def wkv_pallas(
    decay: Decay, k: Float[Array, "B T D"], v: Float[Array, "B T D"], state: WKVState, chunk: int | None = None
) -> tuple[Float[Array, "B T D"], WKVState]:
    """`models.ops.wkv.wkv` by the kernels; decay and state in one precision. Same arguments and results.

    chunk: tokens between kept states (None: by the shapes). Raises ValueError for a chunk that is no multiple of RUN.
    """
    form = by_platform({"tpu": TPU}, GPU)
    batch, length, width = k.shape
    chunk = _chunk(form, batch, length, width) if chunk is None else chunk
    if chunk < RUN or chunk % RUN:
        raise ValueError(f"the chunk of method pallas must be a multiple of {RUN}, got {chunk}")
    if form is TPU:  # which does not load single rows of bfloat16
        k, v = k.astype(decay.w.dtype), v.astype(decay.w.dtype)
    block = next((block for block in form.blocks if width % block == 0), form.blocks[-1])
    decay, k, v, state = jax.tree.map(partial(pad_channels, block=block), (decay, k, v, state))
    chunks = Chunks(length, min(chunk, -(-length // RUN) * RUN), form.together)
    plan = _Plan(chunks, batch, k.shape[2], block, decay.w.dtype)
    y, last = _scan(plan, decay, k, v, from_total(state))  # pyright: ignore[reportGeneralTypeIssues] of custom_vjp
    return y[:, :, :width], jax.tree.map(lambda x: x[:, :width], to_total(last))


def _chunk(form, batch, length, width):
    number = max(form.together, form.lanes // (batch * width))
    return min(form.longest, max(form.shortest, power_of_two(-(-length // number))))


# The calls of the kernels, with the grid (programs of the chunks, B, blocks of D): the chunks first, since a GPU limits
# the other two axes to 65,535.


@dataclass(frozen=True)
class _Plan:
    """How the arrays are cut, and what a state's precision is."""

    chunks: Chunks
    batch: int
    width: int
    block: int
    dtype: jnp.dtype


@dataclass(frozen=True)
class _Cut:
    """An array's shape and precision, and the part of it that one program of the grid gets."""

    shape: tuple[int, ...]
    dtype: jnp.dtype
    part: pl.BlockSpec


class _Cuts(NamedTuple):
    """What there is of each channel, token, run, chunk and sequence; and the chunks' of a whole sequence."""

    channel: _Cut
    token: _Cut
    run: _Cut
    chunk: _Cut
    chunks: _Cut
    sequence: _Cut


def _cuts(plan):
    chunks, batch, width, block = plan.chunks, plan.batch, plan.width, plan.block
    tokens, room = chunks.size * chunks.together, -(-chunks.number // RUN) * RUN  # room: for whole runs of chunks

    def cut(shape, part, place):
        return _Cut((*shape, width), plan.dtype, pl.BlockSpec((*part, block), lambda i, b, d: (*place(i, b), d)))

    def of_programs(number, part):
        return cut((batch, number), (None, part), lambda i, b: (b, i))

    return _Cuts(
        channel=cut((1,), (1,), lambda i, b: (0,)),
        token=of_programs(chunks.programs * tokens, tokens),
        run=of_programs(chunks.programs * tokens // RUN, tokens // RUN),
        chunk=of_programs(room, chunks.together),
        chunks=cut((batch, room), (None, room), lambda i, b: (b, 0)),
        sequence=cut((batch, 1), (None, 1), lambda i, b: (b, 0)),
    )


def _run(plan, kernel, programs, args, results):
    """The results of a kernel, cut as the tuple of trees `results` says.

    programs: for each sequence and block of channels. args: pairs of a tree of arrays and the cut of all or of
    each part of it.
    """
    return pl.pallas_call(
        partial(kernel, plan.chunks),
        grid=(programs, plan.batch, plan.width // plan.block),
        in_specs=[jax.tree.map(_parts, cut, arrays) for arrays, cut in args],
        out_specs=jax.tree.map(lambda cut: cut.part, results),
        out_shape=jax.tree.map(lambda cut: jax.ShapeDtypeStruct(cut.shape, cut.dtype), results),
        **compiled_with(num_warps=plan.block // 32),
    )(*(arrays for arrays, _ in args))


def _parts(cut, arrays):
    return jax.tree.map(lambda _: cut.part, arrays)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _scan(plan, decay, k, v, state):
    return _scan_fwd(plan, decay, k, v, state)[0]


def _scan_fwd(plan, decay, k, v, state):
    cuts, programs = _cuts(plan), plan.chunks.programs
    rows = jax.tree.map(lambda x: x[None], decay)
    start = jax.tree.map(lambda x: x[:, None], state)
    kv = (k, v), cuts.token
    (ends,) = _run(plan, kernels.end_kernel, programs, [(rows.w, cuts.channel), kv], (_states(cuts.chunk),))
    args = [(rows.w, cuts.channel), (start, cuts.sequence), (ends, cuts.chunks)]
    before, last = _run(plan, kernels.between_kernel, 1, args, (_states(cuts.chunks), _states(cuts.sequence)))
    args = [(rows, cuts.channel), kv, (before, cuts.chunk)]
    (y,) = _run(plan, kernels.output_kernel, programs, args, (cuts.token,))
    return (y[:, : plan.chunks.length], jax.tree.map(lambda x: x[:, 0], last)), (rows, k, v, before)


def _scan_bwd(plan, kept, cotangents):
    (rows, k, v, before), (dy, dlast) = kept, cotangents
    cuts, programs = _cuts(plan), plan.chunks.programs
    decay_and_tokens = (rows, cuts.channel), ((k, v, dy), cuts.token)
    args = [*decay_and_tokens, (before, cuts.chunk)]
    results = _states(cuts.run), Pull(*[cuts.chunk] * 4)
    borders, pulls = _run(plan, kernels.pull_kernel, programs, args, results)
    args = [(jax.tree.map(lambda x: x[:, None], dlast), cuts.sequence), (pulls, cuts.chunks)]
    after, first = _run(plan, kernels.pull_between_kernel, 1, args, (_states(cuts.chunks), _states(cuts.sequence)))
    args = [*decay_and_tokens, ((borders, after), (cuts.run, cuts.chunk))]
    dkv = tuple(replace(cuts.token, dtype=x.dtype) for x in (k, v))
    results = dkv, jax.tree.map(lambda _: cuts.chunk, rows)
    (dk, dv), shares = _run(plan, kernels.gradient_kernel, programs, args, results)
    ddecay = jax.tree.map(lambda x: x[:, : plan.chunks.number].sum((0, 1)), shares)
    return ddecay, dk[:, : plan.chunks.length], dv[:, : plan.chunks.length], jax.tree.map(lambda x: x[:, 0], first)


def _states(cut):
    return WKVState(cut, cut, cut)


_scan.defvjp(_scan_fwd, _scan_bwd)
