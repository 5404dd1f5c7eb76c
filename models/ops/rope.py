"""Rotary positions (Su et al., arXiv:2104.09864, section 3.2), in GPT-NeoX's and Llama's layout ("rotate half").

Channels i and i + K/2 are the two parts of one number, rotated by an angle in proportion to the position t:

    (x_i + j x_{i+K/2}) e^{j t theta^(-2i/K)}        i < K/2

so that the product of a query and a key depends on their distance alone. The adjoint is the rotation by the opposite
angle. Axes: see models/ops/attention/equation.py.
"""

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int


def rope_reference(
    x: Float[Array, "B T H K"], position: Int[Array, " T"], theta: float = 10_000.0
) -> Float[Array, "B T H K"]:
    """The equation in complex numbers. Same arguments and result as `rope`."""
    first, second = jnp.split(x, 2, axis=-1)
    turn = jnp.exp(1j * _angles(x, position, theta))[:, None]
    turned = (first + 1j * second) * turn
    return jnp.concatenate([turned.real, turned.imag], axis=-1).astype(x.dtype)


def rope(x: Float[Array, "B T H K"], position: Int[Array, " T"], theta: float = 10_000.0) -> Float[Array, "B T H K"]:
    """Queries or keys x, rotated by their positions; in x's dtype.

    position: of every token. theta: the base of the rates. The angles are in float32 at least, since bfloat16 has too
    few digits for them. Raises ValueError for an odd K.
    """
    angle = _angles(x, position, theta)
    cos, sin = jnp.cos(angle)[:, None], jnp.sin(angle)[:, None]
    first, second = jnp.split(x, 2, axis=-1)
    return jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1).astype(x.dtype)


def _angles(x, position, theta):  # (T, K/2)
    size = x.shape[-1]
    if size % 2:
        raise ValueError(f"rotary positions need an even head size, got {size}")
    rate = theta ** (-np.arange(0, size, 2) / size)
    return position[:, None] * jnp.asarray(rate, jnp.promote_types(x.dtype, jnp.float32))
