"""The blocks of models/ops/attention.py: which of them meet, the online softmax, and the backward pass.

Forward (the online softmax: Milakov and Gimelshein, arXiv:1805.02867). For one row of queries, the running maximum m,
sum l and weighted sum acc start at (-1e30, 0, 0); each block of keys k_s and values v_s changes them to m', l', acc':

    x_s = q . k_s          m' = max(m, max_s x_s)          p_s = e^{x_s - m'}
    l' = e^{m - m'} l + sum_s p_s          acc' = e^{m - m'} acc + sum_s p_s v_s

and after the last block y = acc / l, and lse = m + log l is the logarithm of the softmax's denominator.

Backward (Dao et al., arXiv:2205.14135, appendix B). Of the forward pass q, k, v, y and lse are kept. For each pair of
blocks, with t for rows of queries, s for keys and dy = dL/dy:

    p_ts = e^{q_t . k_s - lse_t}          delta_t = dy_t . y_t = sum_s p_ts (dy_t . v_s)
    dv_s = sum_t p_ts dy_t                dx_ts = p_ts (dy_t . v_s - delta_t)
    dq_t = sum_s dx_ts k_s                dk_s = sum_t dx_ts q_t

A masked pair has p = 0. Queries come divided by sqrt(K), and dq is the gradient of those.

Axes: G batch x key heads, Q = T R rows of queries, S keys, K head size. The R query heads that share a key head are
neighbours in time, so that they are rows of one product with its keys, which are never repeated.
"""

# jax.custom_vjp's types lose what a function takes and returns:
# pyright: reportArgumentType=false, reportCallIssue=false, reportGeneralTypeIssues=false, reportIndexIssue=false

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import Bool, Float, Int, PyTree, Shaped

_MASKED = -1e30  # finite, so that a row with nothing allowed yet gives no NaN
_TINY = 1e-30  # the weight of a row that sees no key

# m, l, acc: the running maximum of the scores, the sum of their exponentials, and the values' sum weighted by them.
Sums = tuple[Float[Array, "G Q"], Float[Array, "G Q"], Float[Array, "G Q K"]]


def allowed_pairs(
    query: Int[Array, " T"], key: Int[Array, " S"], causal: bool, window: int | None
) -> Bool[Array, "T S"]:
    """Whether each query may see each key, by their positions.

    causal: no later key is seen. window: the number of keys that a query sees, itself included (None: all).
    """
    query, key = query[:, None], key[None, :]
    allowed = jnp.ones((query.shape[0], key.shape[1]), bool)
    if causal:
        allowed &= key <= query
    if window is not None:
        allowed &= key > query - window
    return allowed


