"""The causal convolution's forms against its equation, values and gradients."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lengthscale.bench.device.flops import flops
from lengthscale.models.ops.causal_conv import METHODS, causal_conv1d, causal_conv1d_reference
from tests.helpers.compare import assert_close
from tests.helpers.platforms import needs_kernels

TOLERANCE = 5e-6  # float32: sums of up to 3000 terms in another order, relative to the largest

FORMS = [pytest.param(name, marks=needs_kernels if name == "native" else ()) for name in METHODS]
# Channels that fill a vector and that do not; fewer steps than taps; a single tap; several pieces of time.
SHAPES = [(1, 64, 16, 4), (2, 37, 40, 3), (3, 2, 7, 4), (1, 5, 16, 1), (2, 2500, 33, 4)]


def arguments(batch, length, width, taps, dtype="float32"):
    rng = np.random.default_rng(length)
    shapes = (batch, length, width), (taps, width), (width,), (batch, taps - 1, width)
    return tuple(jnp.asarray(rng.normal(size=shape).astype(dtype)) for shape in shapes)


def gradients(conv, args):
    rng = np.random.default_rng(9)
    cotangents = [rng.normal(size=x.shape).astype(x.dtype) for x in jax.eval_shape(conv, *args)]

    def total(*args):
        return sum((x * ct).sum() for x, ct in zip(conv(*args), cotangents, strict=True))

    return jax.jit(jax.grad(total, argnums=range(4)))(*args)


@pytest.mark.parametrize("silu", [False, True])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("method", FORMS)
def test_it_equals_the_reference(method, shape, silu):
    args = arguments(*shape)
    reference = partial(causal_conv1d_reference, silu=silu)
    conv = partial(causal_conv1d, silu=silu, method=method)
    assert_close(jax.jit(conv)(*args), reference(*args), TOLERANCE)
    assert_close(gradients(conv, args), gradients(reference, args), TOLERANCE)


@pytest.mark.parametrize("method", FORMS)
@pytest.mark.parametrize("cut", [1, 2, 30])
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
    with pytest.raises(ValueError, match="unknown method 'nativ'; expected auto, shifted, native"):
        causal_conv1d(*args, method="nativ")
    with jax.enable_x64(True), pytest.raises(ValueError, match="float32 on a CPU, got float64"):
        causal_conv1d(*arguments(1, 16, 4, 4, "float64"), method="native")
