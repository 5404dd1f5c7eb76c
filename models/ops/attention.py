"""Softmax attention in blocks, memory linear in T (Rabe and Staats, arXiv:2112.05682; Dao et al., arXiv:2205.14135).

    y_t = sum_s softmax_s(q_t . k_s / sqrt(K)) v_s        over s <= t (causal), s > t - window (windowed)

The pairs of (query block, key block) that hold anything are listed when the program is traced, so that the masked half
of a causal product is neither computed nor counted; only pairs on the mask's edge pay for a mask. A running maximum m
and sum l make the softmax exact (online softmax). The backward pass keeps q, k, v, y and the log-sum-exp, and computes
the probabilities of each pair again.

Axes: B batch, T time, S cached time, H heads, K head size. Inside: G = B x H.
"""

# jax.custom_vjp's types lose what a function takes and returns:
# pyright: reportArgumentType=false, reportCallIssue=false, reportGeneralTypeIssues=false, reportIndexIssue=false

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import Float, Int

METHODS = ("blocked", "reference")
BLOCK = 512  # of queries and of keys; shorter sequences are one block of their own length
_MASKED = -1e30  # finite, so that a row with nothing allowed yet gives no NaN
_TINY = 1e-30  # the weight of a filled-up row that sees no key


def attention_reference(q, k, v, *, causal=True, window=None):
    """The equation with the whole (T, T) matrix. Same arguments and result as `attention`."""
    scores = jnp.einsum("bthk,bshk->bhts", q, k) * q.shape[-1] ** -0.5
    allowed = _allowed(jnp.arange(q.shape[1]), jnp.arange(k.shape[1]), k.shape[1], causal, window)
    return jnp.einsum("bhts,bshk->bthk", jax.nn.softmax(jnp.where(allowed, scores, -jnp.inf)), v)


def attention(
    q: Float[Array, "B T H K"],
    k: Float[Array, "B S H K"],
    v: Float[Array, "B S H K"],
    *,
    causal: bool = True,
    window: int | None = None,
    method: str = "auto",
    block: int = BLOCK,
) -> Float[Array, "B T H K"]:
    """Attention of a sequence to itself (or, with causal=False, to another one).

    window: keys that a query sees, itself included (None: all). method: "blocked", "reference" (memory quadratic in
    T), "auto": blocked. Raises ValueError for an unknown method, or for a window or cause without S = T.
    """
    if method not in ("auto", *METHODS):
        raise ValueError(f"unknown method {method!r}; expected auto, {', '.join(METHODS)}")
    if (causal or window) and q.shape[1] != k.shape[1]:
        raise ValueError(f"causal attention needs as many keys as queries, got {k.shape[1]} and {q.shape[1]}")
    if method == "reference":
        return attention_reference(q, k, v, causal=causal, window=window)
    batch, length = q.shape[:2]
    plan = _Plan(length, k.shape[1], min(block, length), min(block, k.shape[1]), causal, window)
    q, k, v = (_heads_first(x) for x in (q, k, v))
    y = _blocked(plan, plan.pad_queries(q), plan.pad_keys(k), plan.pad_keys(v))
    return _heads_last(y[:, :length], batch)


