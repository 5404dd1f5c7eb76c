"""The kernels of attention, for pallas.py: what one program of each computes. Equations: equation.py and blocks.py.

Here scores are in powers of two, since a GPU has an instruction for them (t for rows of queries, s for keys):

    x_ts = log2(e) q_t . k_s / sqrt(K)          p_ts = 2^{x_ts - lse_t}

    1. forward_kernel   y and lse of a block of queries, by the running sums over the blocks of keys that it sees
    2. queries_kernel   delta_t = dy_t . y_t and dq of a block of queries, over the same blocks of keys
    3. keys_kernel      dk and dv of a block of keys, over the blocks of queries that see it, of all heads that share it

The gradient's two kernels both compute p and dx, so that each sum is one program's: nothing is atomic, and a result is
the same each time (Dao, arXiv:2307.08691). Blocks that the mask leaves empty are not visited.

A row of K numbers is a list of pieces, whose products are added up. For products of single numbers (IEEE's float32)
Triton loads whole rows into registers, and pieces need fewer of them.

Axes: T rows of queries, S keys, R query heads that share a key head, K head size.
"""

from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl

from lengthscale.models.ops.attention.equation import Mask
from lengthscale.models.ops.instructions import LOG2_E

MASKED = -1e30
_LOWEST = -5e29  # of a running maximum: above what is masked, so that 2^{x - m} is 0 for a row with nothing to see yet
_TINY = 1e-30  # the weight of a row that sees no key


class Block(NamedTuple):
    """What a program of a kernel has: rows of queries and of keys, Triton's warps and stages, and a piece's numbers."""

    q: int
    k: int
    warps: int
    stages: int
    piece: int

    def pieces(self, ref: Any, *at: Any) -> list:
        """Rows of an array, in pieces. at: which, in all axes but the last (none: all)."""
        at = at or (slice(None),)
        return [ref[(*at, place)] for place in self._places(ref)]

    def put(self, ref: Any, rows: list) -> None:
        """Write rows in pieces."""
        for place, piece in zip(self._places(ref), rows, strict=True):
            ref[:, place] = piece.astype(ref.dtype)

    def _places(self, ref):
        size = min(self.piece, ref.shape[-1])
        return [pl.ds(start, size) for start in range(0, ref.shape[-1], size)]


class Form(NamedTuple):
    """The blocks of the three kernels."""

    forward: Block
    queries: Block
    keys: Block


@dataclass(frozen=True)
class Plan:
    """How one call of attention is computed.

    lengths: of queries and keys, without padding. precision: of products of float32, as jax names it.
    """

    lengths: tuple[int, int]
    mask: Mask
    precision: str
    form: Form

    @property
    def unit(self) -> int:
        """What lengths are padded to a multiple of: every block divides it."""
        return max(max(block.q, block.k) for block in self.form)

    def place(self, i: Any, blocks: Any) -> Any:
        """The block of queries of the i-th program. If causal, from the last one on, since it takes longest."""
        return blocks - 1 - i if self.mask.causal else i

    def by_rows(self, a, b):
        """a b^T, of rows in pieces."""
        return reduce(add, [self._product(x, y, ((1,), (1,))) for x, y in zip(a, b, strict=True)])

    def by_columns(self, p, b):
        """p b in pieces, of rows b in pieces."""
        return [self._product(p.astype(piece.dtype), piece, ((1,), (0,))) for piece in b]

    def scores(self, a, b, apart, bias):
        """Of rows a and b in pieces. apart: by how much the query is later than the key. bias: added to each key's."""
        x = self.by_rows(a, b) * (sum(piece.shape[1] for piece in a) ** -0.5 * LOG2_E)
        if self.mask.causal:
            x = jnp.where(apart >= 0, x, MASKED)
        if self.mask.window is not None:
            x = jnp.where(apart < self.mask.window, x, MASKED)
        return x if bias is None else x + bias

    def _product(self, a, b, contracted):
        dtype = jnp.promote_types(a.dtype, jnp.float32)
        return lax.dot_general(a, b, (contracted, ((), ())), precision=self.precision, preferred_element_type=dtype)


class Given(NamedTuple):
    """What all kernels read: queries, keys, values, and what is added to the scores of each key (None: nothing).

    Arrays, or references to the parts of one program.
    """

    q: Any
    k: Any
    v: Any
    bias: Any


def forward_kernel(plan: Plan, given: Given, _: Any, y: Any, lse: Any) -> None:
    """Write y and lse of a block of queries."""
    block, queries = plan.form.forward, _queries(plan, plan.form.forward, given)

    def attend(j, sums):
        m, l, acc = sums
        _, v, x = _keys_and_scores(plan, block, given, queries, j)
        m_new = jnp.maximum(m, x.max(1))
        p, shrink = jnp.exp2(x - m_new[:, None]), jnp.exp2(m - m_new)
        acc = [total * shrink[:, None] + pv for total, pv in zip(acc, plan.by_columns(p, v), strict=True)]
        return m_new, l * shrink + p.sum(1), acc

    rows, dtype = block.q, lse.dtype
    empty = jnp.full(rows, _LOWEST, dtype), jnp.zeros(rows, dtype), _zeros(queries.q, dtype)
    m, l, acc = lax.fori_loop(*_keys_seen(plan.mask, block, queries.first, given.k.shape[0]), attend, empty)
    l = jnp.maximum(l, _TINY)
    block.put(y, [piece / l[:, None] for piece in acc])
    lse[...] = m + jnp.log2(l)


