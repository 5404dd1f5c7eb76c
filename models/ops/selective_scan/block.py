"""What the kernels of the selective scan share: how a program reads and writes its block of E, and its arithmetic.

Rows of (1, E) and states of (N, E), with row loads and stores, products, selections and sums alone, which the compilers
of both GPU (Triton) and TPU (Mosaic) know. Arrays are read and written in their own precision; the arithmetic is in
A's, which is float32 or more. Without a gate the inputs' dt is the step; with one it is delta (see equation.py).
"""

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
from jax import Array
from jax.experimental import pallas as pl

from lengthscale.models.ops.instructions import LOG2_E, exp2, instructions, multiply_add
from lengthscale.models.ops.platform import platform

RUN = 8  # tokens whose rows are read at once, before their use


@dataclass(frozen=True)
class Block:
    """What a program reads: references to x and to the gate, of which `columns` are its block of E; A times log2 e."""

    x: Any
    gate: Any
    A: Array
    columns: Any

    def rows(self, ref: Any, run: Any) -> list[Array]:
        """The rows of a run of tokens."""
        if platform() == "tpu":
            rows = ref[_whole(run), self.columns].astype(self.A.dtype)
            return [rows[j : j + 1] for j in range(RUN)]
        return [ref[pl.ds(run * RUN + j, 1), self.columns].astype(self.A.dtype) for j in range(RUN)]

    def gates(self, run: Any) -> list[Array]:
        """z of a run of tokens; without a gate there are none."""
        return [] if self.gate is None else self.rows(self.gate.z, run)

    def channels(self, ref: Any) -> Array:
        """D, or the bias of delta, as a row."""
        return ref[:, self.columns].astype(self.A.dtype)

    def deltas(self, run: Any) -> list[Array]:
        """What softplus is taken of for a run of tokens; without a gate their steps."""
        rows = self.rows(self.x.dt, run)
        return rows if self.gate is None else [row + self.channels(self.gate.delta_bias) for row in rows]

    def step(self, delta: Array) -> Array:
        """A token's dt."""
        return delta if self.gate is None else _softplus(delta)

    def decay(self, dt: Array) -> Array:
        """exp(dt A)."""
        return exp2(dt * self.A)

    def next_state(self, h: Array, dt: Array, u: Array, t: Any) -> Array:
        """h_t, of h_{t-1}."""
        return multiply_add(self.decay(dt), h, column(self.x.B, t) * (dt * u))

    def after_run(self, h: Array, run: Any) -> Array:
        """The state after a run of tokens, of that before it."""
        deltas, u = self.deltas(run), self.rows(self.x.u, run)
        for j in range(RUN):
            h = self.next_state(h, self.step(deltas[j]), u[j], run * RUN + j)
        return h


def block_of(x: Any, gate: Any, A: Any, columns: Any = slice(None)) -> Block:
    """The block of these columns, of a program's references."""
    return Block(x, gate, A[:, columns] * LOG2_E, columns)


class Rows:
    """The rows of a run of tokens on their way to memory. A TPU writes them together, as it packs rows of bfloat16."""

    def __init__(self, block: Block, ref: Any, run: Any):
        self.ref, self.run, self.columns = ref, run, block.columns
        self.rows: dict[int, Array] = {}

    def write(self, j: int, row: Array) -> None:
        """Take the row of this number in the run."""
        self.rows[j] = row.astype(self.ref.dtype)
        if platform() != "tpu":
            self.ref[pl.ds(self.run * RUN + j, 1), self.columns] = self.rows[j]
        elif len(self.rows) == RUN:
            self.ref[_whole(self.run), self.columns] = jnp.concatenate([self.rows[j] for j in range(RUN)])


def column(ref: Any, t: Any) -> Array:
    """A token's B or C as (N, 1)."""
    return ref[pl.ds(t, 1), :].T


def _whole(run):
    return pl.ds(pl.multiple_of(run * RUN, RUN), RUN)


def sum_over_states(x: Array) -> Array:
    """(N, E) -> (1, E)."""
    return x.sum(0, keepdims=True)


def sum_over_channels(x: Array, threads: Any) -> Array:
    """(N, E) -> (1, N).

    threads: on a GPU bytes of x's shape, which only say which thread sums which numbers: those that it has read, 16 of
    one state. Triton takes the layout of an operation from the latest load among its operands, and brings x there
    through shared memory. So a sum crosses one pair of threads; among all 32 of a warp it takes 80 shuffles.
    """
    if threads is not None:
        x = instructions("mov.b32 $0, $4; mov.b32 $1, $5; mov.b32 $2, $6; mov.b32 $3, $7;", x, threads, pack=4)
    return x.sum(1, keepdims=True).T


def _softplus(x):
    return jnp.maximum(x, 0) + jnp.log1p(exp2(-LOG2_E * abs(x)))
