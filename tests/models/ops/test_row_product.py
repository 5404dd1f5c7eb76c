"""The product of a normed row as a Pallas kernel, interpreted, against the equation in float64."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from lengthscale.bench.device.flops import flops
from lengthscale.models.layers import layer_norm, rms_norm
from lengthscale.models.ops import kernel_call
from lengthscale.models.ops.platform import lowering_for
from lengthscale.models.ops.row_product import (
    ACTIVATIONS,
    RowNorm,
    reason_against_row_product,
    row_product,
    row_product_reference,
)
from tests.helpers.compare import assert_close
from tests.helpers.platforms import needs_cpu

# bfloat16: the rounding of the output, and of the norm's, which is a term's own.
TOLERANCE = {"float32": 2e-6, "bfloat16": 2**-7}


def wide(x, w, b, norm) -> Any:
    """The same in float64; to be called where jax has it."""
    x, w, b, scale, shift = (None if each is None else jnp.asarray(each, jnp.float64) for each in (x, w, b, *norm[:2]))
    return x, w, b, norm._replace(scale=scale, shift=shift)


def arguments(inputs, outputs, dtype, has_bias, is_layer_norm) -> Any:
    rng = np.random.default_rng(0)
    x, w = 2 + rng.normal(size=inputs), rng.normal(size=(outputs, inputs)) * inputs**-0.5
    b, scale, shift = (rng.normal(size=n) for n in (outputs, inputs, inputs))
    x, w, b, scale, shift = (jnp.asarray(each, dtype) for each in (x, w, b, scale, shift))
    return x, w, b if has_bias else None, RowNorm(scale, shift if is_layer_norm else None, 1e-5)


@needs_cpu
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize(
    ("inputs", "outputs", "has_bias", "is_layer_norm", "activation"),
    [
        (768, 600, True, True, None),  # two pieces, of which one overlaps; two rows a program
        (32, 1, True, False, jax.nn.silu),  # one row
        (1, 3, False, False, None),
        (700, 1030, False, True, jax.nn.gelu),  # four rows a program, and programs that overlap
        (1100, 33, True, True, jax.nn.relu),
    ],
)
def test_it_is_the_equation(inputs, outputs, has_bias, is_layer_norm, activation, dtype):
    args = arguments(inputs, outputs, dtype, has_bias, is_layer_norm)
    y = row_product(*args, activation=activation)
    assert y.dtype == dtype
    with jax.enable_x64(True):
        exact = row_product_reference(*wide(*args), activation=activation)
    assert_close(y.astype(jnp.float32), exact.astype(jnp.float32), TOLERANCE[dtype])


@needs_cpu
def test_a_mean_that_is_large_does_not_cancel():
    x, w, b, norm = arguments(300, 20, "float32", True, True)
    with jax.enable_x64(True):
        exact = row_product_reference(*wide(1000 + x, w, b, norm))
    assert_close(row_product(1000 + x, w, b, norm), exact.astype(jnp.float32), 1e-5)


@pytest.mark.parametrize("is_layer_norm", [True, False])
@pytest.mark.parametrize("activation", [None, *ACTIVATIONS])
def test_its_flops_are_those_of_one_norm_and_one_product(activation, is_layer_norm):
    x, w, b, norm = arguments(48, 520, "float32", True, is_layer_norm)
    module = (layer_norm if is_layer_norm else rms_norm)(48, nnx.Rngs(0))

    def plain(x):
        y = module(x) @ w.T + b
        return y if activation is None else activation(y)

    assert flops(lambda x: row_product(x, w, b, norm, activation), x) == flops(plain, x)


def test_it_is_for_one_row(monkeypatch):
    row = jnp.zeros((1, 1, 64))
    assert reason_against_row_product(row) is None
    assert "one row" in str(reason_against_row_product(jnp.zeros((2, 1, 64))))
    assert "at most 8192 inputs" in str(reason_against_row_product(jnp.zeros(8193)))
    monkeypatch.setattr(kernel_call, "_has_triton", lambda: False)
    with lowering_for("cuda"):
        assert "no Triton" in str(reason_against_row_product(row))
