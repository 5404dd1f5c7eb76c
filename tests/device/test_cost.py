"""FLOPs by jaxpr walk against hand counts, and against XLA's own on small programs; of ops: test_cost_*.py."""

import jax
import jax.numpy as jnp
import pytest
from jax import lax
from jax.experimental import pallas as pl

from lengthscale.bench.device.flops import flops, work_of_kernels
from lengthscale.models.ops import native
from lengthscale.models.ops.attention import Mask, attention, kernels
from lengthscale.models.ops.selective_scan import Inputs, selective_scan


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


@pytest.mark.parametrize(("stride", "padding"), [(1, "VALID"), (1, "SAME"), (2, "SAME")])
def test_convolutions_against_xla(stride, padding):
    """Zeros around the input, and in the gradient between its rows, are nobody's products."""

    def convolve(x, w):
        numbers = ("NHWC", "HWIO", "NHWC")
        return lax.conv_general_dilated(x, w, (stride, stride), padding, dimension_numbers=numbers)

    def gradient(x, w):
        y, pull = jax.vjp(convolve, x, w)
        return pull(jnp.ones_like(y))

    args = jnp.zeros((2, 8, 8, 6)), jnp.zeros((3, 3, 6, 10))
    for function in (convolve, gradient):
        analysis = jax.jit(function).lower(*args).cost_analysis()
        assert analysis is not None
        assert flops(function, *args) == analysis["flops"]


def test_depthwise_convolution():
    """A channel meets its own taps alone; the first two tokens have 1 and 2 of the 3."""
    x, w = jnp.zeros((2, 8, 5)), jnp.zeros((3, 1, 5))
    count = flops(
        lambda x, w: lax.conv_general_dilated(
            x, w, (1,), [(2, 0)], dimension_numbers=("NWC", "WIO", "NWC"), feature_group_count=5
        ),
        x,
        w,
    )
    assert count == 2 * 2 * 5 * (1 + 2 + 6 * 3)


def test_complex_numbers_count_as_the_real_ones_that_they_take():
    z = jnp.zeros((3, 3), jnp.complex64)
    assert flops(lambda z: z * z + z, z) == 9 * (4 + 2 + 2)
    assert flops(lambda z: z @ z, z) == 2 * 27 * 4
    assert flops(jnp.exp, z) == 9 * (1 + 2 + 2)  # e^x (cos y + j sin y)
    assert flops(lambda z: z**-3, z) == 9 * (2 * 6 + 11)  # z^2, z^3, and a quotient: 6 + 3, and 2 divisions
    assert flops(jnp.tan, z) is None  # nobody has said


def test_fourier_transforms():
    """5 n log2(n), half of it for real numbers, there and back."""
    assert flops(jnp.fft.fft, jnp.zeros((3, 16), jnp.complex64)) == 3 * 5 * 16 * 4
    assert flops(lambda x: jnp.fft.irfft(jnp.fft.rfft(x)), jnp.zeros((3, 16))) == 2 * 3 * 5 * 16 * 4 / 2


def test_integers_and_what_nobody_needs_are_free():
    assert flops(lambda x, i: (x * 2.0, i * 2 + 1, i.sum()), jnp.zeros(4), jnp.arange(4)) == 4
    assert flops(lambda x: (jnp.exp(x), x + 1.0)[1], jnp.zeros(4)) == 4
    assert flops(lambda h: lax.scan(lambda h, _: (jnp.tanh(h), h * h), h, None, length=3)[0], jnp.zeros(4)) == 3 * 4


def test_gradients_that_meet_are_added():
    assert flops(jax.grad(lambda x: (x * x).sum()), jnp.zeros(4)) == 4 * (
        2 + 1
    )  # of either x; the value is not asked for


def test_a_reduction_over_an_axis_of_one_is_free():
    assert flops(lambda x: x.sum(0), jnp.zeros((1, 4))) == 0
    assert flops(lambda x: x.sum(0), jnp.zeros((2, 4))) == 8


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
    assert flops(lambda x: lax.fori_loop(0, 4, lambda _, x: x * 2.0, x), 1.0) == 4  # a scan to jax


