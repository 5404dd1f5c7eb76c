"""The causal convolution as K shifted products in JAX. The equation and its adjoint are in equation.py."""

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float

from lengthscale.models.ops.channels import sum_over_time


def conv_shifted(
    x: Float[Array, "B T E"],
    w: Float[Array, "K E"],
    bias: Float[Array, " E"],
    before: Float[Array, "B K-1 E"],
    *,
    silu: bool,
) -> Float[Array, "B T E"]:
    """The outputs of `models.ops.causal_conv.causal_conv1d`. Same arguments."""
    y = _shifted(jnp.concatenate([before, x], axis=1), w, bias)
    return jax.nn.silu(y) if silu else y


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
