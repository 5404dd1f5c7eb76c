"""The Pallas kernel of RNN, LSTM and GRU, interpreted on a CPU, against the equations in float64; where it is taken."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lengthscale.bench.device.flops import flops
from lengthscale.models.ops import gated
from lengthscale.models.ops.gated import dispatch, pallas
from lengthscale.models.ops.platform import lowering_for
from tests.helpers.compare import assert_close
from tests.helpers.platforms import needs_cpu
from tests.models.ops.gated.test_native import CELLS, arguments, each_cell

# Of the largest entry and 1. bfloat16: the states, what the gradient needs and the results are rounded, at every step.
TOLERANCE = {"float32": 1e-6, "bfloat16": 2**-7}


def kernel(name, *args):
    return CELLS[name][0](*args, method="pallas")


def with_gradients(cell, args):
    """All results in float64, and the gradients of a weighted sum of them with respect to all arguments."""

    def total(*args):
        results = cell(*args)
        weighted = jax.tree.map(lambda x: (x * jnp.cos(jnp.arange(x.size)).reshape(x.shape)).sum(), results)
        return jax.tree.reduce(jnp.add, weighted), results

    gradients, results = jax.jit(jax.grad(total, argnums=range(len(args)), has_aux=True))(*args)
    return jax.tree.map(lambda x: np.asarray(x, "float64"), (results, gradients))


def assert_is_the_equation(name, cell, args, tolerance):
    with jax.enable_x64(True):
        exact = with_gradients(CELLS[name][1], [x.astype("float64") for x in args])
    assert_close(with_gradients(cell, args), exact, tolerance)


@needs_cpu
@each_cell
@pytest.mark.parametrize(
    ("batch", "length", "width", "dtype"),
    [
        (2, 19, 33, "float32"),  # a width padded to 64
        (1, 5, 20, "bfloat16"),
        pytest.param(1, 19, 20, "bfloat16", marks=pytest.mark.slow),
        pytest.param(1, 1, 8, "float32", marks=pytest.mark.slow),
        pytest.param(1, 3, 200, "float32", marks=pytest.mark.slow),  # two blocks of columns
        pytest.param(3, 9, 260, "bfloat16", marks=pytest.mark.slow),
    ],
)
def test_it_is_the_equation(name, batch, length, width, dtype):
    args = [x.astype(dtype) for x in arguments(name, batch, length, width)]
    results = jax.eval_shape(partial(kernel, name), *args)
    assert {x.dtype for x in jax.tree.leaves(results)} == {args[0].dtype}
    assert_is_the_equation(name, partial(kernel, name), args, TOLERANCE[dtype])


@pytest.mark.slow
@needs_cpu
@each_cell
def test_a_sequence_may_be_cut_anywhere(name):
    """Bit for bit, in bfloat16 too: the states from step to step are rounded as those that are returned."""
    xg, w_h, *others = (x.astype("bfloat16") for x in arguments(name, 1, 12, 20))
    constants, states = (others[:1], others[1:]) if name == "gru" else ((), others)

    @jax.jit
    def run(xg, states):
        results = kernel(name, xg, w_h, *constants, *states)
        h, *cells = results if name == "lstm" else (results,)
        return h, (h[:, -1], *cells)

    h, last = run(xg, states)
    first, between = run(xg[:, :5], states)
    second, again = run(xg[:, 5:], between)
    for x, y in zip((h, *last), (jnp.concatenate([first, second], axis=1), *again), strict=True):
        np.testing.assert_array_equal(x, y)


@pytest.mark.slow
@needs_cpu
@each_cell
def test_it_runs_under_vmap_and_under_checkpoint(name):
    args = arguments(name, 3, 5, 8)
    axes = tuple(None if x.shape[0] != 3 else 0 for x in args)

    def one(*args):
        alone = [x if axis is None else x[None] for x, axis in zip(args, axes, strict=True)]
        return jax.tree.map(lambda x: x[0], kernel(name, *alone))

    assert_is_the_equation(name, jax.vmap(jax.checkpoint(one), axes), args, TOLERANCE["float32"])


def takes_it(name, target, batch, length, width, dtype="float32"):
    args = [x.astype(dtype) for x in arguments(name, batch, length, width)]
    with lowering_for(target):
        return pallas.NAME in str(jax.make_jaxpr(CELLS[name][0])(*args))


@each_cell
def test_auto_takes_it_on_cuda_where_the_weights_are_read_fast_enough(name):
    assert takes_it(name, "cuda", 1, 8, 20)
    assert takes_it(name, "cuda", 1, 1000, 20, "bfloat16")
    assert not takes_it(name, "cuda", 1, 7, 20)  # decoding
    assert not takes_it(name, "cpu", 1, 200, 20)
    assert not takes_it(name, "tpu", 1, 200, 20)
    most = dispatch.PALLAS_BYTES // (4 * 128 * 128 * CELLS[name][2])
    assert takes_it(name, "cuda", most, 8, 128)
    assert not takes_it(name, "cuda", most + 1, 8, 128)


def test_refusals_name_the_reason():
    args = arguments("rnn", 1, 20, 4)
    with lowering_for("tpu"), pytest.raises(ValueError, match="on CUDA or a CPU, got float32 on tpu"):
        gated.rnn(*args, method="pallas")
    with pytest.raises(ValueError, match=r"method pallas does not fit: .* got bfloat16, float32 on"):
        gated.rnn(args[0].astype("bfloat16"), *args[1:], method="pallas")


@each_cell
def test_its_flops_are_those_of_the_scan(name):
    args = arguments(name, 1, 32, 64)

    def total(method, *args):
        return sum(x.sum() for x in jax.tree.leaves(CELLS[name][0](*args, method=method)))

    for transform in (lambda f: f, lambda f: jax.grad(f, argnums=range(len(args)))):
        counted, expected = (flops(transform(partial(total, method)), *args) for method in ("pallas", "sequential"))
        assert counted == pytest.approx(expected, rel=0.02)
