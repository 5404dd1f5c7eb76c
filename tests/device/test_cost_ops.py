"""FLOPs of the ops of models/ops against counts by hand: cells, attention, rope, convolution (test_cost_scans: scans).

Where a form computes more than its equation asks for (running sums of blocks, sums as products with ones), those terms
stand apart and say so. All are exact.
"""

from functools import partial

import jax
import jax.numpy as jnp
import pytest

from lengthscale.bench.device.flops import flops
from lengthscale.models.ops.attention import Cache, Mask
from lengthscale.models.ops.attention.blocks import attention_in_blocks
from lengthscale.models.ops.attention.cache import attention_with_cache_in_blocks
from lengthscale.models.ops.causal_conv import causal_conv1d
from lengthscale.models.ops.rope import rope
from tests.helpers.hand_counts import CAUSAL, CELLS, CONV_TAP, SCORE, SILU, WHOLE, WINDOWED, seen, with_gradient, zeros


def gated_arguments(name, B, T, D):
    gates = CELLS[name][1]
    states = {"rnn": [(B, D)], "lstm": [(B, D), (B, D)], "gru": [(D,), (B, D)]}[name]
    return zeros((B, T, gates * D), (gates * D, D), *states)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("name", CELLS)
def test_gated(name, batch):
    T, D = 10, 4
    cell, gates, for_each_channel, backward = CELLS[name]
    run = partial(cell, method="sequential")
    args = gated_arguments(name, batch, T, D)
    product = 2 * gates * D * D
    forward = batch * T * (product + for_each_channel * D)
    assert flops(run, *args) == forward
    gradient = batch * T * (product + backward * D + product)  # W^T dg, and dW = sum_t dg_t h_{t-1}^T
    if name == "gru":
        gradient += batch * T * D  # db_n, a sum
    assert flops(with_gradient(run), *args) == forward + gradient


def block_pairs(T, C, mask):
    """Pairs of blocks of C with any pair that is seen."""
    return len({(t // C, s // C) for t, s in seen(T, **mask)})


def meeting(queries, keys, K):
    """A block of queries takes a block of keys into its running sums (online softmax)."""
    return (
        queries * keys * (2 * K + 2 * K)  # q . k; sum of p v
        + queries * keys * SCORE
        + queries * keys  # the sum of p is a product with ones, 2 for each
        + queries * (1 + 2)  # the maximum with the one before; exp(m - m_new), which shrinks
        + queries * (2 + 2 * K)  # l and the sum of values, shrunk and added to
    )


def ends(queries, K):
    """q / sqrt(K) before; the quotient by l, which is kept above 0, after."""
    return queries * (K + 1 + K)


@pytest.mark.parametrize("key_heads", [4, 2, 1])
@pytest.mark.parametrize(
    ("mask", "expected_pairs"),
    [(CAUSAL, 4 + 3 + 2 + 1), (WINDOWED, 4 + 3), (WHOLE, 4 * 4)],
    ids=["causal", "windowed", "whole"],
)
def test_attention(mask, expected_pairs, key_heads):
    """Grouped queries share keys and values, not arithmetic."""
    B, T, H, K, C = 2, 64, 4, 8, 16
    pairs = block_pairs(T, C, mask)
    assert pairs == expected_pairs
    args = zeros((B, T, H, K), *[(B, T, key_heads, K)] * 2)
    run = partial(attention_in_blocks, mask=Mask(**mask), block=C)
    forward = B * H * (pairs * meeting(C, C, K) + ends(T, K))
    assert flops(run, *args) == forward
    of_a_pair = (
        C * C * 5 * 2 * K  # q . k again, dy . v, dv = p dy, dq = ds k, dk = ds q
        + C * C * 2  # exp(s - lse)
        + C * C * 2  # p (dp - delta)
        + C * K  # dq, added to its sum over the pairs
    )
    of_a_head = (
        T * 2 * K  # delta = y . dy
        + T * K  # dq / sqrt(K)
        + T * 3  # lse = m + log(max(l, tiny)), kept for it
    )
    sums = B * key_heads * pairs * 2 * C * K  # dk and dv, added to theirs
    backward = B * H * (pairs * of_a_pair + of_a_head) + sums
    assert flops(with_gradient(run), *args) == forward + backward


@pytest.mark.parametrize("key_heads", [4, 2])
def test_attention_step(key_heads):
    """Decoding: one query a head, over a whole cache, block by block, and over its own key."""
    B, H, K, capacity, C, layers = 2, 4, 8, 64, 16, 3
    q, k, v, cache = zeros((B, 1, H, K), *[(B, 1, key_heads, K)] * 2, (layers, B, key_heads, capacity, K))
    count = flops(partial(attention_with_cache_in_blocks, block=C), q, k, v, Cache(cache, cache, 1, 40))
    own = meeting(1, 1, K) - 1  # of one key there is no maximum to take
    assert count == B * H * (capacity // C * meeting(1, C, K) + own + ends(1, K))


def test_rope():
    B, T, H, K = 2, 16, 3, 8
    angles = T * K // 2 * (1 + 2)  # t theta^(-2i/K), its cosine and sine
    turned = B * T * H * K // 2 * 2 * 3  # of each pair two numbers: two products and a sum
    assert flops(rope, *zeros((B, T, H, K)), jnp.arange(T)) == angles + turned


@pytest.mark.parametrize("silu", [False, True])
def test_causal_conv(silu):
    B, T, E, K = 2, 16, 3, 4
    args = zeros((B, T, E), (K, E), (E,), (B, K - 1, E))
    form = 1  # the sum begins with 0
    count = flops(partial(causal_conv1d, silu=silu, method="shifted"), *args)
    assert count == B * T * E * (CONV_TAP * K + form + SILU * silu)


@pytest.mark.parametrize("silu", [False, True])
def test_causal_conv_by_kernels(silu):
    """A chunk of 32 of a sequence of 64; the gradient takes K-1 tokens of the chunk behind as well."""
    B, T, E, K, chunk = 2, 64, 64, 4, 32
    run = partial(causal_conv1d, silu=silu, method="pallas")
    args = zeros((B, T, E), (K, E), (E,), (B, K - 1, E))
    sigmoid = 4  # 1 / (1 + 2^{-a log2 e})
    forward = CONV_TAP * K + silu * (sigmoid + 1)
    slope = (
        CONV_TAP * K  # the sum again
        + sigmoid
        + 4  # s + (a s) (1 - s)
        + 1  # times dy
    )
    g = CONV_TAP * K + 1 + silu * slope  # and dw, dbias
    dx = CONV_TAP * K - 1
    chunks = T // chunk
    of_a_chunk = (chunk + K - 1) * g + chunk * dx + K + 1  # the last: the shares of dw and dbias, added up
    assert flops(lambda *args: run(*args)[0], *args) == B * T * E * forward

    def gradient(*args):
        _, pull = jax.vjp(lambda x, w, bias: run(x, w, bias, args[3])[0], *args[:3])
        return pull(args[0])

    assert flops(gradient, *args) == B * chunks * E * of_a_chunk
