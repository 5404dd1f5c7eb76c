"""The depth of programs whose chains are counted by hand, and of models against their length."""

import importlib
from itertools import pairwise

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from lengthscale.bench.device import correctness
from lengthscale.bench.device.depth import UnknownDepthError, depth
from lengthscale.bench.plan.cell import Cell
from lengthscale.bench.plan.measures import MEASURES
from lengthscale.bench.plan.settings import Settings
from lengthscale.bench.results.messages import Checked, Measured
from lengthscale.models.ops.wkv import wkv
from lengthscale.models.ops.wkv.equation import Decay

X = jnp.zeros((8, 5))


def test_operations_side_by_side_take_the_longer_way():
    assert depth(lambda x: x, X) == 0
    assert depth(lambda x: jnp.tanh(x) + jnp.exp(jnp.sin(x)), X) == 3
    assert depth(lambda x, y: (x * x, jnp.exp(y) + 1), X, X) == 2
    assert depth(lambda x: (jnp.exp(jnp.exp(x)), x + 1.0)[1], X) == 1  # nobody needs the exponentials


def test_moving_comparing_and_integers_are_free():
    assert depth(lambda x: jnp.where(x > 0, x.T.reshape(8, 5), x.astype(jnp.bfloat16)[::-1]), X) == 0
    assert depth(lambda i: (i + 1) * 2 - i.sum(), jnp.arange(4)) == 0


@pytest.mark.parametrize(("n", "levels"), [(1, 0), (2, 1), (3, 2), (8, 3), (9, 4)])
def test_sums_are_trees(n, levels):
    x = jnp.zeros((n, n))
    assert depth(lambda x: x.sum(0), x) == depth(lambda x: x.max(1), x) == levels
    assert depth(lambda x: jnp.cumsum(x, 0), x) == levels
    assert depth(lambda x: x @ x, x) == 1 + levels
    assert depth(lambda x: x.sum(), jnp.zeros((8, n))) == 3 + levels
    assert depth(lambda i: X.at[i].add(1.0), jnp.zeros(n, jnp.int32)) == n.bit_length()  # and what was there before


def test_convolutions_and_fourier_transforms():
    def convolve(x, w):
        return lax.conv_general_dilated(x, w, (1,), "VALID", dimension_numbers=("NWC", "WIO", "NWC"))

    assert depth(convolve, jnp.zeros((2, 8, 3)), jnp.zeros((4, 3, 5))) == 1 + 4  # 12 products
    assert depth(jnp.fft.fft, jnp.zeros(16, jnp.complex64)) == 2 * 4


def test_programs_in_programs():
    """jit, remat and custom derivatives are entered, value by value, and a cond takes its deeper branch."""

    @jax.jit
    def two(x, y):
        return jnp.exp(x), jnp.exp(jnp.exp(y))

    assert depth(lambda x: two(jnp.sin(jnp.sin(x)), x), X) == 3  # 2 + 1, and 0 + 2
    assert depth(jax.checkpoint(lambda x: sum(two(x, x))), X) == 3
    assert depth(jax.nn.relu, X) == 1

    def branch(x):
        return lax.cond(x.sum() > 0, lambda x: jnp.exp(jnp.exp(x)), lambda x: x, x)

    assert depth(branch, X) == 6 + 2  # the sum of 40 numbers comes first


@pytest.mark.parametrize("n", [1, 2, 7, 1000, 10**9])
def test_a_scan_is_as_deep_as_the_chain_through_it(n):
    """n additions; what does not need the carry is added once; what is collected waits for the last iteration."""

    def added(x, xs, body):
        return lax.scan(body, x, xs, length=n)

    assert depth(lambda x: added(x, None, lambda h, _: (h + 1.0, None))[0], X) == n
    assert depth(lambda x: added(x, None, lambda h, _: (h + jnp.exp(jnp.exp(x)), None))[0], X) == 2 + n
    assert depth(lambda x: added(x, None, lambda h, _: (h, jnp.exp(x)))[1].shape, X) == 0
    assert depth(lambda x: added(x, None, lambda h, _: (h + 1.0, jnp.exp(jnp.exp(h)))), X) == n - 1 + 2
    assert depth(lambda x: added(x, None, lambda h, _: (jnp.exp(x), None))[0], X) == 1  # it forgets its carry


def test_a_scan_in_a_scan():
    def three(h, _):
        return lax.scan(lambda h, _: (h + 1.0, None), h, None, length=3)

    assert depth(lambda x: lax.scan(three, x, None, length=7), X) == 7 * 3


def test_carries_that_change_places():
    """Each of two values is added to in every other iteration, and one of them begins 10 deeper."""

    def swapped(x, n):
        deep = lax.fori_loop(0, 10, lambda _, h: h + 1.0, x)
        return lax.scan(lambda h, _: ((h[1] + 1.0, h[0]), None), (x, deep), None, length=n)[0]

    for n in range(1, 8):
        expected = [0, 10]
        for _ in range(n):
            expected = [expected[1] + 1, expected[0]]
        assert depth(lambda x, n=n: swapped(x, n)[0], X) == expected[0]
        assert depth(lambda x, n=n: swapped(x, n)[1], X) == expected[1]