@dataclass(frozen=True)
class Plan:
    """Sizes of a blocked product of queries and keys, from which its pairs of blocks are known when it is traced.

    block_q, block_k: how many queries and keys make a block. causal, window: as in `allowed_pairs`.
    """

    n_queries: int
    n_keys: int
    block_q: int
    block_k: int
    causal: bool
    window: int | None
    group: int  # query heads to a key head, R

    @property
    def rows(self) -> int:
        """The number of rows in a block of queries."""
        return self.block_q * self.group

    def pad_queries(self, x: Shaped[Array, "G Q ..."]) -> Shaped[Array, "G Q_padded ..."]:
        """x with its second axis, the rows of queries, padded by zeros to whole blocks."""
        return _pad(x, -self.n_queries % self.block_q * self.group)

    def pad_keys(self, x: Shaped[Array, "G S ..."]) -> Shaped[Array, "G S_padded ..."]:
        """x with its second axis, the keys, padded by zeros to whole blocks."""
        return _pad(x, -self.n_keys % self.block_k)

    def pairs(self) -> tuple[Int[np.ndarray, "_ 2"], ...]:
        """Two lists of (query block, key block): those with every key allowed, and those on the mask's edge."""
        whole, edge = [], []
        for i in range(-(-self.n_queries // self.block_q)):
            q_first, q_last = i * self.block_q, (i + 1) * self.block_q - 1
            for j in range(-(-self.n_keys // self.block_k)):
                k_first, k_last = j * self.block_k, (j + 1) * self.block_k - 1
                after = self.causal and k_first > q_last
                before = self.window is not None and k_last <= q_first - self.window
                if after or before:
                    continue
                cut = (
                    k_last >= self.n_keys
                    or (self.causal and k_last > q_first)
                    or (self.window is not None and k_first <= q_last - self.window)
                )
                (edge if cut else whole).append((i, j))
        return tuple(np.array(pairs, np.int32).reshape(-1, 2) for pairs in (whole, edge))

    def over_pairs(self, body: Callable, carry: PyTree[Array], key_mask: Bool[Array, "G S"] | None) -> PyTree[Array]:
        """The last carry of `body(carry, i, j, allowed)` over every pair; allowed is None where nothing is masked."""
        for pairs, on_edge in zip(self.pairs(), (False, True), strict=True):
            if len(pairs) == 0:
                continue

            def step(carry, ij, on_edge=on_edge):
                allowed = self._edge(ij[0], ij[1]) if on_edge else None
                if key_mask is not None:
                    seen = _block(key_mask, ij[1], self.block_k)[:, None]
                    allowed = seen if allowed is None else allowed & seen
                return body(carry, ij[0], ij[1], allowed), None

            carry, _ = lax.scan(step, carry, pairs)
        return carry

    def _edge(self, i, j):
        query = i * self.block_q + jnp.repeat(jnp.arange(self.block_q), self.group)
        key = j * self.block_k + jnp.arange(self.block_k)
        return (allowed_pairs(query, key, self.causal, self.window) & (key < self.n_keys))[None]


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
    scores = _scores(q, k, acc.dtype)
    if allowed is not None:
        scores = jnp.where(allowed, scores, _MASKED)
    m_new = jnp.maximum(m, scores.max(-1))
    p = jnp.exp(scores - m_new[..., None])
    if allowed is not None:
        p = jnp.where(allowed, p, 0)
    shrink = jnp.exp(m - m_new)
    pv = jnp.einsum("gqk,gkd->gqd", p.astype(v.dtype), v, preferred_element_type=acc.dtype)
    row_sums = p @ jnp.ones(p.shape[-1], p.dtype)  # on a CPU faster than p.sum(-1), which is not vectorised
    return m_new, l * shrink + row_sums, acc * shrink[..., None] + pv


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
        mine = tuple(_block(x, i, plan.rows) for x in sums)
        q_i, k_j, v_j = _block(q, i, plan.rows), _block(k, j, plan.block_k), _block(v, j, plan.block_k)
        new = add_keys(mine, q_i, k_j, v_j, allowed)
        return tuple(_put(x, i, plan.rows, value) for x, value in zip(sums, new, strict=True))

    return plan.over_pairs(body, sums, key_mask)


def mean(sums: Sums) -> Float[Array, "G Q K"]:
    """The softmax's weighted mean of the values; 0 where no key was seen."""
    _, l, acc = sums
    return acc / jnp.maximum(l, _TINY)[..., None]


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def blocked(
    plan: Plan,
    q: Float[Array, "G Q K"],
    k: Float[Array, "G S K"],
    v: Float[Array, "G S K"],
    key_mask: Bool[Array, "G S"] | None,
) -> Float[Array, "G Q K"]:
    """Attention over the pairs of the plan, in q's dtype, with the gradient above; arguments as `add_pairs`'."""
    return _blocked_fwd(plan, q, k, v, key_mask)[0]


def _blocked_fwd(plan, q, k, v, key_mask):
    sums = m, l, _ = add_pairs(plan, empty_sums(q), q, k, v, key_mask)
    y = mean(sums).astype(q.dtype)
    return y, (q, k, v, key_mask, y, m + jnp.log(jnp.maximum(l, _TINY)))


def _blocked_bwd(plan, residuals, dy):
    q, k, v, key_mask, y, lse = residuals
    dtype = lse.dtype
    delta = jnp.sum(dy.astype(dtype) * y.astype(dtype), axis=-1)  # = sum_s p_s dp_s

    def body(carry, i, j, allowed):
        dq, dk, dv = carry
        q_i, dy_i, lse_i, delta_i = (_block(x, i, plan.rows) for x in (q, dy, lse, delta))
        k_j, v_j = (_block(x, j, plan.block_k) for x in (k, v))
        # Keys before queries: two of the three products then read their left side along its rows.
        p = jnp.exp(_scores(k_j, q_i, dtype) - lse_i[:, None])
        if allowed is not None:
            p = jnp.where(allowed.swapaxes(-1, -2), p, 0)
        product = partial(jnp.einsum, preferred_element_type=dtype)
        dv_j = product("gkq,gqd->gkd", p.astype(v.dtype), dy_i)
        ds = p * (product("gkd,gqd->gkq", v_j, dy_i) - delta_i[:, None])
        ds = ds.astype(q.dtype)
        dq_i, dk_j = product("gkq,gkd->gqd", ds, k_j), product("gkq,gqd->gkd", ds, q_i)
        dq = _put(dq, i, plan.rows, _block(dq, i, plan.rows) + dq_i)
        dk = _put(dk, j, plan.block_k, _block(dk, j, plan.block_k) + dk_j)
        dv = _put(dv, j, plan.block_k, _block(dv, j, plan.block_k) + dv_j)
        return dq, dk, dv

    zeros = tuple(jnp.zeros(x.shape, dtype) for x in (q, k, v))
    grads = plan.over_pairs(body, zeros, key_mask)
    return *(g.astype(x.dtype) for g, x in zip(grads, (q, k, v), strict=True)), None


blocked.defvjp(_blocked_fwd, _blocked_bwd)


def _pad(x, missing):
    return jnp.pad(x, [(0, 0), (0, missing)] + [(0, 0)] * (x.ndim - 2)) if missing else x


def _block(x, index, size):
    return lax.dynamic_slice_in_dim(x, index * size, size, axis=1)


def _put(x, index, size, value):
    return lax.dynamic_update_slice_in_dim(x, value, index * size, axis=1)


def _scores(q, k, dtype):
    return jnp.einsum("gqd,gkd->gqk", q, k, preferred_element_type=dtype)
