"""Softmax attention in blocks, memory linear in T (Rabe and Staats, arXiv:2112.05682; Dao et al., arXiv:2205.14135).

    y_t = sum_s softmax_s(q_t . k_s / sqrt(K)) v_s        over s <= t (causal), s > t - window (windowed)

The pairs of (query block, key block) that hold anything are listed when the program is traced, so that the masked half
of a causal product is neither computed nor counted; only pairs on the mask's edge pay for a mask. A running maximum m
and sum l make the softmax exact (online softmax). The backward pass keeps q, k, v, y and the log-sum-exp, and computes
the probabilities of each pair again.

Keys and values may have fewer heads than queries (grouped queries: Ainslie et al., arXiv:2305.13245): query head h then
reads head h // (H / J). They are never repeated in memory.

Axes: B batch, T time, S key time, or slots of a cache, H query heads, J key heads, K head size, N layers.
"""

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Bool, Float, Int

from lengthscale.models.ops import attention_kernels
from lengthscale.models.ops.attention_blocks import Plan, add_keys, add_pairs, allowed_pairs, blocked, empty_sums, mean
from lengthscale.models.ops.attention_native import attention_native, reason_against_step, step_native
from lengthscale.models.ops.availability import check_known, require

METHODS = ("blocked", "reference", "native", "cudnn", "splash")
# Of queries and of keys; shorter sequences are one block of their own length. On one core of a CPU 128 are as fast or a
# little faster, but XLA does not share so small a product among the cores: on two, 512 are 1.9x faster (T=8192).
BLOCK = 512
MAX_BLOCKS = 512  # a list of the pairs of more would be long: beyond, the blocks grow
WINDOW_BLOCK = 128  # the smallest block for a window: half of what a block as wide as the window computes is masked