def test_a_steeper_carry_overtakes_a_deeper_one():
    """Growth that is steady for 100 iterations is not extrapolated."""

    def both(x, n):
        deep = lax.fori_loop(0, 100, lambda _, h: h + 1.0, x)

        def body(h, _):
            a, b, c = h
            return (a + 1.0, jnp.sin(jnp.sin(b)), jnp.where(a > b, a, b)), None

        return lax.scan(body, (deep, x, x), None, length=n)[0][2]

    assert [depth(lambda x, n=n: both(x, n), X) for n in (1, 50, 101, 102, 201)] == [100, 149, 200, 202, 400]


def test_reversed_scans_and_gradients():
    def chain(x, w):
        return lax.scan(lambda h, _: (jnp.sin(h) * w, None), x, None, length=50)[0].sum()

    # Forth to the cosine of the last carry but one, which the first step back waits for, and back by two products each.
    assert depth(jax.grad(chain), 1.0, 2.0) == 2 * 49 + 1 + 1 + 2 * 49


def test_an_associative_scan_grows_by_the_same_with_each_doubling():
    def sums(x):
        return lax.associative_scan(jnp.add, x)

    depths = [depth(sums, jax.ShapeDtypeStruct((n,), jnp.float32)) for n in (8, 16, 32, 64, 2**16, 2**17)]
    assert {b - a for a, b in pairwise(depths[:4])} == {depths[5] - depths[4]}
    assert depths[1] - depths[0] == 3  # two additions, and jax adds even and odd places, padded by zeros


def test_what_is_hidden_is_unknown():
    with pytest.raises(UnknownDepthError, match="while"):
        depth(lambda x: lax.while_loop(lambda x: x < 9.0, lambda x: x * 2, x), 1.0)
    x = jnp.zeros((1, 256, 128))
    with pytest.raises(UnknownDepthError, match="pallas_call"):
        depth(lambda x: wkv(Decay(-x[0, 0], x[0, 0]), x, x, method="pallas")[0], x)


@pytest.mark.parametrize("gradient", [False, True])
def test_rwkv_reads_a_sequence_in_parallel(gradient):
    """One chunk: the same more for each doubling. Chunks of C: the same more for each of them."""

    def run(length, chunk):
        k = jax.ShapeDtypeStruct((1, length, 4), jnp.float32)
        w = jax.ShapeDtypeStruct((4,), jnp.float32)

        def op(w, k):
            return wkv(Decay(w, w), k, k, method="associative", chunk=chunk)[0].sum()

        return depth(jax.grad(op, argnums=(0, 1)) if gradient else op, w, k)

    doubled = [run(length, length) for length in (64, 128, 256, 512)]
    assert len({b - a for a, b in pairwise(doubled)}) == 1
    assert doubled[-1] < 200
    chunked = [run(length, 64) for length in (512, 1024, 1536)]
    assert 0 < chunked[1] - chunked[0] < 8 * doubled[0]


def measured(model, method, length):
    cell = Cell("depth", model, "tiny", method, length, 1, "float32", 0, "text", 0)
    done = importlib.import_module(MEASURES["depth"].module).run(cell, Settings(), [].append)
    assert done.status == "ok"
    assert isinstance(done.content, Measured)
    assert not done.content.samples.samples_ms
    rows = done.content.rows
    assert [row.mode for row in rows] == ["forward", "train"]
    assert [row.remat for row in rows] == [None, "none"]
    assert all({*row.columns()} <= {*MEASURES["depth"].columns, "n_params"} for row in rows)
    assert all(row.n_params and row.flops for row in rows)
    return rows, done.message


def depths_of(model, method, length):
    rows, message = measured(model, method, length)
    assert not message
    return [row.number("depth") for row in rows]


def test_the_models_depths():
    """An RNN's grows with every token. RWKV's and attention's grow by the same with each doubling."""
    rnn = [depths_of("rnn", "sequential", length) for length in (320, 384, 448)]  # between two powers of two
    step = 1 + 5 + 1 + 1  # a product of 32 numbers, a sum and tanh, in each of 2 layers; as much on the way back
    assert [b - a for a, b in zip(rnn[0], rnn[1], strict=True)] == [64 * 2 * step, 64 * 2 * 2 * step]
    assert [b - a for a, b in zip(rnn[1], rnn[2], strict=True)] == [64 * 2 * step, 64 * 2 * 2 * step]
    for model, method in (("rwkv4", "associative"), ("transformer", "reference")):
        grown = [depths_of(model, method, length) for length in (128, 256, 512)]
        for a, b, c in zip(*grown, strict=True):
            assert 0 < b - a == c - b < 30


def test_nothing_is_run_not_even_a_check(monkeypatch):
    monkeypatch.setattr(correctness, "_results", None)
    cell = Cell("depth", "transformer", "tiny", "reference", 65_536, 1, "float32", 0, "text", 0)
    assert correctness.check(cell, [].append).content == Checked(None, None)


def test_a_kernel_that_hides_its_operations_leaves_a_blank():
    rows, message = measured("rnn", "native", 64)
    assert [row.depth for row in rows] == [None, None]
    assert message == "; ".join(
        f"{mode}: a kernel hides its operations: ffi_call rnn_forward" for mode in ("forward", "train")
    )
