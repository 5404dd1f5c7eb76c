"""The linear, time-invariant state space model as a sequence model: S4D (Gu et al., arXiv:2206.11893) with an MLP.

    x' = A x + B u,  y = C x + D u   in every channel, A diagonal, discretised with a step dt of the channel's own
    out = GLU(W gelu(y) + b),  GLU(v, w) = v sigmoid(w)

A = -exp(log_A_real) + i A_imag holds one of each conjugate pair of N states, B is 1 (C scales it), dt starts
log-uniform in [1e-3, 1e-1], or in all channels at one end of that (`s4d:dt=small`, `s4d:dt=large`). State: x
(B, H, N/2), complex64 at least.
"""

import math
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array, lax
from jaxtyping import Complex

from lengthscale.models import Interface, Size, hippo
from lengthscale.models.backbone import Backbone, matched_backbone
from lengthscale.models.base import Mixer
from lengthscale.models.layers import Linear, residual_init, scale
from lengthscale.models.ops.discretise import discretise
from lengthscale.models.ops.s4d import System, s4d

DT_RANGE = (1e-3, 1e-1)
DT_STARTS = {"spread": DT_RANGE, "small": (DT_RANGE[0],) * 2, "large": (DT_RANGE[1],) * 2}
INITS = {"lin": hippo.s4d_lin, "inv": hippo.s4d_inv, "real": hippo.s4d_real}


@dataclass(frozen=True)
class S4DConfig:
    """One S4D layer, with its paper's defaults. Raises ValueError for a value that cannot be."""

    d_model: int  # H
    d_state: int = 64  # N
    discretisation: str = "zoh"  # one of models.ops.discretise.RULES
    init: str = "lin"  # what A starts from, a key of INITS
    dt_range: tuple[float, float] = DT_RANGE  # what dt starts in, log-uniform
    n_residuals: int = 1  # residual additions in the model, which scale the initial values

    def __post_init__(self):
        if self.d_state < 2 or self.d_state % 2:
            raise ValueError(f"d_state must be even, of conjugate pairs, got {self.d_state}")
        if self.init not in INITS:
            raise ValueError(f"unknown init {self.init!r}; expected {', '.join(INITS)}")
        if not 0 < self.dt_range[0] <= self.dt_range[1]:
            raise ValueError(f"dt_range must be two positive steps, the smaller one first, got {self.dt_range}")


class S4D(Mixer):
    """One S4D layer. method: see models.ops.s4d. Parameters are real: C's last axis is (real, imaginary)."""

    def __init__(self, config: S4DConfig, *, method: str = "auto", rngs: nnx.Rngs):
        d_model, d_state = config.d_model, config.d_state
        A = jnp.tile(INITS[config.init](d_state), (d_model, 1))
        normal, uniform = jax.random.normal, jax.random.uniform
        low, high = map(math.log, config.dt_range)
        self.log_dt = nnx.Param(uniform(rngs.params(), (d_model,), minval=low, maxval=high))
        self.log_A_real = nnx.Param(jnp.log(-A.real))
        self.A_imag = nnx.Param(A.imag)
        self.C = nnx.Param(normal(rngs.params(), (d_model, d_state // 2, 2)) * 0.5**0.5)
        self.D = nnx.Param(normal(rngs.params(), (d_model,)))
        self.out = Linear(d_model, 2 * d_model, kernel_init=residual_init(config.n_residuals, "fan_in"), rngs=rngs)
        self.discretisation, self.method = config.discretisation, method
        self.d_model, self.d_state = d_model, d_state

    def __call__(self, x, state, position):
        a, b, c = self.discrete()
        y, state = s4d(x.astype(c.real.dtype), System(a, b, c), state, method=self.method)
        y = jax.nn.gelu(y.astype(x.dtype) + scale(x, self.D[...]), approximate=False)
        return jax.nn.glu(self.out(y)), state

    def prefill(self, x):
        return self(x, None, 0)

    def discrete(self) -> tuple[Complex[Array, "H N"], Complex[Array, "H N"], Complex[Array, "H N"]]:
        """Abar, Bbar and C, in complex64 at least."""
        log_dt, C = map(_wide, (self.log_dt, self.C))
        A = self.poles()
        a, b = discretise(A, jnp.ones_like(A), jnp.exp(log_dt)[:, None], self.discretisation)
        return a, b, lax.complex(C[..., 0], C[..., 1])

    def poles(self) -> Complex[Array, "*blocks H N"]:
        """A, in complex64 at least; also of stacked blocks."""
        return lax.complex(-jnp.exp(_wide(self.log_A_real)), _wide(self.A_imag))

    def init_state(self, batch, capacity, dtype) -> Complex[Array, "B H N"]:
        dtype = jnp.promote_types(dtype, jnp.complex64)
        return jnp.zeros((batch, self.d_model, self.d_state // 2), dtype)


def _wide(v: nnx.Param) -> Array:
    """In float32 at least."""
    return v[...].astype(jnp.promote_types(v.dtype, jnp.float32))


def build(
    *, size: Size, interface: Interface, method: str, rngs: nnx.Rngs, rule: str = "zoh", dt: str = "spread"
) -> Backbone:
    """Of this size. rule: of discretisation. dt: where the channels' steps start, a key of DT_STARTS."""
    config = S4DConfig(size.d_model, discretisation=rule, dt_range=DT_STARTS[dt], n_residuals=2 * size.n_layers)
    return matched_backbone(size, interface, partial(S4D, config, method=method), rngs=rngs)
