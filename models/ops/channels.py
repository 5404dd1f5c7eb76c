"""Products and sums with one number a channel, whose gradients on a CPU are matrix products.

    scale  y = x * factor,   dx = dy * factor,   dfactor = sum over all axes but the last of dy * x
    shift  y = x + bias,     dx = dy,            dbias = sum over all axes but the last of dy

Axes: T time, E channels; "..." are any axes before the channels.
"""

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from lengthscale.models.ops.availability import by_platform


def scale(x: Float[Array, "... E"], factor: Float[Array, " E"]) -> Float[Array, "... E"]:
    """x * factor, one factor a channel, whose gradient is a matrix product."""
    return _scale(*_alike(x, factor))


def shift(x: Float[Array, "... E"], bias: Float[Array, " E"]) -> Float[Array, "... E"]:
    """x + bias, one bias a channel, whose gradient is a matrix product."""
    return _shift(*_alike(x, bias))


def _alike(x, y):
    """Both in the type of their product; so each one's gradient is cast back to its own type."""
    dtype = jnp.promote_types(x.dtype, y.dtype)
    return x.astype(dtype), y.astype(dtype)


def sum_over_time(x: Float[Array, "... E"]) -> Float[Array, " E"]:
    """The sum of x over all axes but the last; on a CPU as a product with ones.

    XLA would fuse a plain sum with the computation of x and then, on a CPU (jax 0.10), read x by columns: 4x slower,
    measured on the convolution. Elsewhere a product would round x, to TF32 on a GPU.
    """
    rows = x.reshape(-1, x.shape[-1])
    return jnp.ones(rows.shape[0], x.dtype) @ rows if by_platform({"cpu": True}, False) else rows.sum(0)


@jax.custom_vjp
def _scale(x, factor):
    return x * factor


_scale.defvjp(lambda x, factor: (x * factor, (x, factor)), lambda res, g: (g * res[1], sum_over_time(g * res[0])))


@jax.custom_vjp
def _shift(x, bias):
    return x + bias


_shift.defvjp(lambda x, bias: (x + bias, None), lambda _, g: (g, sum_over_time(g)))
