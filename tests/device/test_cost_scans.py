"""FLOPs of the scans of models/ops against counts by hand: linear and selective scan, WKV, S4D (others: test_cost_ops).

Where a form computes more than its equation asks for (the passes of a prefix, sums as products with ones), those terms
stand apart and say so. All are exact, but for the gradient that autodiff makes of a selective scan.
"""

import math
from functools import partial

import jax.numpy as jnp
import pytest

from lengthscale.bench.device.flops import flops
from lengthscale.models.ops.linear_scan import linear_scan
from lengthscale.models.ops.s4d import System, s4d
from lengthscale.models.ops.selective_scan import Inputs, selective_scan
from lengthscale.models.ops.wkv import Decay, empty_state, wkv
from tests.helpers.hand_counts import (
    RECURRENCE,
    SCAN_CHANNEL,
    SCAN_CHANNEL_BACKWARD,
    SCAN_STATE,
    SCAN_STATE_BACKWARD,
    with_gradient,
    zeros,
)

# Prefix sums by halves (jax.lax.associative_scan): pairs are composed, their prefix is taken, and each of its results
# is composed with the element behind it; the results are woven together by a sum of two that are padded with zeros.


def prefix(length, composed, decayed):
    """FLOPs of a prefix over so many elements, `composed` for each composition.

    decayed: for what else a composition makes, which no result is made of, only further compositions of pairs.
    """
    if length < 2:
        return 0
    pairs, behind = length // 2, (length - 1) // 2
    further = pairs * decayed if pairs > 1 else 0
    return pairs * composed + further + prefix(pairs, composed, decayed) + behind * composed


