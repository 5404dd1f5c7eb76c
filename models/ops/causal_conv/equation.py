"""Depthwise causal convolution over time, with the SiLU that follows it in Mamba (Gu and Dao, arXiv:2312.00752, 3.4).

    y_t = f(a_t), a_t = bias + sum_k w_k x_{t-K+1+k}          f: none, or SiLU

w[K-1] meets x_t. The state is the last K-1 inputs. The adjoint, with g_t = dL/da_t = dy_t f'(a_t):

    dx_s = sum_k w_k g_{s+K-1-k}          dw_k = sum_t g_t x_{t-K+1+k}          dbias = sum_t g_t

dx_s of the K-1 inputs before the first are the gradient of the state; a g beyond either end is 0.

Axes: B batch, T time, E channels, K taps.
"""

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float


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
