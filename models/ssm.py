"""The linear, time-invariant state space model as a sequence model: S4D (Gu et al., arXiv:2206.11893) with an MLP.

    x' = A x + B u,  y = C x + D u   in every channel, A diagonal, discretised with a step dt of the channel's own
    out = GLU(W gelu(y) + b),  GLU(v, w) = v sigmoid(w)

A = -exp(log_A_real) + i A_imag holds one of each conjugate pair of N states, B is 1 (C scales it), dt starts
log-uniform in [1e-3, 1e-1]. State: x (B, H, N/2), complex64 at least.
"""

import math
from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array, lax
from jaxtyping import Complex

from models import Interface, Size, hippo
from models.backbone import Backbone, matched_backbone
from models.base import Mixer
from models.layers import Linear, residual_init, scale
from models.ops.discretise import discretise
from models.ops.s4d import s4d

INITS = {"lin": hippo.s4d_lin, "inv": hippo.s4d_inv, "real": hippo.s4d_real}


class S4D(Mixer):
    """One S4D layer with its paper's defaults: N=64, zero-order hold, A from S4D-Lin.

    discretisation: one of models.ops.discretise.RULES. init: what A starts from, a key of INITS. method: see
    models.ops.s4d. Parameters are real: C's last axis is (real, imaginary).
    """

    def __init__(
        self,
        d_model: int,
        *,
        d_state: int = 64,
        discretisation: str = "zoh",
        init: str = "lin",
        n_residuals: int = 1,
        method: str = "auto",
        rngs: nnx.Rngs,
    ):
        if d_state < 2 or d_state % 2:
            raise ValueError(f"d_state must be even, of conjugate pairs, got {d_state}")
        if init not in INITS:
            raise ValueError(f"unknown init {init!r}; expected {', '.join(INITS)}")
        A = jnp.tile(INITS[init](d_state), (d_model, 1))
        normal, uniform = jax.random.normal, jax.random.uniform
        self.log_dt = nnx.Param(uniform(rngs.params(), (d_model,), minval=math.log(1e-3), maxval=math.log(1e-1)))
        self.log_A_real = nnx.Param(jnp.log(-A.real))
        self.A_imag = nnx.Param(A.imag)
        self.C = nnx.Param(normal(rngs.params(), (d_model, d_state // 2, 2)) * 0.5**0.5)
        self.D = nnx.Param(normal(rngs.params(), (d_model,)))
        self.out = Linear(d_model, 2 * d_model, kernel_init=residual_init(n_residuals), rngs=rngs)
        self.discretisation, self.method = discretisation, method
        self.d_model, self.d_state = d_model, d_state

    def __call__(self, x, state, position):
        a, b, c = self.discrete()
        y, state = s4d(x.astype(c.real.dtype), a, b, c, state, method=self.method)
        y = jax.nn.gelu(y.astype(x.dtype) + scale(x, self.D[...]), approximate=False)
        return jax.nn.glu(self.out(y)), state

    def prefill(self, x):
        return self(x, None, 0)

    def discrete(self) -> tuple[Complex[Array, "H N"], Complex[Array, "H N"], Complex[Array, "H N"]]:
        """Abar, Bbar and C, in complex64 at least."""
        log_dt, log_A_real, A_imag, C = (
            v[...].astype(jnp.promote_types(v.dtype, jnp.float32))
            for v in (self.log_dt, self.log_A_real, self.A_imag, self.C)
        )
        A = lax.complex(-jnp.exp(log_A_real), A_imag)
        a, b = discretise(A, jnp.ones_like(A), jnp.exp(log_dt)[:, None], self.discretisation)
        return a, b, lax.complex(C[..., 0], C[..., 1])

    def init_state(self, batch, capacity, dtype) -> Complex[Array, "B H N"]:
        dtype = jnp.promote_types(dtype, jnp.complex64)
        return jnp.zeros((batch, self.d_model, self.d_state // 2), dtype)


def build(*, size: Size, interface: Interface, method: str, discretisation: str = "zoh", rngs: nnx.Rngs) -> Backbone:
    def make_mixer(rngs):
        return S4D(size.d_model, discretisation=discretisation, n_residuals=2 * size.n_layers, method=method, rngs=rngs)

    return matched_backbone(size, interface, make_mixer, rngs=rngs)


build_bilinear = partial(build, discretisation="bilinear")
