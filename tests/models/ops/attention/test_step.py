"""The kernels of attention of one token to a cache (step.py), interpreted, against the equation in float64."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lengthscale.bench.device.flops import flops
from lengthscale.models.ops.attention import Cache, Mask, attention_with_cache, attention_with_cache_reference
from lengthscale.models.ops.attention.step import reason_against_step_pallas, step_pallas
from lengthscale.models.ops.platform import lowering_for
from tests.helpers.compare import assert_close
from tests.helpers.platforms import needs_cpu

LAYERS = 3
TOLERANCE = {"float32": 1e-6, "bfloat16": 2**-8}  # bfloat16: the rounding of the output


def arguments(shape, slots, dtype) -> Any:
    """Queries, keys and values of the new token, and the stacked caches of both."""
    batch, heads, shared, size = shape
    rng = np.random.default_rng(0)
    shapes = (batch, 1, heads, size), *[(batch, 1, shared, size)] * 2, *[(LAYERS, batch, shared, slots, size)] * 2
    return [jnp.asarray(rng.normal(size=shape), dtype) for shape in shapes]


@needs_cpu
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize(
    ("shape", "slots", "filled", "window"),
    [
        ((1, 2, 2, 16), 5, 0, None),  # no token before
        ((1, 2, 2, 16), 1, 1, 1),  # a ring of one slot
        ((2, 4, 1, 16), 70, 33, None),  # four query heads to a key head; blocks that hold nothing
        ((1, 3, 1, 32), 300, 299, None),  # three of them, padded to four; parts of the slots; a block that overlaps
        ((2, 6, 2, 32), 40, 95, 40),  # a full ring
        ((1, 2, 2, 16), 64, 64, 20),  # a window inside a full ring
    ],
)
def test_it_is_the_equation(shape, slots, filled, window, dtype):
    q, k, v, k_cache, v_cache = arguments(shape, slots, dtype)
    y = step_pallas(q, k, v, Cache(k_cache, v_cache, 1, filled), Mask(window=window))
    assert y.dtype == dtype
    with jax.enable_x64(True):
        q, k, v, k_cache, v_cache = (jnp.asarray(x, jnp.float64) for x in (q, k, v, k_cache, v_cache))
        exact = attention_with_cache_reference(q, k, v, Cache(k_cache, v_cache, 1, filled), window=window)
    assert_close(y.astype(jnp.float32), exact.astype(jnp.float32), TOLERANCE[dtype])


@needs_cpu
def test_large_scores_do_not_overflow():
    q, k, v, k_cache, v_cache = arguments((1, 2, 2, 16), 200, "float32")
    y = step_pallas(300 * q, k, v, Cache(k_cache, v_cache, 0, 150), Mask())
    exact = attention_with_cache_reference(300 * q, k, v, Cache(k_cache, v_cache, 0, 150))
    assert_close(y, exact, 1e-4)  # scores of 5,000 have 5e-4 of rounding


@pytest.mark.parametrize(
    ("shape", "reason"),
    [
        ((1, 2, 2, 24), "heads of a power of two up to 128, got 1 and 24"),
        ((1, 2, 2, 256), "got 1 and 256"),
        ((1, 9, 1, 16), "at most 8 query heads to a key head, got 9 to 1"),
    ],
)
def test_what_it_does_not_take(shape, reason):
    q, *_, k_cache, v_cache = arguments(shape, 10, "float32")
    assert reason in str(reason_against_step_pallas(q, Cache(k_cache, v_cache, 0, 3)))


def test_cuda_takes_it_for_one_token_and_its_flops_are_the_equations():
    """Scores and weighted values, 4 for each channel of each slot, and some operations for each slot."""
    heads, size, slots = 4, 64, 1024
    q, k, v, k_cache, v_cache = arguments((1, heads, heads, size), slots, "bfloat16")

    def run(q, k, v, k_cache, v_cache):
        return attention_with_cache(q, k, v, Cache(k_cache, v_cache, 1, slots - 1))

    with lowering_for("cuda"):
        jaxpr = jax.make_jaxpr(run)(q, k, v, k_cache, v_cache)
        counted = flops(run, q, k, v, k_cache, v_cache)
    assert "attention_step" in str(jaxpr)
    assert counted == pytest.approx(4 * heads * size * slots, rel=0.2)
    two = jnp.concatenate([q, q], axis=1), *(jnp.concatenate([x, x], axis=1) for x in (k, v))
    with lowering_for("cuda"):
        assert "attention_step" not in str(jax.make_jaxpr(run)(*two, k_cache, v_cache))
