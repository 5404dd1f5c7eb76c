"""The causal convolution's forms against its equation, values and gradients."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lengthscale.bench.device.flops import flops
from lengthscale.models.ops.causal_conv import METHODS, causal_conv1d, causal_conv1d_reference, pallas
from lengthscale.models.ops.platform import lowering_for
from tests.helpers.compare import assert_close
from tests.helpers.platforms import needs_kernels

TOLERANCE = 5e-6  # float32: sums of up to 3000 terms in another order, relative to the largest

# Channels that fill a vector and that do not; fewer steps than taps; a single tap; several pieces of time.
SHAPES = [(1, 64, 16, 4), (2, 37, 40, 3), (3, 2, 7, 4), (1, 5, 16, 1), (2, 2500, 33, 4)]


def cases():
    for method, shape in itertools.product(METHODS, SHAPES):
        if method != "pallas":
            yield pytest.param(method, shape, marks=needs_kernels if method == "native" else ())
        elif shape[-1] > 1:  # interpreted; its other tests are fast
            yield pytest.param(method, shape, marks=pytest.mark.slow)


def cuts():
    for method, cut in itertools.product(METHODS, (1, 2, 30)):
        marks = {"native": (needs_kernels,), "pallas": (pytest.mark.slow,) if cut < 30 else ()}
        yield pytest.param(method, cut, marks=marks.get(method, ()))


def arguments(batch, length, width, taps, dtype="float32"):
    rng = np.random.default_rng(length)
    shapes = (batch, length, width), (taps, width), (width,), (batch, taps - 1, width)
    return tuple(jnp.asarray(rng.normal(size=shape).astype(dtype)) for shape in shapes)


def gradients(conv, args, of=None):
    """By all arguments, of a sum of the results with random weights, rounded to `of` (None: to their precision)."""
    rng = np.random.default_rng(9)
    results = jax.eval_shape(conv, *args)
    cotangents = [jnp.asarray(rng.normal(size=x.shape), of or x.dtype).astype(x.dtype) for x in results]

    def total(*args):
        return sum((x * ct).sum() for x, ct in zip(conv(*args), cotangents, strict=True))

    return jax.jit(jax.grad(total, argnums=range(4)))(*args)


@pytest.mark.parametrize("silu", [False, True])
@pytest.mark.parametrize(("method", "shape"), list(cases()), ids=str)
def test_it_equals_the_reference(method, shape, silu):
    args = arguments(*shape)
    reference = partial(causal_conv1d_reference, silu=silu)
    conv = partial(causal_conv1d, silu=silu, method=method)
    assert_close(jax.jit(conv)(*args), reference(*args), TOLERANCE)
    assert_close(gradients(conv, args), gradients(reference, args), TOLERANCE)


@pytest.mark.parametrize(("method", "cut"), list(cuts()))
def test_cutting_changes_nothing(method, cut):
    x, w, bias, before = arguments(2, 32, 20, 4)
    whole, last = causal_conv1d(x, w, bias, before, silu=True, method=method)
    first, between = causal_conv1d(x[:, :cut], w, bias, before, silu=True, method=method)
    second, after = causal_conv1d(x[:, cut:], w, bias, between, silu=True, method=method)
    assert_close((jnp.concatenate([first, second], axis=1), after), (whole, last), TOLERANCE)


@needs_kernels
def test_a_nan_reaches_the_taps_that_see_it_and_no_other():
    x, w, bias, before = arguments(1, 32, 20, 4)
    y, _ = causal_conv1d(x.at[0, 10, 3].set(np.nan), w, bias, before, silu=True, method="native")
    assert np.array_equal(np.argwhere(np.isnan(y)), [(0, t, 3) for t in range(10, 14)])


@needs_kernels
def test_flops_are_those_of_the_equation():
    """K multiply-adds a number forward; backward K for dx, K for dw, and K for the sum again where SiLU needs it."""
    args = arguments(2, 64, 32, 4)
    numbers, taps = 2 * 64 * 32, 4
    for silu, forward, backward in ((False, 2 * taps, 4 * taps + 1), (True, 2 * taps + 2, 6 * taps + 7)):
        conv = partial(causal_conv1d, silu=silu, method="native")
        assert flops(conv, *args) == numbers * forward
        _, pullback = jax.vjp(lambda *args, conv=conv: conv(*args)[0], *args)
        assert flops(pullback, args[0]) == numbers * backward


def test_refusals_name_the_reason():
    args = arguments(1, 16, 4, 4)
    with pytest.raises(ValueError, match="unknown method 'nativ'; expected auto, shifted, native, pallas"):
        causal_conv1d(*args, method="nativ")
    with jax.enable_x64(True), pytest.raises(ValueError, match="float32 on a CPU, got float64"):
        causal_conv1d(*arguments(1, 16, 4, 4, "float64"), method="native")
    with pytest.raises(ValueError, match="it is for CUDA and two taps at least, got cpu and 1"):
        causal_conv1d(*arguments(1, 16, 4, 1), method="pallas")
    with lowering_for("tpu"), pytest.raises(ValueError, match="it is for CUDA and two taps at least, got tpu and 4"):
        causal_conv1d(*args, method="pallas")


@pytest.mark.parametrize(
    ("shape", "silu"),
    [
        ((2, 75, 70, 4), True),  # three chunks, of which the last ends with the sequence, and two blocks of channels
        ((1, 7, 5, 2), False),  # less than a run
        ((2, 2, 5, 6), True),  # fewer than taps
        pytest.param((2, 75, 70, 4), False, marks=pytest.mark.slow),
        pytest.param((1, 7, 5, 2), True, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_kernels_in_float64(shape, silu):
    with jax.enable_x64(True):
        args = arguments(*shape, dtype="float64")
        reference = partial(causal_conv1d_reference, silu=silu)
        conv = partial(causal_conv1d, silu=silu, method="pallas")
        assert_close(jax.jit(conv)(*args), reference(*args), 1e-13)
        assert_close(gradients(conv, args), gradients(reference, args), 1e-12)


def test_kernels_round_bfloat16_before_and_after_only():
    args = arguments(2, 45, 40, 4, "bfloat16")
    conv = partial(causal_conv1d, silu=True, method="pallas")
    found = jax.jit(conv)(*args), gradients(conv, args)
    assert {x.dtype for x in jax.tree.leaves(found)} == {jnp.dtype("bfloat16")}
    wide = [x.astype("float32") for x in args]
    reference = partial(causal_conv1d_reference, silu=True)
    found = jax.tree.map(lambda x: x.astype("float32"), found)
    assert_close(found[0], reference(*wide), 2**-8)  # bfloat16 has 8 bits
    assert_close(found[1], gradients(reference, wide, of="bfloat16"), 2**-8)


@pytest.mark.parametrize(
    ("target", "length", "calls"), [("cuda", 100, 2), ("cuda", 8, 2), ("cuda", 7, 0), ("tpu", 100, 0), ("cpu", 100, 0)]
)
def test_where_it_is_the_kernels(target, length, calls):
    args = arguments(1, length, 64, 4, "bfloat16")
    with lowering_for(target):  # one kernel forward, and one backward
        step = jax.jit(lambda *args: jax.vjp(lambda *args: causal_conv1d(*args, silu=True)[0], *args)[1](args[0]))
        text = step.trace(*args).lower(lowering_platforms=(target,)).as_text()
    assert text.count("@__gpu$xla.gpu.triton") == calls - (calls > 0)  # the outputs are not needed


def test_a_gradient_keeps_the_arguments_alone():
    args = arguments(2, 16, 64, 4)
    _, pull = jax.vjp(partial(causal_conv1d, silu=True, method="pallas"), *args)
    kept = sorted(x.shape for x in jax.tree.leaves(pull))
    assert kept == sorted([(2, 16, 64), (4, 64), (1, 64), (2, 3, 64)])


@pytest.mark.parametrize(("length", "chunk"), [(1024, 32), (4096, 64), (65_536, 512)])
def test_a_gpu_is_filled_first(length, chunk):
    """By one sequence of E = 1536, which is 24 blocks: then chunks get longer, and shares of dw fewer."""
    assert pallas._chunk(length * 24) == chunk
