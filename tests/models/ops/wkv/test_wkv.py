"""RWKV-4: WKV's methods against the recurrence and against the sums it stands for, and what is the model's own."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import lax

from lengthscale.models import Interface
from lengthscale.models.ops.wkv import METHODS, Decay, WKVState, empty_state, wkv, wkv_reference
from lengthscale.models.rwkv4 import RWKV4Config, by_depth, rwkv4
from tests.helpers.compare import assert_close

# Interpreted, the kernels take seconds to compile.
IN_JAX = METHODS[:2]
SLOW = pytest.param(("pallas",), marks=pytest.mark.slow)


def arguments(batch, length, dtype, *, width=5, spread=1.0, empty=False):
    """(decay, k, v, state); keys and the state's p are about `spread` large, of both signs. The same in all dtypes."""
    rng = np.random.default_rng(0)

    def normal(*shape):
        return jnp.asarray(rng.normal(size=shape).astype(np.float32), dtype)

    def large(*shape):
        return spread * jnp.asarray(rng.choice([-1, 1], size=shape), dtype) + normal(*shape)

    decay = Decay(-jnp.exp(normal(width)), normal(width))
    k, v = large(batch, length, width), normal(batch, length, width)
    state = WKVState(normal(batch, width), 1 + jnp.abs(normal(batch, width)), large(batch, width))
    return decay, k, v, empty_state(batch, width, dtype) if empty else state


def outputs_and_gradients(function, args):
    """Everything that function(*args) gives, and the gradients of a random sum of that."""

    def loss(*args):
        outputs = function(*args)
        rng = np.random.default_rng(1)
        return sum((x * rng.normal(size=x.shape).astype(np.float32)).sum() for x in jax.tree.leaves(outputs)), outputs

    gradients, outputs = jax.jit(jax.grad(loss, argnums=range(len(args)), has_aux=True))(*args)
    return outputs, gradients


def test_the_recurrence_is_the_decaying_sum():
    with jax.enable_x64(True):
        args = arguments(1, 9, "float64", empty=True)
        y, state = jax.tree.map(lambda x: np.asarray(x)[0], jax.jit(wkv_reference)(*args))
        (w, u), k, v = jax.tree.map(np.asarray, args[:3])
    k, v = k[0], v[0]
    for t in range(9):
        age = np.arange(t)[::-1, None]
        weights = np.concatenate([np.exp(age * w + k[:t]), np.exp(u + k[t : t + 1])])
        assert_close(y[t], (weights * v[: t + 1]).sum(0) / weights.sum(0), 1e-12)
    weights = np.exp(np.arange(9)[::-1, None] * w + k)
    assert_close(state.aa * np.exp(state.p), (weights * v).sum(0), 1e-12)
    assert_close(state.bb * np.exp(state.p), weights.sum(0), 1e-12)


def shapes():
    for case in [(1, 37, 8, 1, False), (3, 16, 8, 110, False), (2, 5, None, 1, True), (2, 1, None, 1, False)]:
        for method in METHODS:
            slow = method == "pallas" and case[1] > 1  # the golden numbers are fast tests of it
            yield pytest.param(method, *case, marks=pytest.mark.slow if slow else ())


@pytest.mark.parametrize(("method", "batch", "length", "chunk", "spread", "empty"), list(shapes()))
def test_methods_equal_the_recurrence(method, batch, length, chunk, spread, empty):
    with jax.enable_x64(True):
        args = arguments(batch, length, "float64", spread=spread, empty=empty)
        fast = outputs_and_gradients(partial(wkv, method=method, chunk=chunk), args)
        assert_close(fast, outputs_and_gradients(wkv_reference, args), 1e-11)