def queries_kernel(plan: Plan, given: Given, kept: tuple, dq: Any, delta_out: Any) -> None:
    """Write dq and delta of a block of queries. kept: y, lse and dy."""
    block, queries = plan.form.queries, _queries(plan, plan.form.queries, given)
    y, lse, dy = block.pieces(kept[0]), kept[1][...], block.pieces(kept[2])
    delta = reduce(add, [(a.astype(lse.dtype) * b.astype(lse.dtype)).sum(1) for a, b in zip(dy, y, strict=True)])
    delta_out[...] = delta

    def attend(j, total):
        k, v, x = _keys_and_scores(plan, block, given, queries, j)
        dx = jnp.exp2(x - lse[:, None]) * (plan.by_rows(dy, v) - delta[:, None])
        return _added(total, plan.by_columns(dx, k))

    seen = _keys_seen(plan.mask, block, queries.first, given.k.shape[0])
    total = lax.fori_loop(*seen, attend, _zeros(queries.q, lse.dtype))
    block.put(dq, [piece * given.q.shape[1] ** -0.5 for piece in total])


def keys_kernel(plan: Plan, given: Given, kept: tuple, dk: Any, dv: Any) -> None:
    """Write dk and dv of a block of keys. kept: lse, delta and dy of the heads that share it.

    Scores and probabilities have a row for each key here, so that none is transposed before the last products.
    """
    block, j = plan.form.keys, pl.program_id(2)
    k, v, key = block.pieces(given.k), block.pieces(given.v), j * block.k + jnp.arange(block.k)
    bias = None if given.bias is None else given.bias[...][:, None]
    lse, delta, dy = kept
    start, end = _queries_that_see(plan.mask, block, j, given.q.shape[0])
    count = end - start

    def attend(n, sums):
        head, i = lax.div(n, count), start + lax.rem(n, count)
        here = pl.ds(i * block.q, block.q)
        q, dy_i = block.pieces(given.q, here, head), block.pieces(dy, here, head)
        x = plan.scores(k, q, i * block.q + jnp.arange(block.q)[None] - key[:, None], bias)
        p = jnp.exp2(x - lse[head, here][None])
        dx = p * (plan.by_rows(v, dy_i) - delta[head, here][None])
        return _added(sums[0], plan.by_columns(dx, q)), _added(sums[1], plan.by_columns(p, dy_i))

    zeros = _zeros(k, lse.dtype)
    total_k, total_v = lax.fori_loop(0, given.q.shape[1] * count, attend, (zeros, zeros))
    block.put(dk, [piece * given.k.shape[1] ** -0.5 for piece in total_k])
    block.put(dv, total_v)


class _Queries(NamedTuple):
    """The block of queries of a program, in pieces, and the position of its first one."""

    q: list
    first: Any


def _queries(plan, block, given):
    i = plan.place(pl.program_id(2), pl.num_programs(2))
    return _Queries(block.pieces(given.q), i * block.q)


def _keys_and_scores(plan, block, given, queries, j):
    """Block j of the keys and of the values, in pieces, and the scores of the queries."""
    here = pl.ds(j * block.k, block.k)
    k, v = block.pieces(given.k, here), block.pieces(given.v, here)
    query, key = queries.first + jnp.arange(block.q), j * block.k + jnp.arange(block.k)
    bias = None if given.bias is None else given.bias[here][None]
    return k, v, plan.scores(queries.q, k, query[:, None] - key[None], bias)


def _keys_seen(mask, block, first, n_keys):
    """The first block of keys that a block of queries sees, and the one after the last. first: of its positions."""
    start = 0 if mask.window is None else lax.div(jnp.maximum(0, first - mask.window + 1), block.k)
    return start, lax.div(first + block.q + block.k - 1, block.k) if mask.causal else n_keys // block.k


def _queries_that_see(mask, block, j, n_queries):
    """The first block of queries that sees block j of the keys, and the one after the last."""
    start, end = lax.div(j * block.k, block.q) if mask.causal else 0, n_queries // block.q
    if mask.window is None:
        return start, end
    return start, jnp.minimum(end, lax.div((j + 1) * block.k + mask.window - 2, block.q) + 1)


def _zeros(rows, dtype):
    return [jnp.zeros(piece.shape, dtype) for piece in rows]


def _added(totals, rows):
    return [total + piece for total, piece in zip(totals, rows, strict=True)]
