"""Attention to a cache of keys and values, block by block where it lies. Equations: equation.py and blocks.py.

The token at position p is in slot p mod S, so a cache of S = window slots is a ring. With r = filled mod S, the next
slot to be written, slots before r hold the newest r positions, filled - r + slot; the slots from r on were written one
pass earlier and hold filled - r + slot - S, which is negative if they are still empty. The cache is read in place:
neither a layer's slice nor a whole row of scores is ever copied, and blocks that hold nothing yet are skipped.

Axes: see equation.py. No gradient is meant to pass here.
"""

import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float, Int

from lengthscale.models.ops.attention.blocks import add_keys, add_pairs, empty_sums, mean
from lengthscale.models.ops.attention.equation import CAUSAL, Cache, Mask
from lengthscale.models.ops.attention.plan import BLOCK, grouped, plan_for, scaled, ungrouped


def attention_with_cache_in_blocks(
    q: Float[Array, "B T H K"],
    k: Float[Array, "B T J K"],
    v: Float[Array, "B T J K"],
    cache: Cache,
    mask: Mask = CAUSAL,
    *,
    block: int | None = None,
) -> Float[Array, "B T H K"]:
    """`models.ops.attention.attention_with_cache` in blocks. Same arguments and result.

    mask: causal, with the window. block: how many queries, keys or slots make a block (None: about 512).
    """
    heads, capacity, filled, window = k.shape[2], cache.k.shape[3], cache.filled, mask.window
    plan = plan_for(q, k, mask, block)
    length, group = plan.n_queries, plan.group
    q_, k_, v_ = (grouped(x, heads) for x in (scaled(q), k, v))
    near = length if window is None else min(length, window - 1)  # queries that may see anything before themselves
    query = filled + jnp.repeat(jnp.arange(near), group)
    turned = filled % capacity  # slots before this one were written in the ring's latest pass, the others one earlier

    def allowed(slot):
        position = slot + filled - turned - jnp.where(slot < turned, 0, capacity)
        return ((position >= 0) & Mask(False, window).allowed(query, position))[None]

    q_near = q_[:, : near * group]
    sums = _add_cache(empty_sums(q_near), q_near, cache, allowed, block)
    if near < length:
        m, l, acc = (x.at[:, : near * group].set(y) for x, y in zip(empty_sums(q_), sums, strict=True))
        sums = m, l, acc
    if length == 1:
        sums = add_keys(sums, q_, k_, v_, None)
    else:
        m, l, acc = (plan.pad_queries(x) for x in sums)
        sums = add_pairs(plan, (m, l, acc), plan.pad_queries(q_), plan.pad_keys(k_), plan.pad_keys(v_))
    return ungrouped(mean(sums), q)


def attention_to_cache(
    q: Float[Array, "B T H K"],
    k_cache: Float[Array, "N B J S K"],
    v_cache: Float[Array, "N B J S K"],
    layer: Int[Array, ""] | int,
    lengths: Int[Array, " B"],
    *,
    block: int | None = None,
) -> Float[Array, "B T H K"]:
    """Attention, not causal, to each sequence's first `lengths` keys in the cache of one layer of N: y, in q's dtype.

    block: slots that are read at a time (None: 512). A query that sees no key gives 0.
    """
    heads = k_cache.shape[2]
    ends = jnp.repeat(lengths, heads)[:, None, None]
    q_ = grouped(scaled(q), heads)
    cache = Cache(k_cache, v_cache, layer, lengths.max())
    return ungrouped(mean(_add_cache(empty_sums(q_), q_, cache, lambda slot: slot[None, None] < ends, block)), q)


def _add_cache(sums, q, cache, allowed, block):
    """The running sums after the keys in the cache's slots before `filled`; allowed(slots) is their mask."""
    _, batch, heads, capacity, size = cache.k.shape
    block = min(block or BLOCK, capacity)

    def step(sums, j):
        start = jnp.minimum(j * block, capacity - block)  # the last block may overlap the one before

        def attend(sums):
            at = tuple(jnp.asarray(index, jnp.int32) for index in (cache.layer, 0, 0, start, 0))
            shape = (1, batch, heads, block, size)
            k_j, v_j = (lax.dynamic_slice(x, at, shape).reshape(-1, block, size) for x in (cache.k, cache.v))
            slot = start + jnp.arange(block)
            return add_keys(sums, q, k_j, v_j, allowed(slot) & (slot >= j * block))

        return lax.cond(j * block < cache.filled, attend, lambda sums: sums, sums), None

    return lax.scan(step, sums, jnp.arange(-(-capacity // block)))[0]
