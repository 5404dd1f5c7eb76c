"""What the products of a program are multiplied as, by platform, dtype and the precision that is asked for."""

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from lengthscale.bench.device import worker
from lengthscale.bench.device.precision import precision_of
from lengthscale.bench.plan.cell import Cell
from lengthscale.bench.plan.dtypes import DTYPES
from lengthscale.bench.plan.settings import Settings
from lengthscale.bench.plan.status import Status
from lengthscale.bench.results.messages import Done
from lengthscale.models.ops.platform import lowering_for


def traced(function, *args, target, precision):
    with lowering_for(target), jax.default_matmul_precision(precision):
        return precision_of(jax.jit(function).trace(*args).jaxpr)


def floats(*shape, dtype="float32"):
    return jax.ShapeDtypeStruct(shape, dtype)


# What each vendor documents of a product of float32 by jax's precision.
@pytest.mark.parametrize(
    ("target", "precision", "expected"),
    [
        ("cpu", "default", "float32"),
        ("cpu", "highest", "float32"),
        ("cuda", "default", "tf32"),
        ("cuda", "tensorfloat32", "tf32"),
        ("cuda", "highest", "float32"),
        ("tpu", "default", "bfloat16"),
        ("tpu", "high", "bfloat16 x3"),
        ("tpu", "highest", "float32"),
    ],
)
def test_a_product_of_float32(target, precision, expected):
    for function in (jnp.matmul, lambda a, b: lax.map(lambda x: x @ b, a[:, None])):
        assert traced(function, floats(8, 8), floats(8, 8), target=target, precision=precision) == expected


@pytest.mark.parametrize("target", ["cpu", "cuda", "tpu"])
def test_bfloat16_stays_what_it_is(target):
    args = floats(8, 8, dtype="bfloat16"), floats(8, 8, dtype="bfloat16")
    assert traced(jnp.matmul, *args, target=target, precision="highest") == "bfloat16"


def test_of_several_the_one_with_most_products_is_first():
    def function(a, b, x):
        return a @ b, lax.scan(lambda x, _: (x @ x, None), x, length=10)[0]

    args = floats(8, 8), floats(8, 8), floats(8, 8, dtype="bfloat16")
    assert traced(function, *args, target="cuda", precision="highest") == "bfloat16+float32"
    larger = floats(8, 100), floats(100, 100), args[2]
    assert traced(function, *larger, target="cuda", precision="highest") == "float32+bfloat16"


def test_without_products_there_is_none():
    assert traced(lambda a: a + a, floats(8), target="cuda", precision="highest") is None
    integers = jax.ShapeDtypeStruct((8, 8), "int32")
    assert traced(jnp.matmul, integers, integers, target="cuda", precision="highest") is None


@pytest.mark.parametrize("model", ["lstm", "transformer", "mamba", "s4d"])
@pytest.mark.parametrize(("dtype", "expected"), [("float32", "float32"), ("tf32", "tf32"), ("bfloat16", "bfloat16")])
def test_a_dtype_means_what_it_says(model, dtype, expected, monkeypatch):
    """Of whole training steps, as a run's child traces them for CUDA."""
    found = []

    def plan(cell, settings, notify):
        program = worker._MODULES[cell.measure].make_program(cell, settings)
        found.append(precision_of(program.step.trace(*program.abstract_args).jaxpr))
        return Done(Status.OK)

    monkeypatch.setitem(worker.TASKS, "plan", plan)
    cell = Cell("train", model, "tiny", "auto", 128, 1, dtype, 0, "text", 0)
    with lowering_for("cuda"):
        done = worker.run("plan", cell, Settings(), lambda stage: None)
    assert done.status == Status.OK, done.message
    assert found[0].split("+")[0] == expected
    # S4D asks for float32 in its kernel, and gradients of norms and losses are sums in float32.
    assert set(found[0].split("+")) <= {expected, "float32"}


def test_a_dtype_that_a_platform_does_not_have_is_unsupported():
    cell = Cell("train", "lstm", "tiny", "auto", 128, 1, "tf32", 0, "text", 0)
    done = worker.run("measure", cell, Settings(), lambda stage: None)
    assert (done.status, done.message) == (Status.UNSUPPORTED, "tf32 is for cuda, not for cpu")


def test_a_check_of_bfloat16_asks_for_no_precision_that_its_kernels_lack(monkeypatch):
    """Mosaic refuses bfloat16 at "highest", so a check that asked for it would fail for Splash on a TPU."""
    found = []

    def check(cell, settings, notify):
        found.append(jax.config.jax_default_matmul_precision)  # pyright: ignore[reportAttributeAccessIssue]
        return Done(Status.OK)

    monkeypatch.setitem(worker.TASKS, "check", check)
    for dtype in ("bfloat16", "float32"):
        cell = Cell("train", "transformer", "tiny", "auto", 128, 1, dtype, 0, "text", 0)
        assert worker.run("check", cell, Settings(), lambda stage: None).status == Status.OK
    assert found == ["default", "highest"]


def test_every_dtype_has_a_size():
    assert {name: jnp.dtype(dtype.arrays).itemsize for name, dtype in DTYPES.items()} == {
        name: dtype.n_bytes for name, dtype in DTYPES.items()
    }
