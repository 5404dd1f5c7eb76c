"""The state space model: rules of discretisation, S4D's two forms, and the model's own."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy.integrate import solve_ivp
from scipy.signal import cont2discrete

from lengthscale.models.ops.discretise import RULES, discretise, transition
from lengthscale.models.ops.s4d import METHODS, System, s4d, s4d_kernel, s4d_reference
from lengthscale.models.ssm import INITS, S4D, S4DConfig
from tests.helpers.compare import assert_close


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize("rule", ["zoh", "bilinear", "euler", "backward_diff"])
def test_rules_are_those_of_scipy(rule):
    A, dt = np.array([-0.3, -2.0, -40.0]), 0.1
    system: Any = cont2discrete((np.diag(A), np.ones((3, 1)), np.ones((1, 3)), 0), dt, rule)
    expected_A, expected_B = system[:2]
    a, b = discretise(jnp.asarray(A), 1.0, jnp.asarray(dt), rule)
    np.testing.assert_allclose(a, np.diag(expected_A), rtol=1e-12)
    np.testing.assert_allclose(b, expected_B[:, 0], rtol=1e-12)


def solved(rule, u, dt, A=-1.3):
    """The last state of x' = A x + u by the rule, from 0."""
    a, b = discretise(jnp.asarray(A), 1.0, jnp.asarray(dt), rule)
    x = 0.0
    for value in u:
        x = a * x + b * value
    return x


def test_zoh_is_exact_for_a_constant_input():
    assert abs(solved("zoh", np.ones(7), 2.0 / 7) - (np.exp(-1.3 * 2.0) - 1) / -1.3) < 1e-14


@pytest.mark.parametrize(("rule", "order"), [("bilinear", 2), ("mamba", 1), ("euler", 1)])
def test_rules_solve_the_differential_equation_to_their_order(rule, order):
    """At half the step the error falls by 2^order; of order 2 is bilinear, given the input in the middle of a step."""
    end, at = 2.0, 0.5 if order == 2 else 0.0
    exact = solve_ivp(lambda t, x: -1.3 * x + np.sin(t), (0, end), [0.0], rtol=1e-11, atol=1e-12).y[0, -1]

    def error(steps):
        dt = end / steps
        return abs(solved(rule, np.sin(dt * (np.arange(steps) + at)), dt) - exact)

    assert 0.85 * 2**order < error(100) / error(200) < 1.15 * 2**order


@pytest.mark.parametrize("rule", RULES)
def test_the_gain_and_its_gradient_are_exact_near_zero(rule):
    z = jnp.asarray([-1e-12, -1e-6, -0.4999, -0.5001, -3.0])

    def gain(z):
        g = transition(z, rule)[1]
        return jnp.ones_like(z) if g is None else g

    exact = {
        "zoh": lambda z: np.where(abs(z) < 1e-3, 1 + z / 2 + z**2 / 6, np.expm1(z) / z),
        "bilinear": lambda z: 1 / (1 - z / 2),
        "backward_diff": lambda z: 1 / (1 - z),
    }.get(rule, np.ones_like)
    slope = {
        "zoh": lambda z: np.where(abs(z) < 1e-3, 0.5 + z / 3 + z**2 / 8, (np.exp(z) - np.expm1(z) / z) / z),
        "bilinear": lambda z: 0.5 / (1 - z / 2) ** 2,
        "backward_diff": lambda z: 1 / (1 - z) ** 2,
    }.get(rule, np.zeros_like)
    np.testing.assert_allclose(gain(z), exact(np.asarray(z)), rtol=1e-14)
    np.testing.assert_allclose(jax.vmap(jax.grad(gain))(z), slope(np.asarray(z)), rtol=1e-12)
    a, _ = transition(z, rule)
    np.testing.assert_allclose((a - 1) / z, {"mamba": np.expm1(z) / z}.get(rule, gain(z)), rtol=1e-3)


def test_a_pole_stays_inside_the_circle_where_its_rule_says_so():
    z = -(10.0 ** jnp.linspace(-3, 3, 50)) * jnp.exp(1j * jnp.linspace(-1.5, 1.5, 50))
    for rule in ("zoh", "bilinear", "mamba", "backward_diff"):
        assert (jnp.abs(transition(z, rule)[0]) < 1).all(), rule
    assert (jnp.abs(transition(z, "euler")[0]) > 1).any()


