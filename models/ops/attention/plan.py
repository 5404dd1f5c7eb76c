"""How attention is cut into blocks of queries and of keys, and which pairs of blocks meet.

The pairs of (query block, key block) that hold anything are listed when the program is traced, so that the masked half
of a causal product is neither computed nor counted; only pairs on the mask's edge pay for a mask.

Axes: B batch, T time, H query heads, J key heads, K head size; in blocks G = B J, Q = T R rows of queries, S keys. The
R = H / J query heads that share a key head are neighbours in time, so that they are rows of one product with its keys,
which are never repeated in memory.
"""

from collections.abc import Callable
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import Bool, Float, Int, PyTree, Shaped

from lengthscale.models.ops.attention.equation import Mask

# Of queries and of keys; shorter sequences are one block of their own length. On one core of a CPU 128 are as fast or a
# little faster, but XLA does not share so small a product among the cores: on two, 512 are 1.9x faster (T=8192).
BLOCK = 512
MAX_BLOCKS = 512  # a list of the pairs of more would be long: beyond, the blocks grow
WINDOW_BLOCK = 128  # the smallest block for a window: half of what a block as wide as the window computes is masked


@dataclass(frozen=True)
class Plan:
    """Sizes of a blocked product of queries and keys, from which its pairs of blocks are known when it is traced.

    block_q, block_k: how many queries and keys make a block.
    """

    n_queries: int
    n_keys: int
    block_q: int
    block_k: int
    mask: Mask
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
        causal, window = self.mask.causal, self.mask.window
        whole, edge = [], []
        for i in range(-(-self.n_queries // self.block_q)):
            q_first, q_last = i * self.block_q, (i + 1) * self.block_q - 1
            for j in range(-(-self.n_keys // self.block_k)):
                k_first, k_last = j * self.block_k, (j + 1) * self.block_k - 1
                after = causal and k_first > q_last
                before = window is not None and k_last <= q_first - window
                if after or before:
                    continue
                cut = (
                    k_last >= self.n_keys
                    or (causal and k_last > q_first)
                    or (window is not None and k_first <= q_last - window)
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
                    seen = block_of(key_mask, ij[1], self.block_k)[:, None]
                    allowed = seen if allowed is None else allowed & seen
                return body(carry, ij[0], ij[1], allowed), None

            carry, _ = lax.scan(step, carry, pairs)
        return carry

    def _edge(self, i, j):
        query = i * self.block_q + jnp.repeat(jnp.arange(self.block_q), self.group)
        key = j * self.block_k + jnp.arange(self.block_k)
        return (self.mask.allowed(query, key) & (key < self.n_keys))[None]


def plan_for(q: Float[Array, "B T H K"], k: Float[Array, "B S J K"], mask: Mask, block: int | None) -> Plan:
    """The plan for these queries and keys. block: how many of each make a block (None: about BLOCK)."""
    length, n_keys = q.shape[1], k.shape[1]
    block_q, block_k = (min(block, n) if block else _even(_default_block(n, mask.window), n) for n in (length, n_keys))
    return Plan(length, n_keys, block_q, block_k, mask, q.shape[2] // k.shape[2])


def block_of(x: Shaped[Array, "G S ..."], index: Int[Array, ""], size: int) -> Shaped[Array, "G {size} ..."]:
    """Block number `index` of x, along its second axis."""
    return lax.dynamic_slice_in_dim(x, index * size, size, axis=1)


def put_block(
    x: Shaped[Array, "*S"], index: Int[Array, ""], size: int, value: Shaped[Array, "..."]
) -> Shaped[Array, "*S"]:
    """x with its block number `index` replaced, along its second axis."""
    return lax.dynamic_update_slice_in_dim(x, value, index * size, axis=1)


def scaled(q: Float[Array, "B T H K"]) -> Float[Array, "B T H K"]:
    """q / sqrt(K), instead of a division of every score (exact in bfloat16 if K is a power of 4: 16, 64, 256)."""
    return q * q.shape[-1] ** -0.5


def grouped(x: Float[Array, "B T H K"], heads: int) -> Float[Array, "G Q K"]:
    """x as (B heads, T R, K), where heads is the number of key heads J and R = H / J."""
    batch, length, _, size = x.shape
    return x.reshape(batch, length, heads, -1, size).transpose(0, 2, 1, 3, 4).reshape(batch * heads, -1, size)


def ungrouped(y: Float[Array, "G Q K"], q: Float[Array, "B T H K"]) -> Float[Array, "B T H K"]:
    """The inverse of `grouped`, cut to the shape of the queries q, and of their dtype."""
    batch, length, heads, size = q.shape
    y = y.reshape(batch, -1, *y.shape[1:])  # (B, J, T R, K)
    y = y.reshape(batch, y.shape[1], -1, heads // y.shape[1], size)[:, :, :length]
    return y.transpose(0, 2, 1, 3, 4).reshape(q.shape).astype(q.dtype)


def _default_block(length, window):
    block = max(BLOCK, -(-length // MAX_BLOCKS))
    return block if window is None else min(block, max(WINDOW_BLOCK, window))


def _even(block, length):
    """A size near `block` for equal blocks: 1,025 tokens (1,024 patches and a class) are 2 of 513, not 3 of 512."""
    return -(-length // max(1, round(length / block)))


def _pad(x, missing):
    return jnp.pad(x, [(0, 0), (0, missing)] + [(0, 0)] * (x.ndim - 2)) if missing else x
