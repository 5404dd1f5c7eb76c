"""Attention of one token to a cache as Pallas kernels for CUDA (Triton). Equations: equation.py and blocks.py.

    1. kernel: P parts of the slots at the same time, each the running sums (m, l, acc) of its slots; the first part
       has the new token as well
    2. kernel: the sums of all parts, of which the mean is the output

(Parts of the keys at once: Flash-Decoding, Dao et al., crfm.stanford.edu/2023/10/12/flashdecoding.html.) The cache is
read once, where it lies: in XLA's forms a layer's keys and values are copied, or the products of all slots written. It
has no gradient. On a CPU it runs interpreted.

Axes: see equation.py; P parts, R query heads that share a key head, padded to a power of two, C slots of a block.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.experimental import pallas as pl
from jaxtyping import Float

from lengthscale.models.ops.attention.equation import Cache, Mask
from lengthscale.models.ops.attention.plan import scaled
from lengthscale.models.ops.kernel_call import (
    compiled_with,
    power_of_two,
    power_of_two_within,
    reason_against_kernels,
    whole,
)

NAME = "attention_step"
BLOCK = 64  # slots that a program reads at once, at most
PRODUCTS = 16_384  # R C K of them, at most: 168 registers a thread; twice as many spill (ptxas, for an H200)
PROGRAMS = 1_024  # about, in all: a few for each of a GPU's 100 to 150 cores
MOST_PARTS = 128  # of one key head's slots: a program of the second kernel has their accumulators in registers
MOST_SHARING = 8  # query heads to a key head
_WIDEST = 128
_MASKED = -1e30


def step_pallas(
    q: Float[Array, "B 1 H K"],
    k: Float[Array, "B 1 J K"],
    v: Float[Array, "B 1 J K"],
    cache: Cache,
    mask: Mask,
) -> Float[Array, "B 1 H K"]:
    """`models.ops.attention.attention_with_cache` for one token by the kernels. Same arguments.

    Available where `reason_against_step_pallas` gives no reason against it.
    """
    batch, _, heads, size = q.shape
    shared = k.shape[2]
    group, capacity = heads // shared, cache.k.shape[3]
    rows = power_of_two(group)
    block = min(BLOCK, PRODUCTS // (rows * size), power_of_two_within(capacity))
    blocks = -(-capacity // block)
    parts = min(MOST_PARTS, power_of_two(min(blocks, max(1, PROGRAMS // (batch * shared)))))
    q_ = jnp.pad(scaled(q).reshape(batch, shared, group, size), ((0, 0), (0, 0), (0, rows - group), (0, 0)))
    new = q_, k.swapaxes(1, 2), v.swapaxes(1, 2)
    at = tuple(jnp.asarray(number, jnp.int32).reshape(1) for number in (cache.layer, cache.filled))
    stacked = cache.k, cache.v
    grid = parts, batch, shared
    of_head = [pl.BlockSpec((None, None, *x.shape[2:]), lambda p, b, j: (b, j, 0, 0)) for x in new]
    sums = [_of_part(grid, rows), _of_part(grid, rows), _of_part(grid, rows, size)]
    m, l, acc = _call(
        NAME,
        partial(_part_kernel, _Part(block, -(-blocks // parts), mask.window)),
        grid,
        (tuple(map(whole, at)), tuple(of_head), tuple(map(whole, stacked))),
        ([part for _, part in sums],),
        ([jax.ShapeDtypeStruct(shape, jnp.float32) for shape, _ in sums],),
    )(at, new, stacked)[0]
    of_row = pl.BlockSpec((None, None, parts, None), lambda b, j, r: (b, j, 0, r))
    (y,) = _call(
        f"{NAME}_sum",
        _sum_kernel,
        (batch, shared, group),
        [of_row, of_row, pl.BlockSpec((None, None, parts, None, size), lambda b, j, r: (b, j, 0, r, 0))],
        [pl.BlockSpec((None, None, None, size), lambda b, j, r: (b, j, r, 0))],
        [jax.ShapeDtypeStruct((batch, shared, group, size), q.dtype)],
    )(m, l, acc)
    return y.reshape(q.shape)


def reason_against_step_pallas(q: Float[Array, "B T H K"], cache: Cache) -> str | None:
    """Why `step_pallas` is not available for these queries and this cache, or None."""
    shared, size = cache.k.shape[2], cache.k.shape[4]
    if q.shape[1] != 1 or power_of_two(size) != size or size > _WIDEST:
        return f"it is for one token and heads of a power of two up to {_WIDEST}, got {q.shape[1]} and {size}"
    if q.shape[2] > MOST_SHARING * shared:
        return f"it is for at most {MOST_SHARING} query heads to a key head, got {q.shape[2]} to {shared}"
    return reason_against_kernels()


class _Part(NamedTuple):
    """What one program of the first kernel does: so many blocks of so many slots. window: as in `Mask`."""

    block: int
    blocks: int
    window: int | None


def _part_kernel(plan, at, new, stacked, sums_out):
    part, b, j = (pl.program_id(axis) for axis in range(3))
    layer, filled = (number[0] for number in at)
    q, k, v = (x[...].astype(jnp.float32) for x in new)
    block, capacity = plan.block, stacked[0].shape[3]
    first = part * plan.blocks * block
    turned = filled % capacity  # slots before this one were written in the ring's latest pass, the others one earlier

    def attend(i, sums):
        m, l, acc = sums
        start = jnp.minimum(first + i * block, capacity - block)  # the last block may overlap the one before
        k_i, v_i = (x[layer, b, j, pl.ds(start, block), :].astype(jnp.float32) for x in stacked)
        slot = start + jnp.arange(block)
        position = slot + filled - turned - jnp.where(slot < turned, 0, capacity)
        allowed = (slot >= first + i * block) & (position >= 0)
        if plan.window is not None:
            allowed &= position > filled - plan.window
        x = jnp.where(allowed[None], (q[:, None] * k_i[None]).sum(2), _MASKED)
        m_new = jnp.maximum(m, x.max(1))
        p = jnp.where(allowed[None], jnp.exp(x - m_new[:, None]), 0)
        shrink = jnp.exp(m - m_new)
        return m_new, l * shrink + p.sum(1), acc * shrink[:, None] + (p[:, :, None] * v_i[None]).sum(1)

    is_first = part == 0
    x = (q * k).sum(1)
    own = jnp.where(is_first, x, _MASKED), jnp.where(is_first, jnp.ones_like(x), 0)
    sums = *own, jnp.where(is_first, jnp.ones_like(q) * v, 0)

    def step(i, sums):
        return lax.cond(first + i * block < jnp.minimum(filled, capacity), attend, lambda i, sums: sums, i, sums)

    for out, value in zip(sums_out, lax.fori_loop(0, plan.blocks, step, sums), strict=True):
        out[...] = value


def _sum_kernel(m, l, acc, y):
    m = m[...]
    weight = jnp.exp(m - m.max())
    total = (weight * l[...]).sum()  # over 0: the new token sees itself
    y[...] = ((weight[:, None] * acc[...]).sum(0) / total).astype(y.dtype)


def _of_part(grid, *sizes):
    """The shape of what each part gives for each key head, (B, J, P, ...), and the part that one program writes."""
    parts, batch, shared = grid
    zeros = (0,) * len(sizes)
    return (batch, shared, parts, *sizes), pl.BlockSpec((None, None, None, *sizes), lambda p, b, j: (b, j, p, *zeros))


def _call(name, kernel, grid, cuts, results, shapes):
    return pl.pallas_call(
        kernel,
        grid=grid,
        in_specs=cuts,
        out_specs=results,
        out_shape=shapes,
        name=name,
        **compiled_with(num_warps=4, num_stages=2),
    )
