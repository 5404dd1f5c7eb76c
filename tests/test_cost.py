"""FLOPs by jaxpr walk against hand counts, and against XLA's own on small programs without loops."""

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from bench.cost import flops
from models.ops.attention import attention
from models.ops.gated import lstm
from models.ops.selective_scan import selective_scan


def test_matrix_products():
    a, b = jnp.zeros((3, 4)), jnp.zeros((4, 5))
    assert flops(lambda a, b: a @ b, a, b) == 2 * 3 * 4 * 5
    assert flops(lambda a: jnp.einsum("bij,bkj->bik", a, a), jnp.zeros((2, 3, 4))) == 2 * 2 * 3 * 3 * 4


def test_convolution():
    x, w = jnp.zeros((1, 8, 8, 3)), jnp.zeros((2, 2, 3, 5))
    count = flops(
        lambda x, w: lax.conv_general_dilated(x, w, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")), x, w
    )
    assert count == 2 * (7 * 7 * 5) * (2 * 2 * 3)


@pytest.mark.parametrize("length", [8, 64])
def test_a_scan_counts_its_length(length):
    def function(h):
        return lax.scan(lambda h, _: (jnp.tanh(h @ jnp.ones((4, 4))), None), h, None, length=length)[0]

    assert flops(function, jnp.zeros((1, 4))) == length * (2 * 16 + 4)


def test_jit_remat_cond_and_custom_derivatives_are_entered():
    def body(x):
        return lax.cond(x.sum() > 0, lambda x: x @ x, lambda x: x, x)

    x = jnp.zeros((4, 4))
    assert flops(jax.jit(jax.checkpoint(body)), x) == 16 + 2 * 64  # the sum, and the dearer branch
    assert flops(jax.nn.relu, x) == 16


def test_an_unknown_trip_count_is_unknown():
    assert flops(lambda x: lax.while_loop(lambda x: x < 9.0, lambda x: x * 2, x), 1.0) is None
    assert flops(lambda x: lax.fori_loop(0, 4, lambda _, x: x * 2.0, x), 1.0) == 8  # a scan to jax, with a counter


def test_lstm_by_hand():
    T, D = 10, 4
    count = flops(
        lambda x, w, h, c: lstm(x, w, h, c), *(jnp.zeros(s) for s in ((1, T, 4 * D), (4 * D, D), (1, D), (1, D)))
    )
    product, added, gates, cell, output = 2 * 4 * D * D, 4 * D, 4 * D, 3 * D, 2 * D
    assert count == T * (product + added + gates + cell + output)


def test_causal_attention_counts_the_half_that_is_computed():
    T, H, K, block = 64, 2, 8, 16
    x = jnp.zeros((1, T, H, K))
    pairs = (T // block) * (T // block + 1) // 2
    products = 2 * 2 * H * K * block * block * pairs
    count = flops(lambda q, k, v: attention(q, k, v, block=block), x, x, x)
    assert count is not None
    assert products < count < 1.5 * products  # the rest is the softmax, 5 or so for each score


def test_selective_scan_is_linear_in_length():
    def count(T, E=8, N=4):
        u, A, B = jnp.zeros((1, T, E)), jnp.zeros((E, N)), jnp.zeros((1, T, N))
        result = flops(lambda u, A, B: selective_scan(u, u, A, B, B)[0], u, A, B)
        assert result is not None
        return result

    assert count(128) == 2 * count(64)
    per_token = count(64) / 64
    assert 7 * 8 * 4 <= per_token <= 9 * 8 * 4  # exp, dt A, a h, B dt u, +, C h, sum for each (E, N)


def test_a_pallas_kernel_counts_for_each_of_its_grid():
    """Two kernels, each with all of the arithmetic of the state, beside the same of one form."""
    u, A, B = jnp.zeros((1, 256, 32)), jnp.zeros((32, 16)), jnp.zeros((1, 256, 16))
    one, both = (
        flops(lambda u, A, B, method=method: selective_scan(u, u, A, B, B, method=method)[0], u, A, B)
        for method in ("sequential", "pallas")
    )
    assert one is not None
    assert both is not None
    assert 1.5 * one < both < 2.2 * one


def test_what_a_kernel_skips_is_not_known():
    q = jnp.zeros((1, 128, 1, 8))
    assert flops(lambda q: attention(q, q, q, method="splash"), q) is None


def test_against_xla_without_loops():
    def function(x, w, v):
        return jnp.tanh(x @ w + v).sum()

    args = jnp.zeros((64, 32)), jnp.zeros((32, 48)), jnp.zeros(48)
    analysis = jax.jit(function).lower(*args).compile().cost_analysis()
    assert analysis is not None
    assert flops(function, *args) == pytest.approx(analysis["flops"], rel=0.02)


def looped(x, w_x, w_h):
    """A recurrence by a Python loop."""
    h = jnp.zeros((x.shape[1], w_h.shape[0]))
    for x_t in x:
        h = jnp.tanh(x_t @ w_x + h @ w_h)
    return (h * h).sum()


def scanned(x, w_x, w_h):
    """The same by lax.scan."""
    h = jnp.zeros((x.shape[1], w_h.shape[0]))
    h, _ = lax.scan(lambda h, x_t: (jnp.tanh(x_t @ w_x + h @ w_h), None), h, x)
    return (h * h).sum()


def attended(x, w_x, w_h):
    """One head with its whole matrix of scores, and a layer behind it."""
    q, k = x[0] @ w_x, x[1] @ w_h
    return (jax.nn.softmax(q @ k.T / 8) @ x[2] @ w_x).sum()


STEPS, ROWS, WIDTH = 5, 32, 96
ARGUMENTS = jnp.zeros((STEPS, ROWS, WIDTH)), jnp.zeros((WIDTH, WIDTH)), jnp.zeros((WIDTH, WIDTH))


def test_a_scan_counts_what_its_loop_does_forward_and_for_the_gradient():
    assert flops(scanned, *ARGUMENTS) == flops(looped, *ARGUMENTS)
    by_scan, by_loop = (flops(jax.grad(function, argnums=(0, 1, 2)), *ARGUMENTS) for function in (scanned, looped))
    assert by_scan is not None
    assert by_loop is not None
    first = 2 * ROWS * WIDTH * WIDTH  # the scan makes the gradient of the first state too
    assert by_scan == pytest.approx(by_loop + first, rel=0.01)  # and adds its gradients to zeros


def test_recomputation_is_counted():
    """With remat, the gradient has one forward pass more: 2 products a step."""
    more, plain = (
        flops(jax.grad(function, argnums=(1, 2)), *ARGUMENTS) for function in (jax.checkpoint(looped), looped)
    )
    assert more is not None
    assert plain is not None
    assert more - plain == pytest.approx(STEPS * 2 * 2 * ROWS * WIDTH * WIDTH, rel=0.02)


@pytest.mark.parametrize("differentiate", [False, True])
@pytest.mark.parametrize("function", [looped, attended])
def test_against_xla_on_programs_without_loops(function, differentiate):
    """XLA counts transcendental functions apart, and nothing that nobody needs; so the value is asked for as well."""
    program = jax.value_and_grad(function, argnums=(0, 1, 2)) if differentiate else function
    analysis = jax.jit(program).lower(*ARGUMENTS).cost_analysis()
    assert analysis is not None
    expected = analysis["flops"] + analysis.get("transcendentals", 0)
    assert flops(program, *ARGUMENTS) == pytest.approx(expected, rel=0.02)
