"""Attention in blocks, memory linear in T (Rabe and Staats, arXiv:2112.05682; Dao et al., arXiv:2205.14135).

Forward (the online softmax: Milakov and Gimelshein, arXiv:1805.02867). For one row of queries, the running maximum m,
sum l and weighted sum acc start at (-1e30, 0, 0); each block of keys k_s and values v_s changes them to m', l', acc':

    x_s = q . k_s          m' = max(m, max_s x_s)          p_s = e^{x_s - m'}
    l' = e^{m - m'} l + sum_s p_s          acc' = e^{m - m'} acc + sum_s p_s v_s

and after the last block y = acc / l, and lse = m + log l is the logarithm of the softmax's denominator.

Backward (Dao et al., appendix B). Of the forward pass q, k, v, y and lse are kept, and the probabilities of each pair
of blocks are computed again. With t for rows of queries, s for keys and dy = dL/dy:

    p_ts = e^{q_t . k_s - lse_t}          delta_t = dy_t . y_t = sum_s p_ts (dy_t . v_s)
    dv_s = sum_t p_ts dy_t                dx_ts = p_ts (dy_t . v_s - delta_t)
    dq_t = sum_s dx_ts k_s                dk_s = sum_t dx_ts q_t

A masked pair has p = 0. Queries come divided by sqrt(K), and dq is the gradient of those.

Axes: G batch x key heads, Q rows of queries, S keys, K head size (see plan.py).
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float

from lengthscale.models.ops.attention.equation import CAUSAL, Mask
from lengthscale.models.ops.attention.plan import Plan, block_of, grouped, plan_for, put_block, scaled, ungrouped
from lengthscale.models.ops.availability import by_platform

_MASKED = -1e30  # finite, so that a row with nothing allowed yet gives no NaN
_TINY = 1e-30  # the weight of a row that sees no key

# m, l, acc: the running maximum of the scores, the sum of their exponentials, and the values' sum weighted by them.
Sums = tuple[Float[Array, "G Q"], Float[Array, "G Q"], Float[Array, "G Q K"]]


def attention_in_blocks(
    q: Float[Array, "B T H K"],
    k: Float[Array, "B S J K"],
    v: Float[Array, "B S J K"],
    mask: Mask = CAUSAL,
    *,
    key_mask: Bool[Array, "B S"] | None = None,
    block: int | None = None,
) -> Float[Array, "B T H K"]:
    """`models.ops.attention.attention` in blocks. Same arguments and result.

    block: how many queries, and how many keys, make a block (None: about 512).
    """
    heads = k.shape[2]
    plan = plan_for(q, k, mask, block)
    if key_mask is not None:
        key_mask = plan.pad_keys(jnp.repeat(key_mask, heads, axis=0))
    q_ = plan.pad_queries(grouped(scaled(q), heads))
    k_, v_ = (plan.pad_keys(grouped(x, heads)) for x in (k, v))
    return ungrouped(_blocked(plan, q_, k_, v_, key_mask), q)


def empty_sums(q: Float[Array, "G Q K"]) -> Sums:
    """The running sums of no keys, for queries of q's shape; in float32 at least."""
    dtype = jnp.promote_types(q.dtype, jnp.float32)
    rows = q.shape[:2]
    return jnp.full(rows, _MASKED, dtype), jnp.zeros(rows, dtype), jnp.zeros(q.shape, dtype)


def add_keys(
    sums: Sums,
    q: Float[Array, "G Q K"],
    k: Float[Array, "G S K"],
    v: Float[Array, "G S K"],
    allowed: Bool[Array, "#G #Q S"] | None,
) -> Sums:
    """The running sums of one block of queries after one more block of keys (online softmax).

    allowed: the keys that each query may see (None: all).
    """
    m, l, acc = sums
    x = _scores(q, k, acc.dtype)
    if allowed is not None:
        x = jnp.where(allowed, x, _MASKED)
    m_new = jnp.maximum(m, x.max(-1))
    p = jnp.exp(x - m_new[..., None])
    if allowed is not None:
        p = jnp.where(allowed, p, 0)
    shrink = jnp.exp(m - m_new)
    pv = jnp.einsum("gqk,gkd->gqd", p.astype(v.dtype), v, preferred_element_type=acc.dtype)
    return m_new, l * shrink + _row_sums(p), acc * shrink[..., None] + pv


