"""Softmax attention as Pallas kernels for CUDA (Triton), which are in flash.py: one forward, two for the gradient.

Arrays stay (B, T, H, K), padded to whole blocks, and no array has the pairs of queries and keys. A padded query has a
finite y, which is cut off, and dy = 0; a padded key that a query could see is masked by `bias`, as those of `key_mask`
are. What the gradient keeps is q, k, v, y and lse.

How float32 is multiplied (IEEE's float32 or TF32) is what jax.default_matmul_precision says when attention is called,
for the gradient too, wherever that is traced. bfloat16 and float16 are multiplied as they are. All sums are in float32.
On a CPU the kernels run interpreted.

Axes: B batch, T time, S keys, H query heads, J key heads, R = H / J of them that share a key head, K head size.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.experimental import pallas as pl
from jaxtyping import Bool, Float

from lengthscale.models.ops import native
from lengthscale.models.ops.attention.equation import CAUSAL, Mask
from lengthscale.models.ops.attention.flash import (
    MASKED,
    Block,
    Form,
    Given,
    Plan,
    forward_kernel,
    keys_kernel,
    queries_kernel,
)
from lengthscale.models.ops.kernel_call import compiled_with, reason_against_kernels
from lengthscale.models.ops.platform import platform

SIZES = (16, 32, 64, 128)  # of a head
# For heads up to 64, and for those of 128. By ptxas, for an H200: none spills registers under any mask, and a core has
# 8 warps or more at once. A program has at most 99 KB of shared memory, as GPUs of consumers have. IEEE's products read
# single numbers from there: the larger a block, the fewer.
IEEE = {
    64: Form(Block(64, 32, 4, 2, 32), Block(64, 32, 4, 2, 32), Block(16, 64, 4, 2, 32)),
    128: Form(Block(64, 16, 4, 2, 32), Block(64, 16, 4, 2, 32), Block(16, 64, 4, 2, 32)),
}
MATRIX_UNITS = {
    64: Form(Block(128, 64, 8, 2, 64), Block(128, 32, 8, 2, 64), Block(32, 128, 8, 2, 64)),
    128: Form(Block(64, 32, 4, 2, 128), Block(64, 16, 4, 2, 128), Block(32, 64, 8, 1, 128)),
}
_DTYPES = ("float32", "bfloat16", "float16")
_IEEE = ("highest", "float32")  # jax's names of it


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
    length, n_keys, size = q.shape[1], k.shape[1], q.shape[3]
    precision = jax.config.jax_default_matmul_precision or "default"  # pyright: ignore[reportAttributeAccessIssue]
    forms = IEEE if q.dtype == jnp.float32 and precision in _IEEE else MATRIX_UNITS
    plan = Plan((length, n_keys), mask, precision, forms[max(size, min(forms))])
    if key_mask is None and not mask.causal and n_keys % plan.unit:
        key_mask = jnp.ones(k.shape[:2], bool)
    bias = None if key_mask is None else jnp.where(_padded(plan, key_mask), 0.0, MASKED)
    q_, k_, v_ = (_padded(plan, x) for x in (q, k, v))
    return _attention(plan, q_, k_, v_, bias)[:, :length]  # pyright: ignore[reportIndexIssue] of custom_vjp


def reason_against_pallas(q: Array | jax.ShapeDtypeStruct) -> str | None:
    """Why the kernels are not available for queries of this shape and dtype, or None."""
    if platform() not in ("cpu", "cuda"):
        return f"it is CUDA's (a CPU interprets it), not for {platform()}"
    if q.dtype.name not in _DTYPES or q.shape[3] not in SIZES:
        heads = ", ".join(map(str, SIZES))
        return f"it needs one of {', '.join(_DTYPES)} and heads of {heads}, got {q.dtype} and {q.shape[3]}"
    return reason_against_kernels()


def _padded(plan, x):
    missing = -x.shape[1] % plan.unit
    return jnp.pad(x, [(0, 0), (0, missing)] + [(0, 0)] * (x.ndim - 2)) if missing else x


# The calls, with the grid (heads, B, blocks): the blocks last, so that the longest programs of all heads start first.


class _Kernel(NamedTuple):
    """A kernel, and how many products of K numbers it computes for each pair of a query and a key."""

    name: str
    run: Callable
    products: int


_FORWARD = _Kernel("attention_outputs", forward_kernel, 2)
_QUERIES = _Kernel("attention_query_gradient", queries_kernel, 3)
_KEYS = _Kernel("attention_key_gradient", keys_kernel, 4)


class _Cuts(NamedTuple):
    """A kernel's grid, and what one of its programs has of each kind of array. row: of a number for each query."""

    block: Block
    grid: tuple[int, int, int]
    q: pl.BlockSpec
    k: pl.BlockSpec
    row: pl.BlockSpec
    bias: pl.BlockSpec


def _by_queries(plan, block, given):
    (batch, length, heads, size), (_, n_keys, shared, _) = given.q.shape, given.k.shape
    blocks, group = length // block.q, heads // shared
    return _Cuts(
        block,
        (heads, batch, blocks),
        q=pl.BlockSpec((None, block.q, None, size), lambda h, b, i: (b, plan.place(i, blocks), h, 0)),
        k=pl.BlockSpec((None, n_keys, None, size), lambda h, b, i: (b, 0, h // group, 0)),
        row=pl.BlockSpec((None, None, block.q), lambda h, b, i: (b, h, plan.place(i, blocks))),
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
    """The results of a kernel. kept: arrays of queries that it reads. results: what they are like, and their cuts."""
    return pl.pallas_call(
        partial(kernel.run, plan),
        grid=cuts.grid,
        in_specs=(
            Given(cuts.q, cuts.k, cuts.k, None if given.bias is None else cuts.bias),
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

    The latter are those of the C++ kernel; of the gradient's two kernels, that for the keys counts for both.
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
    given = Given(q, k, v, bias)
    cuts = _by_queries(plan, plan.form.forward, given)
    batch, length, heads, _ = q.shape
    lse = jax.ShapeDtypeStruct((batch, heads, length), jnp.float32)
    y, lse = _run(plan, _FORWARD, cuts, given, (), [(q, cuts.q), (lse, cuts.row)])
    return y, (given, y, lse)


def _attention_bwd(plan, residuals, dy):
    given, y, lse = residuals
    cuts = _by_queries(plan, plan.form.queries, given)
    dq, delta = _run(plan, _QUERIES, cuts, given, (y, lse, dy), [(given.q, cuts.q), (lse, cuts.row)])
    cuts = _by_keys(plan.form.keys, given)
    dk, dv = _run(plan, _KEYS, cuts, given, (lse, delta, dy), [(given.k, cuts.k), (given.v, cuts.k)])
    return dq, dk, dv, None


_attention.defvjp(_attention_fwd, _attention_bwd)