def woven(length):
    """Numbers that are woven, over all levels of a prefix."""
    return 0 if length < 2 else length + woven(length // 2)


def prefix_of_recurrence(length):
    """For each channel: a_2 b_1 + b_2 of two neighbours, and a_2 a_1."""
    return prefix(length, composed=2, decayed=1) + woven(length) + 2  # h0 comes in as b_1 + a_1 h0


def test_prefix_by_hand():
    """Of 8: 4 + 2 + 1 pairs, 3 + 1 behind; the products of a for the first two levels; 8 + 4 + 2 woven; h0."""
    assert prefix_of_recurrence(8) == 2 * (4 + 2 + 1) + 2 * (3 + 1) + (4 + 2) + (8 + 4 + 2) + 2


def recurrence(method, length, chunk):
    """For each channel, all steps."""
    return {
        "sequential": RECURRENCE * length,
        "associative": prefix_of_recurrence(length),
        "chunked": -(-length // chunk) * prefix_of_recurrence(chunk),  # the last chunk filled up
    }[method]


@pytest.mark.parametrize("length", [8, 13, 32])
@pytest.mark.parametrize("method", ["sequential", "associative", "chunked"])
def test_linear_scan(method, length):
    """Backwards the same recurrence makes lambda_t; db_t = lambda_t, da_t = lambda_t h_{t-1}, dh_0 = a_1 lambda_1."""
    B, D, chunk = 2, 3, 4
    run = partial(linear_scan, method=method, chunk=chunk)
    args = zeros((B, length, D), (B, length, D), (B, D))
    forward = B * D * recurrence(method, length, chunk)
    assert flops(run, *args) == forward
    assert flops(with_gradient(run), *args) == 2 * forward + B * D * (length + 1)


def test_complex_linear_scan():
    """A complex product is 4 products and 2 sums, a complex sum 2."""
    B, T, D = 2, 10, 3
    args = zeros((B, T, D), (B, T, D), dtype=jnp.complex64)
    assert flops(partial(linear_scan, method="sequential"), *args) == B * T * D * (6 + 2)


def scan_arguments(B, T, E, N):
    A, h0, *x = zeros((E, N), (B, N, E), (B, T, E), (B, T, E), (B, T, N), (B, T, N))
    return Inputs(*x), A, h0


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("method", ["sequential", "chunked", "associative"])
def test_selective_scan(method, batch):
    T, E, N, chunk = 32, 8, 4, 16
    states, channels = T * E * N, T * E
    count = SCAN_STATE * states + SCAN_CHANNEL * channels
    if method == "associative":  # the recurrence, 2 a step, as a prefix
        count += T // chunk * E * N * prefix_of_recurrence(chunk) - RECURRENCE * states
    run = partial(selective_scan, method=method, chunk=chunk)
    assert flops(run, *scan_arguments(batch, T, E, N)) == batch * count


def test_selective_scan_fills_up_its_last_chunk():
    E, N = 8, 4
    run = partial(selective_scan, method="chunked", chunk=16)
    assert flops(run, *scan_arguments(1, 33, E, N)) == 48 * (SCAN_STATE * E * N + SCAN_CHANNEL * E)


def test_gradient_of_selective_scan():
    """By hand in chunks: exact. By autodiff (sequential) what is shared between the gradients differs a little."""
    T, E, N, chunk = 32, 8, 4, 16
    states, channels = T * E * N, T * E
    forward = SCAN_STATE * states + SCAN_CHANNEL * channels
    equation = forward + SCAN_STATE_BACKWARD * states + SCAN_CHANNEL_BACKWARD * channels
    form = (
        states  # exp(dt A) times the 1 of its own derivative, for any rule of discretisation
        + states  # dh h exp(dt A) and dh exp(dt A), the product not shared
        + states  # A . dl as a product and a product with ones
        + T // chunk * E * N  # dA, summed over the chunks
    )
    args = scan_arguments(1, T, E, N)
    by_hand, by_autodiff = (
        flops(with_gradient(partial(selective_scan, method=method, chunk=chunk)), *args)
        for method in ("chunked", "sequential")
    )
    assert by_hand == equation + form
    assert by_autodiff == pytest.approx(equation, rel=0.1)


# WKV: of each token and channel.

WEIGHTS = 4  # e^{x - max} and e^{y - max}: one of them is 1, the other e^{-|x - y|}
WKV_READ = (
    1  # u + k
    + WEIGHTS
    + 3  # e^{p-q} aa + e^{u+k-q} v
    + 2  # the same without v
    + 1  # their quotient
)


def wkv_arguments(B, T, D):
    return Decay(*zeros((D,), (D,))), *zeros((B, T, D), (B, T, D))


@pytest.mark.parametrize("chunk", [64, 8])
def test_wkv_sequential(chunk):
    """A chunk of 64 holds all of the tokens, of 8 an eighth."""
    B, T, D = 2, 64, 3
    update = (
        2  # p' = max(p + w, k)
        + 1  # p + w, again
        + WEIGHTS
        + 1  # e^{k-p'} v
        + 2 * RECURRENCE  # aa' and bb'
    )
    args = wkv_arguments(B, T, D)
    assert flops(partial(wkv, method="sequential", chunk=chunk), *args) == B * T * D * (update + WKV_READ)


def test_wkv_of_one_token():
    """The recurrence itself: max and exponentials of both pairs (2 + 2 + 3 and 2 + 3 + 2), y, aa' and bb'."""
    B, D = 2, 3
    args = wkv_arguments(B, 1, D)
    state = empty_state(B, D, jnp.float32)
    assert flops(wkv, *args, state) == B * D * ((2 + 2 + 3) + (3 + 2 + 1) + (2 + 3 + 2) + (3 + 2))


@pytest.mark.parametrize("chunk", [32, 8])
def test_wkv_associative(chunk):
    B, T, D = 2, 32, 3
    compose = (
        2  # p_1 + n_2 w
        + WEIGHTS
        + (2 + 1)  # p_1 + n_2 w, again, and the maximum with p_2
        + 2 * 3  # e^{..} aa_1 + e^{..} aa_2, and of bb
    )
    runs = chunk + 1  # the state before is one more
    states = B * D * (prefix(runs, compose, decayed=0) + 3 * woven(runs))  # aa, bb and p
    lengths = prefix(runs, composed=0, decayed=1)  # n_1 + n_2, one number for all channels
    args = wkv_arguments(B, T, D)
    expected = T // chunk * (states + lengths) + B * T * D * WKV_READ
    assert flops(partial(wkv, method="associative", chunk=chunk), *args) == expected


AFTER = (  # a kernel's step from one state to the next
    1  # p + w
    + WEIGHTS  # e^{-|x - y|} as a power of 2: the product with log2(e) in place of the sign
    + 2 * 3  # e^{..} aa_1 + e^{..} aa_2, and of bb, which a token has 1 of
    + 1  # the maximum
)
READ = WKV_READ + 1  # the quotient as a product with 1 / the denominator


def wkv_kernels(T, chunk, borders):
    """For each channel, forward and backward. borders: between chunks, a multiple of a run."""
    forward = (
        T * AFTER  # the ends of the chunks
        + borders * (1 + AFTER)  # n w; the state before each chunk
        + T * (AFTER + READ)  # the outputs
    )
    pull = (
        AFTER
        + READ
        + 3  # the decays before it, e^{p-q}, dy and 1 / the denominator: g
        + 1  # p + w, again
        + 1  # the decays
        + 1  # the sum of g
        + 2  # that of g y
    )
    gradient = (
        AFTER
        + READ
        + 1  # dy / the denominator: g
        + 3  # e^{u+k-q} g (v - y)
        + 1  # p + w, again
        + 4  # dk: added to that, e^{k-p'} (v daa + dbb)
        + 2  # and dp, where it ends
        + 6  # dw
        + 1  # du
        + 3  # dv
        + 3
        + 4  # daa, dbb
    )
    not_needed = AFTER - 1 - WEIGHTS  # the state after a run
    backward = T * (pull + gradient) - T // 8 * not_needed + borders * (2 + 2 + 1)
    return forward, backward + 2 * T // chunk + 4  # sums of dw and du over the chunks; dp of the last state


@pytest.mark.parametrize(("length", "chunk"), [(64, 8), (96, 32)])
def test_wkv_by_kernels(length, chunk):
    B, D = 2, 32
    run, args = partial(wkv, method="pallas", chunk=chunk), wkv_arguments(B, length, D)
    forward, backward = wkv_kernels(length, chunk, borders=8)
    assert flops(run, *args) == B * D * forward
    assert flops(with_gradient(run), *args) == B * D * (forward + backward)


# S4D: N complex states for each of H channels.

PRODUCT, SUM = 6, 2  # of complex numbers


def powers_of_a(n, next_one=True):
    """A table of 1, a, ..., a^{n-1}, and a^n where it is used: one after the other up to 8, else of two tables."""
    if n <= 8:
        return (n - 1 + next_one) * PRODUCT
    root = 1 << ((n - 1).bit_length() + 1) // 2
    return powers_of_a(root) + powers_of_a(n // root, next_one=False) + (n + next_one) * PRODUCT


def impulse_response(length, root):
    """For each state: K_l = 2 Re(b c a^l) as the product of two tables of powers, of `root` and length / root."""
    return (
        PRODUCT  # b c
        + PRODUCT  # times 2
        + powers_of_a(root)
        + powers_of_a(length // root, next_one=False)
        + 2 * 2 * length  # Re(x y): two products, summed with all other states'
    )


def driven(B, T, C):
    """For each state: what the chunks add, sum_j a^{C-1-j} b u_j."""
    return C * PRODUCT + B * T * 2 * 2


def s4d_arguments(B, T, H, N):
    return *zeros((B, T, H)), System(*zeros(*[(H, N)] * 3, dtype=jnp.complex64))


@pytest.mark.parametrize("batch", [1, 2])
def test_s4d_by_recurrence(batch):
    T, H, N, C, root = 64, 3, 4, 16, 4
    states = (
        powers_of_a(C)
        + driven(batch, T, C)
        + batch * T // C * (PRODUCT + SUM)  # x = a^C x + that
        + impulse_response(C, root)
        + (2 + C) * PRODUCT  # 2 c a^{1+d}, what a state gives to the tokens of the chunk after it
        + batch * T * 2 * 2  # Re(that times x)
    )
    outputs = batch * T * (2 * C + 1)  # K times the chunk's inputs, a square matrix half of zeros; added to
    run = partial(s4d, method="recurrence", chunk=C)
    assert flops(run, *s4d_arguments(batch, T, H, N)) == H * N * states + H * outputs


@pytest.mark.parametrize("batch", [1, 2])
def test_s4d_by_convolution(batch):
    T, H, N, root = 64, 3, 4, 8
    size = 2 * T
    transform = 2.5 * size * math.log2(size)  # of real numbers: half of 5 n log2(n)
    last = (
        powers_of_a(root)
        + driven(batch, T, root)
        + powers_of_a(T // root, next_one=False)
        + batch * T // root * (PRODUCT + SUM)  # sum_i (a^C)^{I-1-i} that
    )
    states = impulse_response(T, root) + last
    outputs = (
        transform  # of K
        + batch * 2 * transform  # of u, and back
        + batch * (size // 2 + 1) * PRODUCT
    )
    run = partial(s4d, method="convolution")
    assert flops(run, *s4d_arguments(batch, T, H, N)) == H * N * states + H * outputs