def test_an_unknown_rule_is_refused():
    with pytest.raises(ValueError, match="unknown discretisation 'tustin'; expected zoh, bilinear"):
        discretise(jnp.ones(1), 1.0, jnp.ones(1), "tustin")


def arguments(batch, length, channels=3, states=4, dtype="float64"):
    rng = np.random.default_rng(0)

    def normal(*shape):
        return jnp.asarray(rng.normal(size=shape), dtype)

    def pair(*shape):
        return jax.lax.complex(normal(*shape), normal(*shape))

    a = jnp.exp(jax.lax.complex(-0.2 * jnp.abs(normal(channels, states)), normal(channels, states)))
    return (
        normal(batch, length, channels),
        System(a, pair(channels, states), pair(channels, states)),
        pair(batch, channels, states),
    )


def value_and_gradients(function, args):
    def loss(*args):
        outputs = function(*args)
        rng = np.random.default_rng(1)
        return sum((x * jnp.asarray(rng.normal(size=x.shape))).sum().real for x in jax.tree.leaves(outputs)), outputs

    return jax.jit(jax.grad(loss, argnums=range(len(args)), has_aux=True))(*args)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("batch", "length", "chunk"), [(1, 37, 8), (2, 16, 8), (2, 5, 8), (2, 1, 8)])
@pytest.mark.parametrize("rest", [True, False])
def test_forms_equal_the_recurrence(method, batch, length, chunk, rest):
    *args, x0 = arguments(batch, length)
    if rest:
        fast, plain = partial(s4d, method=method, chunk=chunk), partial(s4d_reference, x0=0 * x0)
    else:
        fast, plain, args = partial(s4d, method=method, chunk=chunk), s4d_reference, [*args, x0]
    assert_close(value_and_gradients(fast, args), value_and_gradients(plain, args), 1e-11)


def test_the_kernel_is_the_impulse_response():
    _, (a, b, c), _ = arguments(1, 1)
    powers = np.asarray(a)[..., None] ** np.arange(21)
    expected = 2 * ((b * c)[..., None] * powers).sum(1).real
    assert_close(s4d_kernel(b * c, a, 21), expected, 1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_no_form_holds_the_states_of_all_tokens(method):
    args = arguments(1, 8192, channels=8, states=32, dtype="float32")[:-1]
    compiled = jax.jit(jax.grad(lambda *args: s4d(*args, method=method)[0].sum(), argnums=(0, 1))).lower(*args)
    memory = compiled.compile().memory_analysis()
    assert memory is not None
    states = 8192 * 8 * 32 * 8  # (T, H, N) complex64
    assert memory.temp_size_in_bytes < states / 2


def test_bad_arguments_are_refused():
    u, system, _ = arguments(1, 4)
    with pytest.raises(ValueError, match="unknown method 'fft'; expected auto, convolution, recurrence"):
        s4d(u, system, method="fft")
    with pytest.raises(ValueError, match="chunk must be at least 1, got 0"):
        s4d(u, system, chunk=0)
    with pytest.raises(ValueError, match="even, of conjugate pairs, got 3"):
        S4DConfig(4, d_state=3)
    with pytest.raises(ValueError, match="unknown init 'legs'; expected lin, inv, real"):
        S4DConfig(4, init="legs")


@pytest.mark.parametrize(("init", "discretisation"), list(zip(INITS, ["zoh", "bilinear", "mamba"], strict=True)))
def test_a_new_layer_is_stable_and_its_forms_agree(init, discretisation):
    @partial(jax.jit, static_argnums=0)
    def run(method):
        config = S4DConfig(6, d_state=8, init=init, discretisation=discretisation)
        layer = S4D(config, method=method, rngs=nnx.Rngs(0))
        return layer.discrete()[0], layer.prefill(jax.random.normal(jax.random.key(1), (2, 50, 6)))

    poles, results = run("convolution")
    assert (jnp.abs(poles) < 1).all()
    assert_close(results, run("recurrence")[1], 1e-10)


def test_bfloat16_activations_keep_a_complex64_state():
    with jax.enable_x64(False):
        layer = S4D(S4DConfig(6, d_state=8), rngs=nnx.Rngs(0))
        y, state = layer.prefill(jnp.ones((2, 5, 6), "bfloat16"))
    assert state.dtype == layer.init_state(2, 0, jnp.dtype("bfloat16")).dtype == jnp.complex64
