"""The C++ kernels of RNN, LSTM and GRU against the equations, transcribed directly, and where the form in JAX stays."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lengthscale.bench.device.flops import flops
from lengthscale.models.ops import gated
from lengthscale.models.ops.gated import dispatch
from lengthscale.models.ops.packed import hold_cell
from tests.helpers.compare import assert_close
from tests.helpers.platforms import needs_kernels

TOLERANCE = 2e-5  # as in test_ops

CELLS = {"rnn": (gated.rnn, gated.rnn_reference, 1), "lstm": (gated.lstm, gated.lstm_reference, 4)}
CELLS["gru"] = (gated.gru, gated.gru_reference, 3)

each_cell = pytest.mark.parametrize("name", CELLS)


def arguments(name, batch, length, width):
    rng = np.random.default_rng(7)
    gates = CELLS[name][2]
    shapes = {"xg": (batch, length, gates * width), "w_h": (gates * width, width)}
    shapes |= {"b_n": (width,)} if name == "gru" else {}
    shapes |= {"h0": (batch, width)} | ({"c0": (batch, width)} if name == "lstm" else {})
    arrays = {key: rng.normal(size=shape).astype("float32") for key, shape in shapes.items()}
    arrays["w_h"] *= 0.5 * width**-0.5  # contracting: rounding errors do not grow with time
    return tuple(map(jnp.asarray, arrays.values()))


def gradients(cell, args):
    """Of random sums of all results, with respect to all arguments."""
    rng = np.random.default_rng(9)
    cotangents = jax.tree.map(lambda x: rng.normal(size=x.shape).astype("float32"), jax.eval_shape(cell, *args))

    def total(*args):
        return jax.tree.reduce(jnp.add, jax.tree.map(lambda x, ct: (x * ct).sum(), cell(*args), cotangents))

    return jax.jit(jax.grad(total, argnums=range(len(args))))(*args)


@needs_kernels
@each_cell
@pytest.mark.parametrize(
    ("batch", "length", "width"),
    [(1, 64, 32), (3, 21, 7), (8, 16, 48), (5, 1, 40), (19, 3, 17)],  # one tile of rows and several, odd widths
)
def test_equals_the_reference(name, batch, length, width):
    cell, reference, _ = CELLS[name]
    bias = jnp.linspace(-1, 1, CELLS[name][2] * width)
    args = (bias, *arguments(name, batch, length, width))

    def kernel(bias, *args):
        return cell(*args, bias=bias, method="native")

    def shifted(bias, xg, *others):
        return reference(xg + bias, *others)

    assert_close(jax.jit(kernel)(*args), shifted(*args), TOLERANCE)
    assert_close(gradients(kernel, args), gradients(shifted, args), TOLERANCE)


@needs_kernels
@each_cell
def test_auto_is_native_for_float32_and_enough_tokens(name):
    def has_kernel(batch, length, dtype="float32"):
        args = jax.tree.map(lambda x: x.astype(dtype), arguments(name, batch, length, 16))
        return "ffi_call" in str(jax.make_jaxpr(CELLS[name][0])(*args))

    steps, tokens = dispatch.NATIVE_STEPS, dispatch.NATIVE_TOKENS
    assert has_kernel(1, tokens)
    assert has_kernel(tokens // steps, steps)
    assert not has_kernel(1, tokens, "bfloat16")
    assert not has_kernel(1, tokens - 1)
    assert not has_kernel(tokens, steps - 1)  # decoding's one step, however many sequences there are


@needs_kernels
def test_sigmoid_and_tanh_are_exact_to_rounding():
    """Without W and with T = 1: the LSTM's cell is tanh, the GRU's state 1 - sigmoid of what comes in."""
    x = np.concatenate([-np.geomspace(80, 1e-6, 200), np.geomspace(1e-6, 80, 200)]).astype("float32")
    width, exact = x.size, x.astype("float64")
    zeros, w_h = jnp.zeros((1, width)), jnp.zeros((width, width))
    h = gated.rnn(jnp.asarray(x[None, None]), w_h, zeros, method="native")
    np.testing.assert_allclose(h[0, 0], np.tanh(exact), rtol=1e-6)
    far = np.full(width, 100, "float32")
    xg = np.concatenate([0 * x, x, far])[None, None]
    h = gated.gru(jnp.asarray(xg), jnp.zeros((3 * width, width)), zeros[0], -jnp.ones((1, width)), method="native")
    np.testing.assert_allclose(h[0, 0], 1 - 2 / (1 + np.exp(-exact)), atol=3e-7)
    xg = np.concatenate([x, -far, far, far])[None, None]
    _, c = gated.lstm(jnp.asarray(xg), jnp.zeros((4 * width, width)), zeros, zeros, method="native")
    np.testing.assert_allclose(c[0], 1 / (1 + np.exp(-exact)), rtol=1e-6)


@needs_kernels
def test_padding_holds_the_cell_exactly():
    xg, w_h, h0, c0 = arguments("lstm", 2, 24, 20)
    _, c = gated.lstm(hold_cell(xg, jnp.array([9, 0])), w_h, h0, c0, method="native")
    _, at_9 = gated.lstm(xg[:, :9], w_h, h0, c0, method="native")
    np.testing.assert_array_equal(c, jnp.concatenate([at_9[:1], c0[1:]]))


@needs_kernels
@each_cell
def test_a_nan_is_not_swallowed(name):
    xg, *others = arguments(name, 2, 20, 24)
    h = jax.tree.leaves(CELLS[name][0](xg.at[1, 12, 3].set(np.nan), *others, method="native"))[0]
    assert np.isnan(h[1, 12, 3])
    assert np.isnan(h[1, 13:]).all()
    assert not np.isnan(h[1, :12]).any()
    assert not np.isnan(h[0]).any()


@needs_kernels
@each_cell
def test_it_runs_under_vmap_and_in_a_scan_under_checkpoint(name):
    cell, reference, _ = CELLS[name]
    args = arguments(name, 3, 18, 16)
    axes = tuple(None if x.shape[0] != 3 else 0 for x in args)

    def one(*args):
        alone = [x if axis is None else x[None] for x, axis in zip(args, axes, strict=True)]
        return jax.tree.map(lambda x: x[0], cell(*alone, method="native"))

    assert_close(jax.jit(jax.vmap(one, axes))(*args), reference(*args), TOLERANCE)

    def twice(cell, xg, w_h, *others):  # what runs in place must leave what is used again
        def body(xg, w_h):
            h = jax.tree.leaves(cell(xg, w_h, *others))[0]
            return xg + jnp.tile(h, xg.shape[-1] // h.shape[-1]), h

        return jax.lax.scan(jax.checkpoint(body), xg, jnp.stack([w_h, 0.5 * w_h]))

    run = partial(twice, partial(cell, method="native"))
    assert_close(jax.jit(run)(*args), twice(reference, *args), TOLERANCE)
    assert_close(gradients(run, args), gradients(partial(twice, reference), args), TOLERANCE)


@needs_kernels
@each_cell
def test_flops_are_those_of_the_form_in_jax(name):
    """But for the sum of b_n's gradient, which is a product with ones."""
    args = (jnp.zeros(CELLS[name][2] * 24), *arguments(name, 2, 32, 24))

    def total(method, bias, *args):
        return sum(x.sum() for x in jax.tree.leaves(CELLS[name][0](*args, bias=bias, method=method)))

    for transform, tolerance in (
        (lambda f: f, 1e-9),
        (lambda f: jax.grad(f, argnums=range(len(args))), 3e-3),
    ):
        native_flops, jax_flops = (
            flops(transform(partial(total, method)), *args) for method in ("native", "sequential")
        )
        assert native_flops == pytest.approx(jax_flops, rel=tolerance)


def test_refusals_name_the_reason():
    args = arguments("rnn", 1, 20, 4)
    with pytest.raises(ValueError, match="unknown method 'loop'; expected auto, sequential, native"):
        gated.rnn(*args, method="loop")
    with pytest.raises(ValueError, match="float32 on a CPU, got bfloat16"):
        gated.rnn(*(x.astype("bfloat16") for x in args), method="native")
