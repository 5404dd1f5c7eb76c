"""The Pallas selective scan, interpreted on a CPU, against the recurrence; test_ops.py has it at small chunks."""

import jax
import jax.numpy as jnp
import pytest
from jax.extend.core import jaxprs_in_params

from lengthscale.models.ops import selective_scan
from lengthscale.models.ops.platform import lowering_for
from lengthscale.models.ops.selective_scan import selective_scan_reference
from tests.helpers.compare import assert_close
from tests.models.ops.test_ops import normal, scan_arguments

TOLERANCE = 2e-6  # float32: sums of up to 16 terms, and of 200 tokens in dA


def value_and_gradients(scan, args):
    """Outputs and last state, and the gradients of a random sum of both with respect to all arguments."""
    cotangents = [normal(seed, *x.shape, dtype=x.dtype) for seed, x in enumerate(jax.eval_shape(scan, *args), start=8)]

    def total(*args):
        results = scan(*args)
        return sum((x * ct).sum() for x, ct in zip(results, cotangents, strict=True)), results

    return jax.jit(jax.grad(total, argnums=range(len(args)), has_aux=True))(*args)


def pallas(*args):
    return selective_scan.selective_scan(*args, method="pallas")


@pytest.mark.parametrize(
    ("length", "width", "state"),
    [
        (64, 16, 16),  # one chunk, one block of E
        (150, 40, 6),  # 2 chunks and a rest, 2 blocks and a rest, an N that is no power of two
        pytest.param(2, 5, 4, marks=pytest.mark.slow),  # all of it padding
        pytest.param(192, 16, 16, marks=pytest.mark.slow),
    ],
)
def test_kernels_equal_the_recurrence(length, width, state):
    args = scan_arguments(2, length, "float32", width, state)
    expected = value_and_gradients(selective_scan_reference, args)
    assert_close(value_and_gradients(pallas, args), expected, TOLERANCE)


def test_kernels_equal_the_chunked_form_from_rest():
    args = scan_arguments(2, 100, "float32", 24, 16)[:-1]

    def chunked(*args):
        return selective_scan.selective_scan(*args, method="chunked")

    assert_close(value_and_gradients(pallas, args), value_and_gradients(chunked, args), TOLERANCE)


def test_strong_and_no_decay():
    """exp(dt A) from 0 to 1: nothing is divided by it, and nothing overflows."""
    x, A, h0 = scan_arguments(1, 80, "float32", 16, 8)
    args = x._replace(dt=x.dt * jnp.logspace(-6, 3, 16)), A, h0
    results = value_and_gradients(pallas, args)
    assert all(jnp.isfinite(x).all() for x in jax.tree.leaves(results))
    assert_close(results, value_and_gradients(selective_scan_reference, args), TOLERANCE)


@pytest.mark.parametrize(
    ("target", "discretisation", "kernels"),
    [("cuda", "mamba", 4), ("tpu", "mamba", 4), ("cuda", "zoh", 0), ("tpu", "bilinear", 0), ("cpu", "mamba", 0)],
)
def test_auto_is_the_kernels_where_there_are_such(target, discretisation, kernels):
    args = scan_arguments(1, 70, "float32", 64, 16)

    def scan(*args):
        return selective_scan.selective_scan(*args, discretisation=discretisation)

    with lowering_for(target):  # two kernels forward, and two backward
        lowered = (
            jax.jit(lambda *args: value_and_gradients(scan, args)).trace(*args).lower(lowering_platforms=(target,))
        )
    text = lowered.as_text()
    assert text.count("@__gpu$xla.gpu.triton") == (kernels if target == "cuda" else 0)
    assert text.count("@tpu_custom_call") == (kernels if target == "tpu" else 0)


@pytest.mark.parametrize("target", ["cuda", "tpu"])
def test_no_array_is_larger_than_the_input(target):
    """So the states of all tokens, N times as large, are nowhere in memory; those of the chunks are a quarter of it."""
    x, *rest = scan_arguments(1, 4096, "float32", 64, 16)
    with lowering_for(target):
        program = jax.make_jaxpr(jax.grad(lambda u: selective_scan.selective_scan(x._replace(u=u), *rest)[0].sum()))(
            x.u
        )
    assert max(sizes(program.jaxpr)) == x.u.size * (1 if target == "cuda" else 2)  # a TPU's rows are filled up to 128


def sizes(jaxpr):
    for equation in jaxpr.eqns:
        yield from (x.aval.size for x in equation.outvars)
        for inner in jaxprs_in_params(equation.params):
            yield from sizes(inner)


def test_what_the_kernels_cannot_do_is_refused():
    args = scan_arguments(1, 20, "float32")
    with pytest.raises(ValueError, match="it is for the discretisation 'mamba', got 'zoh'"):
        selective_scan.selective_scan(*args, discretisation="zoh", method="pallas")
    for chunk in (4, 24):
        with pytest.raises(ValueError, match=f"a power of two, of 8 at least, got {chunk}"):
            selective_scan.selective_scan(*args, method="pallas", chunk=chunk)
