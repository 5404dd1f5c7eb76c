"""Softmax attention as Pallas kernels for CUDA (Triton); no array has the pairs of queries and keys.

As FlashAttention-2 (Dao, arXiv:2307.08691). The equations are in equation.py and blocks.py; here scores are in powers of
two, x_ts = log2(e) q_t . k_s / sqrt(K) and p_ts = 2^{x_ts - lse_t}, since a GPU has an instruction for them.

    forward     1. y and lse of a block of queries, by the running sums over the blocks of keys that it sees
    backward    1. delta = dy . y and dq of a block of queries, over the same blocks of keys
                2. dk and dv of a block of keys, over the blocks of queries that see it, of all heads that share it

The two kernels of the gradient both compute p and dx again, so that each sum is one program's: nothing is atomic, and
the result is the same each time. Blocks that the mask leaves empty are not visited. Arrays stay (B, T, H, K), padded to
whole blocks. A padded query has a finite y, which is cut off, and dy = 0; a padded key that a query could see is masked
by `bias`, as one of `key_mask` is: it is added to the scores.

How float32 is multiplied (IEEE or TF32) is what jax.default_matmul_precision says when the op is called, for the
gradient too, wherever that is traced. On a CPU the kernels run interpreted.

Axes: B batch, T time, S keys, H query heads, J key heads, R = H / J of them that share a key head, K head size.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.experimental import pallas as pl
from jaxtyping import Bool, Float

from lengthscale.models.ops import native
from lengthscale.models.ops.attention.equation import CAUSAL, Mask
from lengthscale.models.ops.kernel_call import compiled_with, reason_against_kernels
from lengthscale.models.ops.platform import platform

SIZES = (16, 32, 64, 128)  # of a head
_DTYPES = ("float32", "bfloat16", "float16")
_MASKED = -1e30
_LOWEST = -5e29  # of a running maximum: above what is masked, so that 2^{x - m} is 0 for a row with nothing to see yet
_TINY = 1e-30  # the weight of a row that sees no key


class Block(NamedTuple):
    """What a program of a kernel has: rows of queries and of keys, Triton's warps and stages, and a piece's size."""

    q: int
    k: int
    warps: int
    stages: int
    piece: int = SIZES[-1]

    def pieces(self, ref, *rows):
        """These rows of an array, in pieces."""
        return [ref[(*(rows or (slice(None),)), piece)] for piece in self._places(ref)]

    def put(self, ref, rows):
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


IEEE = Form(Block(64, 32, 4, 1), Block(64, 32, 4, 1), Block(32, 64, 4, 1))
MATRIX = Form(Block(64, 32, 4, 2), Block(64, 32, 4, 2), Block(32, 64, 4, 2))


def attention_pallas(
    q: Float[Array, "B T H K"],
    k: Float[Array, "B S J K"],
    v: Float[Array, "B S J K"],
    mask: Mask = CAUSAL,
    *,
    key_mask: Bool[Array, "B S"] | None = None,
) -> Float[Array, "B T H K"]:
    """`models.ops.attention.attention` by the kernels. Same arguments and result.

    Available where `reason_against_pallas` gives no reason against it.
    """
    lengths = q.shape[1], k.shape[1]
    precision = jax.config.jax_default_matmul_precision or "default"  # pyright: ignore[reportAttributeAccessIssue]
    plan = _Plan(lengths, mask, precision, _form(q.dtype, precision))
    if key_mask is None and not mask.causal and lengths[1] % plan.unit:
        key_mask = jnp.ones(k.shape[:2], bool)
    bias = None if key_mask is None else jnp.where(_padded(key_mask, plan.unit), 0.0, _MASKED)
    q_, k_, v_ = (_padded(x, plan.unit) for x in (q, k, v))
    y = _attention(plan, q_, k_, v_, bias)  # pyright: ignore[reportGeneralTypeIssues] of custom_vjp
    return y[:, : lengths[0]]


def reason_against_pallas(q: Any) -> str | None:
    """Why the kernels are not available for queries of this shape and dtype, or None."""
    if platform() not in ("cpu", "cuda"):
        return f"it is CUDA's (a CPU interprets it), not for {platform()}"
    if q.dtype.name not in _DTYPES or q.shape[3] not in SIZES:
        heads = ", ".join(map(str, SIZES))
        return f"it needs one of {', '.join(_DTYPES)} and heads of {heads}, got {q.dtype} and {q.shape[3]}"
    return reason_against_kernels()


@dataclass(frozen=True)
class _Plan:
    """lengths: of queries and keys, without padding. precision: of products of float32, as jax names it."""

    lengths: tuple[int, int]
    mask: Mask
    precision: str
    form: Form

    @property
    def unit(self) -> int:
        """What lengths are padded to a multiple of: each block divides it."""
        return max(max(block.q, block.k) for block in self.form)

    def by_rows(self, a, b):
        """a b^T of rows in pieces."""
        return sum(self._product(x, y, ((1,), (1,))) for x, y in zip(a, b, strict=True))

    def by_columns(self, p, b):
        """p b in pieces, of rows b in pieces."""
        return [self._product(p.astype(piece.dtype), piece, ((1,), (0,))) for piece in b]

    def _product(self, a, b, contracted):
        dtype = jnp.promote_types(a.dtype, jnp.float32)
        return lax.dot_general(a, b, (contracted, ((), ())), precision=self.precision, preferred_element_type=dtype)

    def masked(self, x, apart):
        """The scores x, but low where a query may not see a key. apart: by how much it is later than the key."""
        if self.mask.causal:
            x = jnp.where(apart >= 0, x, _MASKED)
        return x if self.mask.window is None else jnp.where(apart < self.mask.window, x, _MASKED)


def _form(dtype, precision) -> Form:
    return IEEE if dtype == jnp.float32 and precision in ("highest", "float32") else MATRIX


def _padded(x, unit):
    missing = -x.shape[1] % unit
    return jnp.pad(x, [(0, 0), (0, missing)] + [(0, 0)] * (x.ndim - 2)) if missing else x


def _scale(size):
    return size**-0.5 * math.log2(math.e)


# The kernels. A block of rows of K numbers is a list of its pieces, whose products are added up.


class _Given(NamedTuple):
    """Arrays that all kernels read, or references to the parts of one program."""

    q: Any
    k: Any
    v: Any
    bias: Any


def _forward_kernel(plan, given, _, y, lse):
    block, i = plan.form.forward, _place(plan)
    q, at = block.pieces(given.q), i * block.q + jnp.arange(block.q)

    def attend(j, sums):
        m, l, acc = sums
        _, v, x = _keys_and_scores(plan, block, given, (q, at), j)
        m_new = jnp.maximum(m, x.max(1))
        p, shrink = jnp.exp2(x - m_new[:, None]), jnp.exp2(m - m_new)
        pv = plan.by_columns(p, v)
        acc = [total * shrink[:, None] + piece for total, piece in zip(acc, pv, strict=True)]
        return m_new, l * shrink + p.sum(1), acc

    empty = jnp.full(block.q, _LOWEST, lse.dtype), jnp.zeros(block.q, lse.dtype), _zeros(q, lse.dtype)
    m, l, acc = lax.fori_loop(*_keys_seen(plan.mask, block, i, given.k.shape[0]), attend, empty)
    l = jnp.maximum(l, _TINY)
    block.put(y, [piece / l[:, None] for piece in acc])
    lse[...] = m + jnp.log2(l)


def _queries_kernel(plan, given, kept, dq, delta_out):
    block, i = plan.form.queries, _place(plan)
    q, at = block.pieces(given.q), i * block.q + jnp.arange(block.q)
    y, lse, dy = block.pieces(kept[0]), kept[1][...], block.pieces(kept[2])
    delta = sum((a.astype(lse.dtype) * b.astype(lse.dtype)).sum(1) for a, b in zip(dy, y, strict=True))
    delta_out[...] = delta

    def attend(j, total):
        k, v, x = _keys_and_scores(plan, block, given, (q, at), j)
        dx = jnp.exp2(x - lse[:, None]) * (plan.by_rows(dy, v) - delta[:, None])
        return _added(total, plan.by_columns(dx, k))

    total = lax.fori_loop(*_keys_seen(plan.mask, block, i, given.k.shape[0]), attend, _zeros(q, lse.dtype))
    block.put(dq, [piece * given.q.shape[1] ** -0.5 for piece in total])


def _keys_kernel(plan, given, kept, dk, dv):
    """Here scores and probabilities have a row for each key, so that none is transposed before the last products."""
    block, j = plan.form.keys, pl.program_id(2)
    k, v, at = block.pieces(given.k), block.pieces(given.v), j * block.k + jnp.arange(block.k)
    bias = None if given.bias is None else given.bias[...]
    lse, delta, dy = kept
    start, end = _queries_that_see(plan.mask, block, j, given.q.shape[0])
    count, size = end - start, given.k.shape[1]

    def attend(n, sums):
        head, i = n // count, start + n % count
        here = pl.ds(i * block.q, block.q)
        q_i, dy_i = block.pieces(given.q, here, head), block.pieces(dy, here, head)
        x = plan.masked(plan.by_rows(k, q_i) * _scale(size), i * block.q + jnp.arange(block.q)[None] - at[:, None])
        x = x if bias is None else x + bias[:, None]
        p = jnp.exp2(x - lse[head, here][None])
        dx = p * (plan.by_rows(v, dy_i) - delta[head, here][None])
        return _added(sums[0], plan.by_columns(dx, q_i)), _added(sums[1], plan.by_columns(p, dy_i))

    zeros = _zeros(k, lse.dtype)
    total_k, total_v = lax.fori_loop(0, given.q.shape[1] * count, attend, (zeros, zeros))
    block.put(dk, [piece * size**-0.5 for piece in total_k])
    block.put(dv, total_v)


def _keys_and_scores(plan, block, given, queries, j):
    """Block j of the keys and values, and the scores of some queries, which come with their positions."""
    (q, at), here = queries, pl.ds(j * block.k, block.k)
    k, v = block.pieces(given.k, here), block.pieces(given.v, here)
    x = plan.by_rows(q, k) * _scale(given.q.shape[1])
    x = plan.masked(x, at[:, None] - (j * block.k + jnp.arange(block.k))[None])
    return k, v, x if given.bias is None else x + given.bias[here][None]


def _zeros(rows, dtype):
    return [jnp.zeros(piece.shape, dtype) for piece in rows]


def _added(totals, rows):
    return [total + piece for total, piece in zip(totals, rows, strict=True)]


def _place(plan):
    """The block of queries that a program has: where they are causal the last one, which takes longest, is the first."""
    i = pl.program_id(2)
    return pl.num_programs(2) - 1 - i if plan.mask.causal else i


def _keys_seen(mask, block, i, n_keys):
    """The first block of keys that block i of the queries sees, and the one after the last."""
    first = i * block.q
    start = 0 if mask.window is None else jnp.maximum(0, first - mask.window + 1) // block.k
    return start, pl.cdiv(first + block.q, block.k) if mask.causal else n_keys // block.k


def _queries_that_see(mask, block, j, n_queries):
    """The first block of queries that sees block j of the keys, and the one after the last."""
    start, end = (j * block.k // block.q if mask.causal else 0), n_queries // block.q
    if mask.window is None:
        return start, end
    return start, jnp.minimum(end, ((j + 1) * block.k + mask.window - 2) // block.q + 1)


# The calls, with the grid (heads, B, blocks): the blocks last, so that the longest programs of all heads start first.


class _Kernel(NamedTuple):
    """A kernel, and how many products of K numbers it computes for each pair of a query and a key."""

    name: str
    run: Callable
    products: int


_FORWARD = _Kernel("attention_forward", _forward_kernel, 2)
_QUERIES = _Kernel("attention_backward_queries", _queries_kernel, 3)
_KEYS = _Kernel("attention_backward_keys", _keys_kernel, 4)


class _Cuts(NamedTuple):
    """A grid, and what one of its programs gets of arrays of queries, of keys, of numbers for each query, and of bias."""

    block: Block
    grid: tuple[int, int, int]
    q: pl.BlockSpec
    k: pl.BlockSpec
    row: pl.BlockSpec
    bias: pl.BlockSpec


def _by_queries(plan, block, given):
    (batch, length, heads, size), (_, n_keys, shared, _) = given.q.shape, given.k.shape
    blocks, group = length // block.q, heads // shared

    def place(i):
        return blocks - 1 - i if plan.mask.causal else i

    return _Cuts(
        block,
        (heads, batch, blocks),
        q=pl.BlockSpec((None, block.q, None, size), lambda h, b, i: (b, place(i), h, 0)),
        k=pl.BlockSpec((None, n_keys, None, size), lambda h, b, i: (b, 0, h // group, 0)),
        row=pl.BlockSpec((None, None, block.q), lambda h, b, i: (b, h, place(i))),
        bias=pl.BlockSpec((None, n_keys), lambda h, b, i: (b, 0)),
    )


def _by_keys(block, given):
    (batch, length, heads, size), (_, n_keys, shared, _) = given.q.shape, given.k.shape
    group = heads // shared
    return _Cuts(
        block,
        (shared, batch, n_keys // block.k),
        q=pl.BlockSpec((None, length, group, size), lambda j, b, i: (b, 0, j, 0)),
        k=pl.BlockSpec((None, block.k, None, size), lambda j, b, i: (b, i, j, 0)),
        row=pl.BlockSpec((None, group, length), lambda j, b, i: (b, j, 0)),
        bias=pl.BlockSpec((None, block.k), lambda j, b, i: (b, i)),
    )


def _run(plan, kernel, cuts, given, kept, results):
    """The results of a kernel. kept: arrays of queries that it reads. results: their descriptions and cuts."""
    return pl.pallas_call(
        partial(kernel.run, plan),
        grid=cuts.grid,
        in_specs=(
            _Given(cuts.q, cuts.k, cuts.k, None if given.bias is None else cuts.bias),
            tuple(cuts.row if x.ndim == 3 else cuts.q for x in kept),
        ),
        out_specs=[cut for _, cut in results],
        out_shape=[jax.ShapeDtypeStruct(x.shape, x.dtype) for x, _ in results],
        name=kernel.name,
        **_work(plan, kernel, given),
        **compiled_with(num_warps=cuts.block.warps, num_stages=cuts.block.stages),
    )(given, kept)


def _work(plan, kernel, given):
    """What a kernel computes, for each pair that is seen, and its FLOPs by the equation (bench/device/flops.py).

    The latter are those of the form in blocks; of the gradient's two kernels, that for the keys counts for both.
    """
    (batch, _, heads, size), (_, _, shared, _) = given.q.shape, given.k.shape
    (length, n_keys), mask = plan.lengths, plan.mask
    shapes = (batch, length, heads, size), (batch, n_keys, shared, size)
    sizes = {"causal": mask.causal, "window": mask.window or 0}
    equation = {_FORWARD: "attention_forward", _KEYS: "attention_backward"}.get(kernel)
    flops = native.flops(equation, *shapes, **sizes) if equation else 0
    pairs = native.pairs_seen(*shapes, **sizes)
    n_bytes = sum(x.nbytes for x in given if x is not None)
    return {
        "cost_estimate": pl.CostEstimate(2 * size * kernel.products * pairs, pairs, n_bytes),
        "metadata": {"flops": str(flops)},
    }


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _attention(plan, q, k, v, bias):
    return _attention_fwd(plan, q, k, v, bias)[0]


def _attention_fwd(plan, q, k, v, bias):
    given = _Given(q, k, v, bias)
    cuts = _by_queries(plan, plan.form.forward, given)
    y, lse = _run(plan, _FORWARD, cuts, given, (), [(q, cuts.q), (_row(q), cuts.row)])
    return y, (given, y, lse)


def _attention_bwd(plan, residuals, dy):
    given, y, lse = residuals
    cuts = _by_queries(plan, plan.form.queries, given)
    dq, delta = _run(plan, _QUERIES, cuts, given, (y, lse, dy), [(given.q, cuts.q), (lse, cuts.row)])
    cuts = _by_keys(plan.form.keys, given)
    dk, dv = _run(plan, _KEYS, cuts, given, (lse, delta, dy), [(given.k, cuts.k), (given.v, cuts.k)])
    return dq, dk, dv, None


def _row(q):
    """A number for each query, in float32 at least."""
    batch, length, heads, _ = q.shape
    return jax.ShapeDtypeStruct((batch, heads, length), jnp.promote_types(q.dtype, jnp.float32))


_attention.defvjp(_attention_fwd, _attention_bwd)
