"""Depthwise causal convolution over time, with the SiLU that follows it in Mamba (Gu and Dao, arXiv:2312.00752, 3.4).

    y_t = f(bias + sum_k w_k x_{t-K+1+k})          f: none, or SiLU

w[K-1] meets x_t. The state is the last K-1 inputs. The adjoint, with g_t = dL/d(the sum at t):

    dx_s = sum_k w_k g_{s+K-1-k}          dw_k = sum_t g_t x_{t-K+1+k}          dbias = sum_t g_t

dx_s of the K-1 inputs before the first are the gradient of the state; a g beyond either end is 0.

Methods: "native", a C++ kernel for float32 on a CPU, forward and backward (models/ops/native/causal_conv.cc), and
"shifted", K shifted products in JAX. Axes: B batch, T time, E channels, K taps.
"""

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float

from lengthscale.models.ops import native
from lengthscale.models.ops.availability import check_known, uses_native
from lengthscale.models.ops.channels import sum_over_time

METHODS = ("shifted", "native")
NATIVE_STEPS = 8  # the fewest for the kernel; XLA fuses the step of a single token with the operations around it


def causal_conv1d_reference(
    x: Float[Array, "B T E"],
    w: Float[Array, "K E"],
    bias: Float[Array, " E"],
    before: Float[Array, "B K-1 E"],
    *,
    silu: bool = False,
) -> tuple[Float[Array, "B T E"], Float[Array, "B K-1 E"]]:
    """The equation, transcribed directly. Same arguments and results as `causal_conv1d`."""

    def step(window, x_t):  # (B, K-1, E), (B, E)
        window = jnp.concatenate([window, x_t[:, None]], axis=1)
        a = bias + jnp.einsum("ke,bke->be", w, window)
        return window[:, 1:], a * jax.nn.sigmoid(a) if silu else a

    after, y = lax.scan(step, before, jnp.moveaxis(x, 1, 0))
    return jnp.moveaxis(y, 0, 1), after


def causal_conv1d(
    x: Float[Array, "B T E"],
    w: Float[Array, "K E"],
    bias: Float[Array, " E"],
    before: Float[Array, "B K-1 E"],
    *,
    silu: bool = False,
    method: str = "auto",
) -> tuple[Float[Array, "B T E"], Float[Array, "B K-1 E"]]:
    """The outputs y, and the last K-1 inputs, which are `before` of the next piece of the sequence.

    x: the inputs. w: the taps; w[K-1] meets the current input. before: the K-1 inputs that came before x, zeros at the
    start of a sequence. silu: whether f is SiLU. method: one of METHODS, or "auto": native where it is available and x
    has NATIVE_STEPS at least, else shifted. Raises ValueError for an unknown method, and for one that is not available.
    """
    check_known(method, METHODS)
    length, n_before = x.shape[1], before.shape[1]
    whole = jnp.concatenate([before, x], axis=1)
    after = x[:, length - n_before :] if length >= n_before else whole[:, length:]
    if uses_native(method, x.shape[1] >= NATIVE_STEPS, (x, w, bias, before)):
        return _native(x, w, bias, before, silu=silu), after
    y = _shifted(whole, w, bias)
    return jax.nn.silu(y) if silu else y, after


@jax.custom_vjp
def _shifted(x, w, bias):
    length = x.shape[1] - w.shape[0] + 1
    return bias + sum(x[:, k : k + length] * w[k] for k in range(w.shape[0]))


def _shifted_bwd(residuals, g):
    x, w = residuals
    width, length = w.shape[0], g.shape[1]
    g = lax.optimization_barrier(g)  # once, not in each product below: it is often the gradient of a nonlinearity
    dx = sum(jnp.pad(g * w[k], ((0, 0), (k, width - 1 - k), (0, 0))) for k in range(width))
    dw = jnp.stack([sum_over_time(x[:, k : k + length] * g) for k in range(width)])
    return dx, dw, sum_over_time(g)


_shifted.defvjp(lambda x, w, bias: (_shifted(x, w, bias), (x, w)), _shifted_bwd)


def _native_forward(*args, keep, silu):
    return native.call("causal_conv_forward", native.like(args[0]), args, silu=silu), args


def _native_backward(args, dy, silu):
    return native.call("causal_conv_backward", native.like(args), args, dy, silu=silu)


_native = native.differentiable(_native_forward, _native_backward)
