"""The selective scan's Pallas kernels: what one program computes of a chunk of one sequence and a block of E.

pallas.py calls them, and says how they make a scan; the equations are in equation.py. With a gate they are the middle
of a Mamba block, from delta to the gated outputs; without one the scan alone.

On a GPU a program is one warp, and with a block of 32 a thread has one channel and its N states in registers: sums over
N need no other thread, and a column of B or C is read four numbers at a time. Sums over E are only those of dB and dC.
The gradient's kernel holds the states of a run of tokens, and spills 400 to 600 bytes a thread (ptxas, for an H200).
With runs of 4 it would spill 60 to 220, but take 6% more instructions. The others spill none, or two numbers.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array, lax
from jax.experimental import pallas as pl

from lengthscale.models.ops.instructions import LOG2_E, exp2, multiply_add, sigmoid
from lengthscale.models.ops.kernel_call import over_runs
from lengthscale.models.ops.selective_scan.block import (
    RUN,
    Block,
    Rows,
    block_of,
    column,
    sum_over_channels,
    sum_over_states,
)

KEPT = 16  # tokens between the states that are kept for the gradient
AT_ONCE = 16  # chunks whose ends are read at once


def end_kernel(x, gate, A, end, total):
    """The chunk's last state from a start of zero, and the sum of its dt."""
    block = block_of(x, gate, A)

    def add_run(run, carry):
        h, total = carry
        deltas, u = block.deltas(run), block.rows(x.u, run)
        for j in range(RUN):
            dt = block.step(deltas[j])
            h, total = block.next_state(h, dt, u[j], run * RUN + j), total + dt
        return h, total

    start = jnp.zeros_like(block.A), jnp.zeros_like(block.A[:1])
    end[...], total[...] = lax.fori_loop(0, x.dt.shape[0] // RUN, add_run, start)


def between_kernel(reverse, chunks, A, edge, values, last):
    """Of one state, x before every chunk and after the last, from its edge: x -> exp(A sum dt) x + end.

    chunks: the sums of dt, and the ends. reverse: whether the last chunk comes first, as in the gradient.
    """
    totals, ends = chunks
    A = A[...] * LOG2_E
    count = ends.shape[0]
    at_once = min(AT_ONCE, count)

    def at(step):
        return count - 1 - step if reverse else step

    def load(run):
        return [(totals[at(step)], ends[at(step)]) for step in (run * at_once + j for j in range(at_once))]

    def add_run(run, loaded, x):
        for j, (total, end) in enumerate(loaded):
            values[at(run * at_once + j)] = x
            x = multiply_add(exp2(total * A), x, end)
        return x

    runs, rest = divmod(count, at_once)
    x = over_runs(runs, load, add_run, edge[...])
    last[...] = add_run(runs, load(runs)[:rest], x) if rest else x


def output_kernel(x, gate, A, before, y, kept):
    """The chunk's outputs, and the states before every KEPT of its tokens, unless `kept` is None."""
    block = block_of(x, gate, A)
    length = x.dt.shape[0]
    stretch = min(KEPT, length)

    def add_run(run, h):
        deltas, u, z, outputs = block.deltas(run), block.rows(x.u, run), block.gates(run), Rows(block, y, run)
        for j in range(RUN):
            h = block.next_state(h, block.step(deltas[j]), u[j], run * RUN + j)
            output = sum_over_states(h * column(x.C, run * RUN + j))
            if gate is not None:
                output = (output + block.channels(gate.D) * u[j]) * z[j] * sigmoid(z[j])
            outputs.write(j, output)
        return h

    def add_stretch(number, h):
        if kept is not None:
            kept[number] = h
        runs = stretch // RUN
        return lax.fori_loop(0, runs, lambda run, h: add_run(number * runs + run, h), h)

    lax.fori_loop(0, length // stretch, add_stretch, before[...])


def adjoint_kernel(x, gate, A, dout, first):
    """The gradient of the state before the chunk, if nothing came after it."""
    block = block_of(x, gate, A)
    runs = x.dt.shape[0] // RUN

    def add_run(i, dh):
        run = runs - 1 - i
        deltas, dy = block.deltas(run), block.rows(dout, run)
        if gate is not None:
            dy = [dy * z * sigmoid(z) for dy, z in zip(dy, block.gates(run), strict=True)]
        for j in reversed(range(RUN)):
            dh = block.decay(block.step(deltas[j])) * multiply_add(column(x.C, run * RUN + j), dy[j], dh)
        return dh

    first[...] = lax.fori_loop(0, runs, add_run, jnp.zeros_like(block.A))


class _Work(NamedTuple):
    """What the gradient of a block reads, besides the block itself, and writes."""

    kept: Any  # states
    after: Any  # the gradient of the state after the chunk
    dout: Any
    threads: Any  # of sum_over_channels
    dx: Any
    dgate: Any
    dA: Any  # noqa: N815
    number: Any  # of the block, if it is one of several: those after the first add to dB and dC


class _Sums(NamedTuple):
    """The gradient of the state after a token, and the sums over the tokens behind it."""

    dh: Array
    A: Array
    D: Array
    delta_bias: Array


def gradient_kernel(width, x, gate, A, given, results):
    """The gradients of x, the gate and A, for one or more blocks of E of this width, one after the other.

    given: the kept states, the gradient of the state after the chunk, that of the outputs, and what sum_over_channels
    asks for. Of the results those of B and C are shares of a sum over E; of A, D and the bias of delta, of one over T.
    """
    work = _Work(*given, *results, number=None)
    blocks = A.shape[1] // width
    if blocks == 1:
        _gradient_of_block(block_of(x, gate, A), work)
        return

    def add_block(number, carry):
        columns = pl.ds(pl.multiple_of(number * width, width), width)
        _gradient_of_block(block_of(x, gate, A, columns), work._replace(number=number))
        return carry

    lax.fori_loop(0, blocks, add_block, 0)


def _gradient_of_block(block: Block, work: _Work):
    length, columns = work.dout.shape[0], block.columns
    stretch = min(KEPT, length)
    stretches, runs = length // stretch, stretch // RUN

    def add_stretch(i, sums):
        number = stretches - 1 - i
        borders = [work.kept[number, :, columns]]  # the states before each run
        for run in range(runs - 1):
            borders.append(block.after_run(borders[run], number * runs + run))

        def add_run(i, sums):
            run = runs - 1 - i
            h = borders[0]
            for n in range(1, runs):
                h = jnp.where(run == n, borders[n], h)
            return _gradient_of_run(block, work, number * runs + run, h, sums)

        return lax.fori_loop(0, runs, add_run, sums)

    row = jnp.zeros_like(block.A[:1])
    sums = _Sums(work.after[:, columns], jnp.zeros_like(block.A), row, row)
    sums = lax.fori_loop(0, stretches, add_stretch, sums)
    work.dA[:, columns] = sums.A
    if block.gate is not None:
        work.dgate.D[:, columns], work.dgate.delta_bias[:, columns] = sums.D, sums.delta_bias


def _gradient_of_run(block: Block, work: _Work, run, h, sums: _Sums) -> _Sums:
    x, gate, dx = block.x, block.gate, work.dx
    dh, dA, dD, dbias = sums
    deltas, u, z, dout = block.deltas(run), block.rows(x.u, run), block.gates(run), block.rows(work.dout, run)
    dt = [block.step(delta) for delta in deltas]
    threads = None if work.threads is None else work.threads[:, block.columns]  # the latest load
    du, ddt = Rows(block, dx.u, run), Rows(block, dx.dt, run)
    dz: Any = None if gate is None else Rows(block, work.dgate.z, run)
    states = [h]
    for j in range(RUN):
        states.append(block.next_state(states[j], dt[j], u[j], run * RUN + j))
    for j in reversed(range(RUN)):
        t, dtu, (h_before, h) = run * RUN + j, dt[j] * u[j], states[j : j + 2]
        B, C = column(x.B, t), column(x.C, t)
        dy, skipped = dout[j], 0
        if gate is not None:
            D, s = block.channels(gate.D), sigmoid(z[j])
            dz.write(j, dy * (sum_over_states(h * C) + D * u[j]) * (s + z[j] * s * (1 - s)))
            dy = dy * z[j] * s
            dD, skipped = dD + dy * u[j], D * dy
        _add(work, dx.C, t, sum_over_channels(h * dy, threads))
        dh = multiply_add(C, dy, dh)
        _add(work, dx.B, t, sum_over_channels(dh * dtu, threads))
        dh_B = sum_over_states(dh * B)
        dh = block.decay(dt[j]) * dh
        dl = dh * h_before  # of l = dt A
        dA = multiply_add(dl, dt[j], dA)
        ddelta = u[j] * dh_B + sum_over_states(dl * block.A) * (1 / LOG2_E)
        if gate is not None:
            ddelta = ddelta * sigmoid(deltas[j])
            dbias = dbias + ddelta
        du.write(j, dt[j] * dh_B + skipped)
        ddt.write(j, ddelta)
    return _Sums(dh, dA, dD, dbias)


def _add(work, ref, t, row):
    """Write a token's share of dB or dC, or add it to that of the blocks before."""
    if work.number is not None:
        row = row + jnp.where(work.number > 0, ref[pl.ds(t, 1), :], 0)
    ref[pl.ds(t, 1), :] = row