def test_the_work_of_kernels_weighs_exponentials_and_leaves_out_what_is_around_them():
    """A grid of 3, each a loop of 5 with an exponential, a product and a sum of 8 numbers; the rest is XLA's."""

    def kernel(x, y):
        def step(_, total):
            return total + x[...] * jnp.exp(x[...])

        y[...] = jax.lax.fori_loop(0, 5, step, jnp.zeros_like(x[...]))

    def run(x):
        part = pl.BlockSpec((8,), lambda i: (i,))
        call = pl.pallas_call(kernel, grid=(3,), in_specs=[part], out_specs=part, out_shape=x, interpret=True)
        return jnp.tanh(call(jnp.exp(x)))

    jaxpr = jax.make_jaxpr(run)(jnp.zeros(24))
    assert work_of_kernels(jaxpr, of_exponential=16) == 3 * 5 * 8 * (16 + 2)
    assert work_of_kernels(jax.make_jaxpr(jnp.exp)(1.0), of_exponential=16) == 0


def test_a_pallas_kernel_counts_for_each_of_its_grid():
    """Two kernels, each with all of the arithmetic of the state, beside the same of one form."""
    u, A, B = jnp.zeros((1, 256, 32)), jnp.zeros((32, 16)), jnp.zeros((1, 256, 16))
    one, both = (
        flops(lambda u, A, B, method=method: selective_scan(Inputs(u, u, B, B), A, method=method)[0], u, A, B)
        for method in ("sequential", "pallas")
    )
    assert one is not None
    assert both is not None
    assert 1.5 * one < both < 2.2 * one


@pytest.mark.parametrize("mask", [Mask(), Mask(window=100), Mask(causal=False)], ids=str)
def test_splash_counts_by_the_equation(mask):
    """The kernels' padding does not count, and under a gradient, vmap and rematerialisation it is still found."""
    q, k = (jax.ShapeDtypeStruct((2, 256, heads, 24), jnp.float32) for heads in (4, 2))
    masks = {"causal": mask.causal, "window": mask.window or 0}
    forward, backward = (native.flops(f"attention_{way}", q.shape, k.shape, **masks) for way in ("forward", "backward"))

    def run(q, k, v):
        return attention(q, k, v, mask, method="splash")

    scaled = q.size  # q / sqrt(K)
    assert flops(run, q, k, k) == forward + scaled
    assert flops(jax.checkpoint(run), q, k, k) == forward + scaled

    def pulled(q, k, v, dy):
        return jax.vjp(run, q, k, v)[1](dy)

    dy_y = 2 * (2 * 256 * 4 * kernels.LANES)  # outside of the kernels, with the padding of heads
    assert flops(pulled, q, k, k, q) == forward + backward + 2 * scaled + dy_y


def test_what_a_kernel_of_others_skips_is_not_known():
    """The same kernels, called by a user and not by `splash`."""
    q = jnp.zeros((1, 128, 1, 8))
    assert flops(lambda q: kernels._splash(q, q, q, Mask()), q) is None


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
    """With remat, the gradient has a forward pass of its own, of 2 products a step; the value takes another."""
    more, plain = (
        flops(jax.value_and_grad(function, argnums=(1, 2)), *ARGUMENTS) for function in (jax.checkpoint(looped), looped)
    )
    assert more is not None
    assert plain is not None
    assert more - plain == pytest.approx(STEPS * 2 * 2 * ROWS * WIDTH * WIDTH, rel=0.02)


@pytest.mark.parametrize("differentiate", [False, True])
@pytest.mark.parametrize("function", [looped, attended])
def test_against_xla_on_programs_without_loops(function, differentiate):
    """XLA counts transcendental functions apart."""
    program = jax.grad(function, argnums=(0, 1, 2)) if differentiate else function
    analysis = jax.jit(program).lower(*ARGUMENTS).cost_analysis()
    assert analysis is not None
    expected = analysis["flops"] + analysis.get("transcendentals", 0)
    assert flops(program, *ARGUMENTS) == pytest.approx(expected, rel=0.02)