def _row_sums(p):
    """p.sum(-1); on a CPU as a product with ones, which is faster, since XLA does not vectorise the sum."""
    return p @ jnp.ones(p.shape[-1], p.dtype) if by_platform({"cpu": True}, False) else p.sum(-1)


def add_pairs(
    plan: Plan,
    sums: Sums,
    q: Float[Array, "G Q K"],
    k: Float[Array, "G S K"],
    v: Float[Array, "G S K"],
    key_mask: Bool[Array, "G S"] | None = None,
) -> Sums:
    """The running sums after all pairs of the plan; every argument is padded to whole blocks.

    key_mask: the keys that may be seen at all (None: all).
    """

    def body(sums, i, j, allowed):
        m, l, acc = (block_of(x, i, plan.rows) for x in sums)
        q_i, k_j, v_j = block_of(q, i, plan.rows), block_of(k, j, plan.block_k), block_of(v, j, plan.block_k)
        new = add_keys((m, l, acc), q_i, k_j, v_j, allowed)
        return tuple(put_block(x, i, plan.rows, value) for x, value in zip(sums, new, strict=True))

    return plan.over_pairs(body, sums, key_mask)


def mean(sums: Sums) -> Float[Array, "G Q K"]:
    """The softmax's weighted mean of the values; 0 where no key was seen."""
    _, l, acc = sums
    return acc / jnp.maximum(l, _TINY)[..., None]


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _blocked(plan, q, k, v, key_mask):
    """Attention over the pairs of the plan, in q's dtype, with the gradient above; arguments as `add_pairs`'."""
    return _blocked_fwd(plan, q, k, v, key_mask)[0]


def _blocked_fwd(plan, q, k, v, key_mask):
    sums = m, l, _ = add_pairs(plan, empty_sums(q), q, k, v, key_mask)
    y = mean(sums).astype(q.dtype)
    return y, (q, k, v, key_mask, y, m + jnp.log(jnp.maximum(l, _TINY)))


def _blocked_bwd(plan, residuals, dy):
    q, k, v, key_mask, y, lse = residuals
    dtype = lse.dtype
    delta = jnp.sum(dy.astype(dtype) * y.astype(dtype), axis=-1)

    def body(carry, i, j, allowed):
        dq, dk, dv = carry
        q_i, dy_i, lse_i, delta_i = (block_of(x, i, plan.rows) for x in (q, dy, lse, delta))
        k_j, v_j = (block_of(x, j, plan.block_k) for x in (k, v))
        # Keys before queries: two of the three products then read their left side along its rows.
        p = jnp.exp(_scores(k_j, q_i, dtype) - lse_i[:, None])
        if allowed is not None:
            p = jnp.where(allowed.swapaxes(-1, -2), p, 0)
        product = partial(jnp.einsum, preferred_element_type=dtype)
        dv_j = product("gkq,gqd->gkd", p.astype(v.dtype), dy_i)
        dx = p * (product("gkd,gqd->gkq", v_j, dy_i) - delta_i[:, None])
        dx = dx.astype(q.dtype)
        dq_i, dk_j = product("gkq,gkd->gqd", dx, k_j), product("gkq,gqd->gkd", dx, q_i)
        dq = put_block(dq, i, plan.rows, block_of(dq, i, plan.rows) + dq_i)
        dk = put_block(dk, j, plan.block_k, block_of(dk, j, plan.block_k) + dk_j)
        dv = put_block(dv, j, plan.block_k, block_of(dv, j, plan.block_k) + dv_j)
        return dq, dk, dv

    zeros = tuple(jnp.zeros(x.shape, dtype) for x in (q, k, v))
    grads = plan.over_pairs(body, zeros, key_mask)
    return *(g.astype(x.dtype) for g, x in zip(grads, (q, k, v), strict=True)), None


_blocked.defvjp(_blocked_fwd, _blocked_bwd)


def _scores(q, k, dtype):
    return jnp.einsum("gqd,gkd->gqk", q, k, preferred_element_type=dtype)