def attention_weights_reference(
    q: Float[Array, "B T H K"],
    k: Float[Array, "B S J K"],
    *,
    causal: bool = True,
    window: int | None = None,
    key_mask: Bool[Array, "B S"] | None = None,
) -> Float[Array, "B H T S"]:
    """The softmax's weights, the whole matrix: how much each query takes of each key. Arguments as `attention`'s.

    The row of a query that may see no key is 0.
    """
    k = jnp.repeat(k, q.shape[2] // k.shape[2], axis=2)
    scores = jnp.einsum("bthk,bshk->bhts", q, k) * q.shape[-1] ** -0.5
    allowed = allowed_pairs(jnp.arange(q.shape[1]), jnp.arange(k.shape[1]), causal, window)
    if key_mask is not None:
        allowed = allowed & key_mask[:, None, None, :]
    return jax.nn.softmax(jnp.where(allowed, scores, -1e30)) * allowed  # a row that sees nothing is 0


def attention_reference(
    q: Float[Array, "B T H K"],
    k: Float[Array, "B S J K"],
    v: Float[Array, "B S J K"],
    *,
    causal: bool = True,
    window: int | None = None,
    key_mask: Bool[Array, "B S"] | None = None,
) -> Float[Array, "B T H K"]:
    """The outputs, by the equation with the whole (T, S) matrix. Same arguments and result as `attention`."""
    weights = attention_weights_reference(q, k, causal=causal, window=window, key_mask=key_mask)
    return jnp.einsum("bhts,bshk->bthk", weights, jnp.repeat(v, q.shape[2] // v.shape[2], axis=2))


def attention(
    q: Float[Array, "B T H K"],
    k: Float[Array, "B S J K"],
    v: Float[Array, "B S J K"],
    *,
    causal: bool = True,
    window: int | None = None,
    key_mask: Bool[Array, "B S"] | None = None,
    method: str = "auto",
    block: int | None = None,
) -> Float[Array, "B T H K"]:
    """Attention of a sequence to itself (or, with causal=False, to another one): y, in q's dtype.

    q, k, v: queries, keys and values; J divides H. causal: a query sees no later key. window: the number of keys that a
    query sees, itself included (None: all). key_mask: the keys that may be seen at all (None: all); a query that sees
    none gives 0. method: "blocked", "reference" (memory quadratic in T), "native", "cudnn", "splash" (see
    models/ops/attention_kernels.py), or "auto": the kernel of the platform where it fits and no block is given, else
    blocked. block: how many queries, and how many keys, if blocked (None: about 512).

    Raises ValueError for an unknown method, one that is not available for these arguments, a window under 1, key heads
    that do not divide the query heads, and for causal or window if S differs from T.
    """
    check_known(method, METHODS)
    if (causal or window is not None) and q.shape[1] != k.shape[1]:
        raise ValueError(f"causal attention needs as many keys as queries, got {k.shape[1]} and {q.shape[1]}")
    _check(q, k, window)
    if method == "auto":
        method = "blocked" if block else attention_kernels.fitting(q, k, causal, window, key_mask)
    if method == "reference":
        return attention_reference(q, k, v, causal=causal, window=window, key_mask=key_mask)
    if method in ("native", "cudnn", "splash"):
        require(method, attention_kernels.misfit(method, q, k, causal, window, key_mask))
        if method == "native":
            return attention_native(q, k, v, causal, window)
        return getattr(attention_kernels, method)(q, k, v, causal, window)
    heads = k.shape[2]
    plan = _plan(q, k, block, causal, window)
    if key_mask is not None:
        key_mask = plan.pad_keys(jnp.repeat(key_mask, heads, axis=0))
    q_, k_, v_ = (
        plan.pad_queries(_grouped(_scaled(q), heads)),
        plan.pad_keys(_grouped(k, heads)),
        plan.pad_keys(_grouped(v, heads)),
    )
    return _ungrouped(blocked(plan, q_, k_, v_, key_mask), q)


def attention_with_cache_reference(
    q: Float[Array, "B T H K"],
    k: Float[Array, "B T J K"],
    v: Float[Array, "B T J K"],
    k_cache: Float[Array, "N B J S K"],
    v_cache: Float[Array, "N B J S K"],
    layer: Int[Array, ""] | int,
    filled: Int[Array, ""] | int,
    *,
    window: int | None = None,
) -> Float[Array, "B T H K"]:
    """The outputs of `attention_with_cache` by the equation, with the whole matrix. Same arguments and result.

    Slot s holds the last position before `filled` that is s modulo S; a negative one means that it is still empty.
    """
    new = filled + jnp.arange(q.shape[1])
    slot = jnp.arange(k_cache.shape[3])
    old = filled - 1 - (filled - 1 - slot) % slot.size
    position = jnp.concatenate([old, new])
    k, v = (
        jnp.repeat(jnp.concatenate([cache[layer].swapaxes(1, 2), x], axis=1), q.shape[2] // x.shape[2], axis=2)
        for cache, x in ((k_cache, k), (v_cache, v))
    )
    allowed = allowed_pairs(new, position, True, window) & (position >= 0)
    scores = jnp.einsum("bthk,bshk->bhts", q, k) * q.shape[-1] ** -0.5
    return jnp.einsum("bhts,bshk->bthk", jax.nn.softmax(jnp.where(allowed, scores, -1e30)), v)


def attention_with_cache(
    q: Float[Array, "B T H K"],
    k: Float[Array, "B T J K"],
    v: Float[Array, "B T J K"],
    k_cache: Float[Array, "N B J S K"],
    v_cache: Float[Array, "N B J S K"],
    layer: Int[Array, ""] | int,
    filled: Int[Array, ""] | int,
    *,
    window: int | None = None,
    method: str = "auto",
    block: int | None = None,
) -> Float[Array, "B T H K"]:
    """Causal attention of T new tokens to themselves and to the `filled` ones before them: y, in q's dtype.

    q, k, v: of the new tokens. k_cache, v_cache: the caches of all N layers, of which `layer` is read. window, block:
    as `attention`'s.

    The token at position p is in slot p mod S, so a cache of S = window slots is a ring. With r = filled mod S, the
    next slot to be written, slots before r hold the newest r positions, filled - r + slot; the slots from r on were
    written one pass earlier and hold filled - r + slot - S, which is negative if they are still empty. The cache is
    read in place, block by block: neither a layer's slice nor a whole row of scores is ever copied, and blocks that
    hold nothing yet are skipped.

    method: "native" (of one token, in float32 on a CPU), or "auto": native where it is available and no block is given,
    else blocks in JAX, as for every other method of `attention`. No gradient is meant to pass here. Raises ValueError
    as `attention` does.
    """
    check_known(method, METHODS)
    _check(q, k, window)
    if method in ("auto", "native") and not block and reason_against_step(q, k_cache) is None:
        return step_native(q, k, v, k_cache, v_cache, layer, filled, window)
    heads, capacity = k.shape[2], k_cache.shape[3]
    plan = _plan(q, k, block, True, window)
    length, group = plan.n_queries, plan.group
    q_, k_, v_ = (_grouped(x, heads) for x in (_scaled(q), k, v))
    near = length if window is None else min(length, window - 1)  # queries that may see anything before themselves
    query = filled + jnp.repeat(jnp.arange(near), group)
    turned = filled % capacity  # slots before this one were written in the ring's latest pass, the others one earlier

    def allowed(slot):
        position = slot + filled - turned - jnp.where(slot < turned, 0, capacity)
        return ((position >= 0) & allowed_pairs(query, position, False, window))[None]

    q_near = q_[:, : near * group]
    sums = _add_cache(empty_sums(q_near), q_near, k_cache, v_cache, layer, filled, allowed, block)
    if near < length:
        m, l, acc = (x.at[:, : near * group].set(y) for x, y in zip(empty_sums(q_), sums, strict=True))
        sums = m, l, acc
    if length == 1:
        sums = add_keys(sums, q_, k_, v_, None)
    else:
        m, l, acc = (plan.pad_queries(x) for x in sums)
        sums = add_pairs(plan, (m, l, acc), plan.pad_queries(q_), plan.pad_keys(k_), plan.pad_keys(v_))
    return _ungrouped(mean(sums), q)


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

    The cache is read as in `attention_with_cache`, of `layer` alone; block: keys that are read at a time. A query that
    sees no key gives 0. No gradient is meant to pass here.
    """
    heads = k_cache.shape[2]
    ends = jnp.repeat(lengths, heads)[:, None, None]
    q_ = _grouped(_scaled(q), heads)
    sums = _add_cache(
        empty_sums(q_), q_, k_cache, v_cache, layer, lengths.max(), lambda slot: slot[None, None] < ends, block
    )
    return _ungrouped(mean(sums), q)


def _add_cache(sums, q, k_cache, v_cache, layer, end, allowed, block):
    """The running sums after the keys in one layer's slots before `end`; allowed(slots) is their mask."""
    _, batch, heads, capacity, size = k_cache.shape
    block = min(block or BLOCK, capacity)

    def step(sums, j):
        start = jnp.minimum(j * block, capacity - block)  # the last block may overlap the one before

        def attend(sums):
            at = tuple(jnp.asarray(index, jnp.int32) for index in (layer, 0, 0, start, 0))
            shape = (1, batch, heads, block, size)
            k_j, v_j = (lax.dynamic_slice(x, at, shape).reshape(-1, block, size) for x in (k_cache, v_cache))
            slot = start + jnp.arange(block)
            return add_keys(sums, q, k_j, v_j, allowed(slot) & (slot >= j * block))

        return lax.cond(j * block < end, attend, lambda sums: sums, sums), None

    return lax.scan(step, sums, jnp.arange(-(-capacity // block)))[0]


def _default_block(length, window):
    block = max(BLOCK, -(-length // MAX_BLOCKS))
    return block if window is None else min(block, max(WINDOW_BLOCK, window))


def _check(q, k, window):
    if q.shape[2] % k.shape[2]:
        raise ValueError(f"key heads must divide query heads, got {k.shape[2]} and {q.shape[2]}")
    if window is not None and window < 1:
        raise ValueError(f"window must be at least 1 (a query sees itself), got {window}")


def _plan(q, k, block, causal, window):
    length, n_keys = q.shape[1], k.shape[1]
    block_q, block_k = (min(block, n) if block else _even(_default_block(n, window), n) for n in (length, n_keys))
    return Plan(length, n_keys, block_q, block_k, causal, window, q.shape[2] // k.shape[2])


def _even(block, length):
    """A size near `block` for equal blocks: 1,025 tokens (1,024 patches and a class) are 2 of 513, not 3 of 512."""
    return -(-length // max(1, round(length / block)))


def _scaled(q):
    """q / sqrt(K), instead of a division of every score (exact in bfloat16 if K is a power of 4: 16, 64, 256)."""
    return q * q.shape[-1] ** -0.5


def _grouped(x, heads):  # (B, T, heads R, K) -> (B heads, T R, K)
    batch, length, _, size = x.shape
    return x.reshape(batch, length, heads, -1, size).transpose(0, 2, 1, 3, 4).reshape(batch * heads, -1, size)


def _ungrouped(y, q):  # _grouped's inverse, cut to q's shape and of its dtype
    batch, length, heads, size = q.shape
    y = y.reshape(batch, -1, *y.shape[1:])  # (B, J, T R, K)
    y = y.reshape(batch, y.shape[1], -1, heads // y.shape[1], size)[:, :, :length]
    return y.transpose(0, 2, 1, 3, 4).reshape(q.shape).astype(q.dtype)
