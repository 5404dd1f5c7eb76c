"""Mamba's selective state space recurrence, S6 (Gu and Dao, arXiv:2312.00752, algorithm 2), and its gradient.

    h_t = Abar_t h_{t-1} + Bbar_t u_t          y_t = C_t . h_t

Abar = exp(dt A) and Bbar = dt B as in Mamba's code, or by another rule of models/ops/discretise.py: with l_t = dt_t A,
Abar_t = a(l_t) and Bbar_t = g(l_t) dt_t B_t, where g is the rule's gain.

The adjoint, by the chain rule, with lambda_t = dL/dh_t, and dy_t = dL/dy_t given:

    lambda_t = C_t dy_t + a(l_{t+1}) lambda_{t+1}
    dl_t = lambda_t h_{t-1} a'(l_t) + lambda_t dt_t u_t B_t g'(l_t)          dA = sum_t dt_t dl_t
    dC_t = sum_E h_t dy_t          dB_t = sum_E lambda_t g(l_t) dt_t u_t
    d(dt u)_t = sum_N lambda_t g(l_t) B_t, of which du_t = dt_t d(dt u)_t
    ddt_t = u_t d(dt u)_t + sum_N dl_t A          dh_0 = a(l_1) lambda_1

For the rule "mamba" a' = a, g = 1 and g' = 0. In place of a(l_{T+1}) lambda_{T+1} stands the gradient of the last
state, which is given.

A Mamba block has a step, a skip and a gate round the scan:

    dt_t = softplus(delta_t + delta_bias)          out_t = (y_t + D u_t) silu(z_t)

with the adjoint, where s = sigmoid(z_t), and dy_t, ddt_t and du_t are those of the scan:

    dy_t = dout_t z_t s          dz_t = dout_t (y_t + D u_t) (s + z_t s (1 - s))
    du_t += D dy_t          dD = sum_t dy_t u_t
    ddelta_t = ddt_t sigmoid(delta_t + delta_bias)          ddelta_bias = sum_t ddelta_t

Axes: B batch, T time, E inner width, N state size.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float

from lengthscale.models.ops.discretise import discretise


class Inputs(NamedTuple):
    """What each token brings: its input u, its step dt, what it writes to the state, B, and what it reads of it, C."""

    u: Float[Array, "B T E"]
    dt: Float[Array, "B T E"]
    B: Float[Array, "B T N"]
    C: Float[Array, "B T N"]


class Gate(NamedTuple):
    """What a Mamba block has round its scan: the gate z, the skip D, and the bias of delta."""

    z: Float[Array, "B T E"]
    D: Float[Array, " E"]
    delta_bias: Float[Array, " E"]


def selective_scan_reference(
    x: Inputs, A: Float[Array, "E N"], h0: Float[Array, "B N E"], *, discretisation: str = "mamba"
) -> tuple[Float[Array, "B T E"], Float[Array, "B N E"]]:
    """The equation, transcribed directly. Same arguments and results as `selective_scan`."""

    def step(h, x_t):
        u, dt, B, C = x_t
        Abar, Bbar = discretise(A.T, B[:, :, None], dt[:, None], discretisation)
        h = Abar * h + Bbar * u[:, None]
        return h, jnp.einsum("bn,bne->be", C, h)

    h, y = lax.scan(step, h0, jax.tree.map(lambda v: jnp.moveaxis(v, 1, 0), x))
    return jnp.moveaxis(y, 0, 1), h


def gated_selective_scan_reference(
    x: Inputs, A: Float[Array, "E N"], h0: Float[Array, "B N E"], gate: Gate, *, discretisation: str = "mamba"
) -> tuple[Float[Array, "B T E"], Float[Array, "B N E"]]:
    """The block's equations, transcribed directly. Same arguments and results as `gated_selective_scan`."""
    dt = jnp.logaddexp(x.dt + gate.delta_bias, 0)
    y, h = selective_scan_reference(x._replace(dt=dt), A, h0, discretisation=discretisation)
    return (y + gate.D * x.u) * gate.z / (1 + jnp.exp(-gate.z)), h
