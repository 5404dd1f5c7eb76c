"""WKV's kernels, interpreted on a CPU, against the recurrence; test_wkv.py compares them as it does all methods."""

from functools import partial

import jax
import jax.numpy as jnp
import pytest
from jax.extend.core import jaxprs_in_params

from lengthscale.models.ops.platform import lowering_for
from lengthscale.models.ops.wkv import Decay, pallas, wkv, wkv_reference
from tests.helpers.compare import assert_close
from tests.models.ops.selective_scan.test_pallas import arrays
from tests.models.ops.wkv.test_wkv import arguments, outputs_and_gradients


def kernels(*args, chunk=8):
    return wkv(*args, method="pallas", chunk=chunk)


# On a TPU a program has 8 chunks: here one and two programs, chunks that are whole, a part and empty.
@pytest.mark.parametrize("form", [pytest.param("GPU", marks=pytest.mark.slow), "TPU"])
@pytest.mark.parametrize(
    ("length", "width", "empty"),
    [
        (75, 5, False),
        pytest.param(64, 5, True, marks=pytest.mark.slow),
        pytest.param(9, 40, True, marks=pytest.mark.slow),
    ],
)
def test_kernels_equal_the_recurrence(form, length, width, empty, monkeypatch):
    monkeypatch.setattr(pallas, "GPU", getattr(pallas, form))
    with jax.enable_x64(True):
        args = arguments(2, length, "float64", width=width, empty=empty)
        assert_close(outputs_and_gradients(kernels, args), outputs_and_gradients(wkv_reference, args), 1e-11)


@pytest.mark.slow
def test_strong_and_no_decay():
    """e^{n w} from 0 to 1: nothing is divided by it."""
    (_, u), *rest = arguments(1, 80, "float32", width=16)
    args = Decay(-jnp.logspace(-6, 3, 16), u), *rest
    with jax.enable_x64(True):
        exact = outputs_and_gradients(wkv_reference, jax.tree.map(lambda x: x.astype("float64"), args))
    assert_close(outputs_and_gradients(kernels, args), exact, 2e-5)


def test_bfloat16_is_rounded_before_and_after_the_kernels_only():
    decay, k, v, state = arguments(1, 13, "float32", empty=True)
    args = decay, k.astype("bfloat16"), v.astype("bfloat16"), state
    (y, after), gradients = outputs_and_gradients(kernels, args)
    assert {x.dtype for x in (y, *after)} == {jnp.dtype("float32")}
    assert gradients[1].dtype == gradients[2].dtype == jnp.bfloat16
    wide = decay, *(x.astype("float32") for x in args[1:3]), state
    exact = outputs_and_gradients(wkv_reference, wide)
    assert_close((y, after), exact[0], 2e-6)
    assert_close(gradients, exact[1], 2**-8)  # bfloat16 has 8 bits


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    ("target", "method", "call"),
    [
        ("cuda", "auto", "@__gpu$xla.gpu.triton"),
        ("tpu", "pallas", "@tpu_custom_call"),
        ("tpu", "auto", ""),
        ("cpu", "auto", ""),
    ],
)
def test_where_it_is_the_kernels(target, method, call, dtype):
    decay, k, v, state = arguments(1, 70, dtype, width=32)
    with lowering_for(target):  # three kernels forward, and three backward
        step = jax.jit(partial(outputs_and_gradients, partial(wkv, method=method)))
        text = step.trace((decay, k, v, state)).lower(lowering_platforms=(target,)).as_text()
    for each in ("@__gpu$xla.gpu.triton", "@tpu_custom_call"):
        assert text.count(each) == (6 if each == call else 0)


@pytest.mark.parametrize("target", ["cuda", "tpu"])
def test_no_array_is_larger_than_the_input(target):
    decay, k, v, state = arguments(1, 4096, "float32", width=128)

    def loss(k, v):
        return wkv(decay, k, v, state, method="pallas")[0].sum()

    with lowering_for(target):
        program = jax.make_jaxpr(jax.grad(loss, (0, 1)))(k, v)
    assert max(x.size for x in arrays(program.jaxpr)) == k.size


@pytest.mark.parametrize(("length", "chunks"), [(512, 16), (4096, 128), (65_536, 128)])
def test_one_sequence_fills_a_gpu_with_few_chunks(length, chunks):
    k, w = jax.ShapeDtypeStruct((1, length, 768), jnp.float32), jnp.zeros(768)
    with lowering_for("cuda"):
        program = jax.make_jaxpr(wkv)(Decay(w, w), k, k)
    assert list(grids(program.jaxpr)) == [(chunks, 1, 6), (1, 1, 6), (chunks, 1, 6)]


def grids(jaxpr):
    for equation in jaxpr.eqns:
        if equation.primitive.name == "pallas_call":
            yield equation.params["grid_mapping"].grid
        else:
            for inner in jaxprs_in_params(equation.params):
                yield from grids(inner)


def test_chunks_that_are_no_runs_are_refused():
    args = arguments(1, 20, "float32")
    for chunk in (4, 20):
        with pytest.raises(ValueError, match=f"must be a multiple of 8, got {chunk}"):
            kernels(*args, chunk=chunk)