def attention_with_cache(
    q: Float[Array, "B T H K"],
    k: Float[Array, "B T H K"],
    v: Float[Array, "B T H K"],
    k_cache: Float[Array, "N B H S K"],
    v_cache: Float[Array, "N B H S K"],
    layer: Int[Array, ""],
    filled: Int[Array, ""],
    *,
    block: int = BLOCK,
) -> Float[Array, "B T H K"]:
    """Causal attention of T new tokens to themselves and to the first `filled` cached ones of one layer of N.

    The cache is read block by block where it lies: neither a layer's slice nor a whole score row is ever copied, and
    blocks that hold nothing yet are skipped. No gradient is meant to pass here.
    """
    batch, length, heads, size = q.shape
    q, k, v = (_heads_first(x) for x in (q, k, v))
    capacity = k_cache.shape[3]
    block_s = min(block, capacity)

    def past(carry, j):
        start = jnp.minimum(j * block_s, capacity - block_s)  # the last block may overlap the one before

        def attend(carry):
            at = tuple(jnp.asarray(index, jnp.int32) for index in (layer, 0, 0, start, 0))
            shape = (1, batch, heads, block_s, size)
            k_j, v_j = (lax.dynamic_slice(x, at, shape).reshape(-1, block_s, size) for x in (k_cache, v_cache))
            position = start + jnp.arange(block_s)
            fresh = (position >= j * block_s) & (position < filled)
            return _online_softmax(carry, q, k_j, v_j, fresh[None, None])

        return lax.cond(j * block_s < filled, attend, lambda carry: carry, carry), None

    carry = lax.scan(past, _empty_sums(q), jnp.arange(-(-capacity // block_s)))[0]
    if length == 1:
        m, l, acc = _online_softmax(carry, q, k, v, None)
    else:
        plan = _Plan(length, length, min(block, length), min(block, length), True, None)
        carry = tuple(plan.pad_queries(x) for x in carry)
        m, l, acc = _sum_pairs(plan, plan.pad_queries(q), plan.pad_keys(k), plan.pad_keys(v), carry)
    return _heads_last(_mean(l, acc)[:, :length].astype(q.dtype), batch)


def _heads_first(x):  # (B, T, H, K) -> (B H, T, K)
    return x.transpose(0, 2, 1, 3).reshape(-1, x.shape[1], x.shape[3])


def _heads_last(x, batch):
    return x.reshape(batch, -1, *x.shape[1:]).transpose(0, 2, 1, 3)


def _allowed(query, key, n_keys, causal, window):
    """(queries, keys) -> may the query see the key?"""
    query, key = query[:, None], key[None, :]
    allowed = jnp.broadcast_to(key < n_keys, (query.shape[0], key.shape[1]))
    if causal:
        allowed &= key <= query
    if window is not None:
        allowed &= key > query - window
    return allowed


@dataclass(frozen=True)
class _Plan:
    """Which blocks meet, known when the program is traced."""

    n_queries: int
    n_keys: int
    block_q: int
    block_k: int
    causal: bool
    window: int | None

    def pad_queries(self, x):
        """Fill the time axis (the second) up to whole blocks."""
        return _pad(x, -self.n_queries % self.block_q)

    def pad_keys(self, x):
        return _pad(x, -self.n_keys % self.block_k)

    def pairs(self):
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

    def over_pairs(self, body, carry):
        """Run `body(carry, i, j, allowed)` over every pair; allowed is None where nothing is masked."""
        for pairs, masked in zip(self.pairs(), (False, True), strict=True):
            if len(pairs) == 0:
                continue

            def step(carry, ij, masked=masked):
                return body(carry, ij[0], ij[1], self._mask(ij[0], ij[1]) if masked else None), None

            carry, _ = lax.scan(step, carry, pairs)
        return carry

    def _mask(self, i, j):
        query = i * self.block_q + jnp.arange(self.block_q)
        key = j * self.block_k + jnp.arange(self.block_k)
        return _allowed(query, key, self.n_keys, self.causal, self.window)[None]


def _pad(x, missing):
    return jnp.pad(x, [(0, 0), (0, missing)] + [(0, 0)] * (x.ndim - 2)) if missing else x


def _mean(l, acc):
    return acc / jnp.maximum(l, _TINY)[..., None]


def _block(x, index, size):
    return lax.dynamic_slice_in_dim(x, index * size, size, axis=1)


def _put(x, index, size, value):
    return lax.dynamic_update_slice_in_dim(x, value, index * size, axis=1)


def _empty_sums(q):
    """Running maximum, sum and weighted sum of no keys; float32 at least."""
    dtype = jnp.promote_types(q.dtype, jnp.float32)
    rows = q.shape[:2]
    return jnp.full(rows, _MASKED, dtype), jnp.zeros(rows, dtype), jnp.zeros(q.shape, dtype)


def _scores(q, k, dtype):
    return jnp.einsum("gqd,gkd->gqk", q, k, preferred_element_type=dtype) * q.shape[-1] ** -0.5


def _online_softmax(carry, q, k, v, allowed):
    """Take one block of keys into the running sums of one block of queries."""
    m, l, acc = carry
    scores = _scores(q, k, acc.dtype)
    if allowed is not None:
        scores = jnp.where(allowed, scores, _MASKED)
    m_new = jnp.maximum(m, scores.max(-1))
    p = jnp.exp(scores - m_new[..., None])
    if allowed is not None:
        p = jnp.where(allowed, p, 0)
    shrink = jnp.exp(m - m_new)
    pv = jnp.einsum("gqk,gkd->gqd", p.astype(v.dtype), v, preferred_element_type=acc.dtype)
    return m_new, l * shrink + p.sum(-1), acc * shrink[..., None] + pv


def _sum_pairs(plan, q, k, v, carry):
    def body(carry, i, j, allowed):
        mine = tuple(_block(x, i, plan.block_q) for x in carry)
        q_i, k_j, v_j = _block(q, i, plan.block_q), _block(k, j, plan.block_k), _block(v, j, plan.block_k)
        new = _online_softmax(mine, q_i, k_j, v_j, allowed)
        return tuple(_put(x, i, plan.block_q, value) for x, value in zip(carry, new, strict=True))

    return plan.over_pairs(body, carry)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _blocked(plan, q, k, v):
    return _blocked_fwd(plan, q, k, v)[0]


def _blocked_fwd(plan, q, k, v):
    m, l, acc = _sum_pairs(plan, q, k, v, _empty_sums(q))
    y = _mean(l, acc).astype(q.dtype)
    return y, (q, k, v, y, m + jnp.log(jnp.maximum(l, _TINY)))


def _blocked_bwd(plan, residuals, dy):
    q, k, v, y, lse = residuals
    dtype = lse.dtype
    scale = q.shape[-1] ** -0.5
    delta = jnp.sum(dy.astype(dtype) * y.astype(dtype), axis=-1)  # = sum_s p_s dp_s

    def body(carry, i, j, allowed):
        dq, dk, dv = carry
        q_i, dy_i, lse_i, delta_i = (_block(x, i, plan.block_q) for x in (q, dy, lse, delta))
        k_j, v_j = (_block(x, j, plan.block_k) for x in (k, v))
        p = jnp.exp(_scores(q_i, k_j, dtype) - lse_i[..., None])
        if allowed is not None:
            p = jnp.where(allowed, p, 0)
        product = partial(jnp.einsum, preferred_element_type=dtype)
        dv_j = product("gqk,gqd->gkd", p.astype(v.dtype), dy_i)
        ds = p * (product("gqd,gkd->gqk", dy_i, v_j) - delta_i[..., None]) * scale
        ds = ds.astype(q.dtype)
        dq_i, dk_j = product("gqk,gkd->gqd", ds, k_j), product("gqk,gqd->gkd", ds, q_i)
        dq = _put(dq, i, plan.block_q, _block(dq, i, plan.block_q) + dq_i)
        dk = _put(dk, j, plan.block_k, _block(dk, j, plan.block_k) + dk_j)
        dv = _put(dv, j, plan.block_k, _block(dv, j, plan.block_k) + dv_j)
        return dq, dk, dv

    zeros = tuple(jnp.zeros(x.shape, dtype) for x in (q, k, v))
    grads = plan.over_pairs(body, zeros)
    return tuple(g.astype(x.dtype) for g, x in zip(grads, (q, k, v), strict=True))


_blocked.defvjp(_blocked_fwd, _blocked_bwd)