@pytest.mark.parametrize("methods", [IN_JAX, SLOW])
@pytest.mark.parametrize("empty", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_float32_is_as_good_as_the_recurrence_at_extreme_keys(empty, methods):
    args = partial(arguments, 2, 48, spread=110, empty=empty)
    with jax.enable_x64(True):
        truth = jax.tree.map(np.asarray, outputs_and_gradients(wkv_reference, args("float64")))

    def errors(function):
        # Of outputs and gradients, each relative to 1 + its largest entry.
        results = jax.tree.map(np.asarray, outputs_and_gradients(function, args("float32")))
        assert all(x.dtype == np.float32 and np.isfinite(x).all() for x in jax.tree.leaves(results))
        return jax.tree.leaves(jax.tree.map(lambda x, y: np.abs(x - y).max() / (1 + np.abs(y).max()), results, truth))

    own = max(errors(wkv_reference))
    assert own < 1e-3  # p has 7 digits of 110, and is an exponent
    for method in methods:
        assert max(errors(partial(wkv, method=method, chunk=16))) < 2 * own


@pytest.mark.parametrize("length", [1, 6])
def test_the_gradient_has_no_kink_where_exponents_are_equal(length):
    with jax.enable_x64(True):
        (w, u), k, v, state = arguments(1, length, "float64")
        k, u, state = 0 * k, 0 * u, state._replace(p=0 * state.p)  # p = u + k at the first token

        def gradient(shift):
            return outputs_and_gradients(lambda *args: wkv(*args)[0], (Decay(w, u + shift), k, v, state))[1]

        assert_close(gradient(0), gradient(1e-9), 1e-7)


@pytest.mark.parametrize("method", ["sequential", pytest.param("associative", marks=pytest.mark.slow)])
def test_training_does_not_hold_the_states(method):
    decay, k, v, state = arguments(1, 8192, "float32", width=32)

    def loss(k, v):
        return wkv(decay, k, v, state, method=method)[0].sum()

    temporaries = jax.jit(jax.grad(loss, (0, 1))).lower(k, v).compile().memory_analysis().temp_size_in_bytes
    assert temporaries < 5 * k.nbytes  # aa, bb, p and their exponentials alone would be 7


def test_bfloat16_inputs_keep_a_float32_state():
    args = jax.tree.map(lambda x: x.astype("bfloat16"), arguments(1, 8, "float32")[:3])
    y, after = jax.jit(wkv)(*args, empty_state(1, 5, "bfloat16"))
    assert {x.dtype for x in (y, *after)} == {jnp.dtype("float32")}
    wide = jax.tree.map(lambda x: x.astype("float32"), args)
    exact, _ = wkv_reference(wide[0], wide[1], wide[2], empty_state(1, 5, "float32"))
    assert_close(y, exact, 1e-5)


def test_bad_arguments_are_refused(unchecked_shapes):
    decay, k, v, _ = arguments(1, 8, "float32")
    with pytest.raises(ValueError, match="unknown method 'fast'; expected auto, sequential, associative, pallas"):
        wkv(decay, k, v, method="fast")
    with pytest.raises(ValueError, match=r"w \(4,\), u \(5,\)"):
        wkv(decay._replace(w=decay.w[:4]), k, v)
    with pytest.raises(ValueError, match=r"v \(1, 7, 5\)"):
        wkv(decay, k, v[:, :7])


def checkpoint_like(method):
    """A model whose widths all differ, its zeros filled."""

    def make():
        config = RWKV4Config(d_model=8, n_layers=2, d_time=12, d_channel=20, epsilon=1e-3)
        return rwkv4(config, interface=Interface(11), method=method, rngs=nnx.Rngs(0))

    graph, _ = nnx.split(nnx.eval_shape(make))
    params = jax.jit(lambda: nnx.state(make()))()
    rng = np.random.default_rng(0)
    return graph, jax.tree.map(lambda x: x + 0.3 * rng.normal(size=x.shape).astype(np.float32), params)


@pytest.mark.parametrize("methods", [IN_JAX, SLOW])
def test_parallel_and_recurrent_logits_agree(methods):
    tokens = jax.random.randint(jax.random.key(0), (2, 70), 0, 11)

    @partial(jax.jit, static_argnums=0)
    def recurrent(graph, params):
        model = nnx.merge(graph, params)

        def step(state, token):
            logits, state = model(token[:, None], state)
            return state, logits[:, 0]

        state, logits = lax.scan(step, model.init_state(2, 0), tokens.T)
        return logits.swapaxes(0, 1), state

    @partial(jax.jit, static_argnums=0)
    def parallel(graph, params):
        model = nnx.merge(graph, params)
        return model(tokens, model.init_state(2, 0))

    expected = recurrent(*checkpoint_like("auto"))
    for method in methods:
        assert_close(parallel(*checkpoint_like(method)), expected, 1e-5)


def test_initial_values_by_depth():
    first, middle, last = (jax.tree.map(lambda x, n=n: x[n], by_depth(8, 5, n_layers=3)) for n in range(3))
    np.testing.assert_allclose(first["time_mix"]["decay"], -5 + 8 * (np.arange(5) / 4) ** 0.7, rtol=1e-5)
    np.testing.assert_allclose(last["time_mix"]["decay"], -5 + 8 * (np.arange(5) / 4) ** 2.0, rtol=1e-5)
    np.testing.assert_allclose(first["time_mix"]["mix_v"], np.arange(8) / 8)
    np.testing.assert_allclose(last["time_mix"]["mix_v"], (np.arange(8) / 8) ** (1 / 3) + 0.3, rtol=1e-5)
    np.testing.assert_allclose(middle["time_mix"]["mix_r"], (np.arange(8) / 8) ** (1 / 3), rtol=1e-5)
    np.testing.assert_allclose(middle["channel_mix"]["mix_r"], (np.arange(8) / 8) ** (2 / 3), rtol=1e-5)
    assert all(jnp.isfinite(x).all() for x in jax.tree.leaves(by_depth(8, 1, n_layers=1)))


def test_a_new_model_has_those_values_and_blocks_that_add_nothing():
    @jax.jit
    def new():
        config = RWKV4Config(d_model=8, n_layers=3, d_time=6, d_channel=20)
        model = rwkv4(config, interface=Interface(11), rngs=nnx.Rngs(0))
        tokens = jnp.arange(11)[None]
        return nnx.state(model), model.features(tokens)[0], model.embed(tokens)

    params, features, embedded = new()
    np.testing.assert_array_equal(features, embedded)
    for part, values in by_depth(8, 6, n_layers=3).items():
        for name, value in values.items():
            np.testing.assert_allclose(params["blocks"][part][name][...], value, rtol=1e-6)
    zigzag = 0.5 * np.array([0, 1, -1, 0, 1, -1])
    np.testing.assert_allclose(params["blocks"]["time_mix"]["first"][0], np.log(0.3) + zigzag, rtol=1e-6)
