"""The kernels of attention for CUDA (pallas.py), interpreted, against the equation in float64."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lengthscale.bench.device.flops import flops, work_of_kernels
from lengthscale.bench.device.precision import precision_of
from lengthscale.models.ops import native
from lengthscale.models.ops.attention import CAUSAL, Mask, attention, attention_reference, pallas
from lengthscale.models.ops.attention.flash import Block, Form
from lengthscale.models.ops.platform import lowering_for
from tests.helpers.compare import assert_close
from tests.helpers.platforms import needs_cpu
from tests.models.ops.selective_scan.test_pallas import arrays

# float32: sums of up to a few hundred terms. bfloat16: its rounding, of probabilities and outputs.
TOLERANCE = {"float32": 2e-6, "bfloat16": 2**-7}
# Blocks so small that short sequences have several, of more queries than keys and of fewer; heads in one piece and two.
SMALL = Form(Block(16, 32, 4, 1, 16), Block(32, 16, 4, 1, 8), Block(16, 32, 4, 1, 16))
TRITON = "@__gpu$xla.gpu.triton"


def kernels(q, k, v, mask=CAUSAL, key_mask=None):
    return attention(q, k, v, mask, key_mask=key_mask, method="pallas")


@pytest.fixture
def small_blocks(monkeypatch):
    for name in ("IEEE", "MATRIX_UNITS"):
        monkeypatch.setattr(pallas, name, dict.fromkeys(pallas.SIZES, SMALL))


def arguments(lengths, heads=(4, 2), *, batch=2, size=16, dtype="float32") -> Any:
    rng = np.random.default_rng(0)
    (length, n_keys), (heads, shared) = lengths, heads
    shapes = (batch, length, heads, size), *[(batch, n_keys, shared, size)] * 2
    return [jnp.asarray(rng.normal(size=shape), dtype) for shape in shapes]


def outputs_and_gradients(function, args):
    """Of a random sum of the outputs, by queries, keys and values."""
    weights = np.random.default_rng(9).normal(size=args[0].shape)

    @jax.jit
    def both(*args):
        y, pull_back = jax.vjp(function, *args)
        return y, *pull_back(jnp.asarray(weights, y.dtype))

    return both(*args)


def assert_equals_the_equation(args, mask, key_mask=None):
    dtype = args[0].dtype.name
    found = outputs_and_gradients(partial(kernels, mask=mask, key_mask=key_mask), args)
    assert {x.dtype.name for x in found} == {dtype}
    with jax.enable_x64(True):
        exact = [x.astype("float64") for x in args]
        exact = outputs_and_gradients(partial(attention_reference, mask=mask, key_mask=key_mask), exact)
    assert_close([x.astype("float32") for x in found], exact, TOLERANCE[dtype])


CASES = [
    ((70, 70), (4, 2), {}),  # grouped queries, blocks in part padded
    ((96, 96), (3, 1), {"window": 20}),  # blocks that are not visited, before and behind
    ((45, 90), (4, 1), {"causal": False}),
    ((75, 75), (2, 1), {"causal": False, "window": 7}),
    *(
        pytest.param(*case, marks=pytest.mark.slow)
        for case in (
            ((1, 1), (2, 2), {}),
            ((40, 40), (2, 2), {"window": 1}),
            ((90, 13), (2, 2), {"causal": False}),
            ((64, 32), (2, 1), {"causal": False}),  # nothing is padded
        )
    ),
]
# One of each kind of mask, of which the first is a fast test.
MASKS = [{"causal": False}, *(pytest.param(mask, marks=pytest.mark.slow) for mask in ({}, {"window": 30}))]


@needs_cpu
@pytest.mark.parametrize(("lengths", "heads", "mask"), CASES)
def test_they_are_the_equation(lengths, heads, mask, small_blocks):
    assert_equals_the_equation(arguments(lengths, heads), Mask(**mask))


@needs_cpu
@pytest.mark.parametrize("mask", MASKS)
def test_bfloat16_is_multiplied_as_it_is_and_summed_in_float32(mask, small_blocks):
    assert_equals_the_equation(arguments((50, 50), dtype="bfloat16"), Mask(**mask))


@needs_cpu
@pytest.mark.slow
@pytest.mark.parametrize("precision", ["highest", "tensorfloat32"])  # which a CPU multiplies alike, in other blocks
@pytest.mark.parametrize("size", pallas.SIZES)
@pytest.mark.parametrize("mask", [{}, {"window": 100}, {"causal": False}])
def test_the_blocks_of_every_head_size(size, precision, mask):
    with jax.default_matmul_precision(precision):
        assert_equals_the_equation(arguments((300, 300), batch=1, size=size), Mask(**mask))


@needs_cpu
@pytest.mark.parametrize("mask", MASKS)
def test_a_query_that_sees_no_key_gives_0(mask, small_blocks):
    """Of the first sequence some keys are masked, of the second all."""
    key_mask = jnp.asarray(np.random.default_rng(1).random((2, 50)) < 0.5).at[1].set(False)
    args = arguments((50, 50))
    assert_equals_the_equation(args, Mask(**mask), key_mask)
    for x in outputs_and_gradients(partial(kernels, mask=Mask(**mask), key_mask=key_mask), args):
        np.testing.assert_array_equal(x[1], 0)


@needs_cpu
def test_large_scores_neither_overflow_nor_give_a_wrong_mean(small_blocks):
    """Each query attends to its own key alone; all others lie far below."""
    q = 30 * jnp.eye(48, 64)[None, :, None] + 5.0
    v = arguments((48, 48), (1, 1), batch=1, size=64)[2]
    y, *gradients = outputs_and_gradients(kernels, (q, q, v))
    expected, *by = outputs_and_gradients(attention_reference, (q, q, v))
    assert_close(y, v, TOLERANCE["float32"])
    assert_close((y, *gradients), (expected, *by), 2e-5)  # dx is a difference of equals, times keys of 35


@needs_cpu
def test_they_run_under_vmap_and_recomputed(small_blocks):
    q, k, v = arguments((40, 40), batch=3)

    def one(q, k, v):
        return kernels(q[None], k[None], v[None])[0]

    expected = outputs_and_gradients(attention_reference, (q, k, v))
    assert_close(outputs_and_gradients(jax.vmap(jax.checkpoint(one)), (q, k, v)), expected, TOLERANCE["float32"])


def test_what_they_do_not_take():
    args = arguments((8, 8), size=24)
    with pytest.raises(
        ValueError, match=r"method pallas does not fit: it needs .* heads of 16, 32, 64, 128, got .* 24"
    ):
        kernels(*args)
    wide = jax.ShapeDtypeStruct((1, 8, 2, 16), "float64")
    assert "one of float32, bfloat16, float16 and" in str(pallas.reason_against_pallas(wide))
    with lowering_for("tpu"), pytest.raises(ValueError, match=r"it is CUDA's .*, not for tpu"):
        kernels(*arguments((8, 8)))


@pytest.mark.parametrize(
    ("dtype", "mask"), [("float32", {}), ("bfloat16", {"window": 30}), ("float32", {"causal": False})]
)
def test_a_program_for_cuda_has_one_kernel_forward_and_two_for_the_gradient(dtype, mask):
    args = arguments((65, 65), size=64, dtype=dtype)
    run = partial(kernels, mask=Mask(**mask))
    step = partial(outputs_and_gradients, run)
    with lowering_for("cuda"):
        forward, both = (
            jax.jit(f).trace(args).lower(lowering_platforms=("cuda",)).as_text() for f in (lambda x: run(*x), step)
        )
    assert (forward.count(TRITON), both.count(TRITON)) == (1, 3)


@pytest.mark.parametrize("mask", [{}, {"causal": False}])
def test_no_array_is_larger_than_the_input(mask):
    args = arguments((4096, 4096), (2, 2), batch=1, size=64)
    with lowering_for("cuda"):
        program = jax.make_jaxpr(partial(outputs_and_gradients, partial(kernels, mask=Mask(**mask))))(args)
    assert max(x.size for x in arrays(program.jaxpr)) == args[0].size


@pytest.mark.parametrize(("asked", "precision"), [("highest", "float32"), ("tensorfloat32", "tf32"), (None, "tf32")])
def test_float32_is_multiplied_as_the_call_asks_wherever_its_gradient_is_traced(asked, precision):
    other = "default" if asked == "highest" else "highest"

    def both(*args):
        with jax.default_matmul_precision(asked):
            y, pull_back = jax.vjp(kernels, *args)
        with jax.default_matmul_precision(other):
            return pull_back(y)

    args = arguments((100, 100))
    with lowering_for("cuda"):
        assert precision_of(jax.make_jaxpr(both)(*args)) == precision


@pytest.mark.parametrize("mask", [{}, {"window": 30}, {"causal": False}])
def test_flops_are_the_equations_and_the_work_is_what_the_kernels_compute(mask):
    """Neither has the padding. The gradient's two kernels compute 7 products, of which the equation has 5."""
    q, k, v = arguments((100, 100), batch=1)
    masks = {"causal": Mask(**mask).causal, "window": Mask(**mask).window or 0}
    forward, backward = (native.flops(f"attention_{way}", q.shape, k.shape, **masks) for way in ("forward", "backward"))
    seen = native.pairs_seen(q.shape, k.shape, **masks)
    run = partial(kernels, mask=Mask(**mask))

    def pulled_back(q, k, v):
        y, pull_back = jax.vjp(run, q, k, v)
        return pull_back(y)

    with lowering_for("cuda"):
        assert flops(run, q, k, v) == forward
        assert flops(pulled_back, q, k, v) == forward + backward
        jaxpr = jax.make_jaxpr(pulled_back)(q, k, v)
    assert work_of_kernels(jaxpr, of_exponential=16, of_product=2) == 2 * seen * 2 * 16 * (2 + 3 + 4)
    assert work_of_kernels(jaxpr, of_exponential=16, of_product=0) == 16 * seen * 3
