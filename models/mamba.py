"""Mamba (Gu and Dao, arXiv:2312.00752): a selective state space model, S6, gated, without an MLP.

    u, z = W_in x;  u = silu(conv(u));  dt, B, C = W_x u;  dt = softplus(W_dt dt + b_dt)
    h_t = exp(dt A) h_{t-1} + dt B u_t;  y = (C . h + D u) silu(z);  out = W_out y

A = -exp(A_log). exp(dt A) and dt B are what Mamba's code does, where its paper says zero-order hold for both; that and
other rules are options (see models/ops/discretise.py).
State: the last K-1 inputs of the convolution (B, K-1, E), and h (B, N, E) in float32.
"""

import math
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array, lax
from jaxtyping import Float

from lengthscale.models import Interface, Size
from lengthscale.models.backbone import Backbone, BackboneConfig, residual_backbone
from lengthscale.models.base import Mixer
from lengthscale.models.layers import Linear, project, rms_norm, torch_init
from lengthscale.models.ops.availability import by_platform
from lengthscale.models.ops.causal_conv import causal_conv1d
from lengthscale.models.ops.selective_scan import Gate, Inputs, gated_selective_scan


class MambaState(NamedTuple):
    """The convolution's last inputs and the state of the scan."""

    conv: Float[Array, "B K-1 E"]
    h: Float[Array, "B N E"]


@dataclass(frozen=True)
class MambaConfig:
    """Mamba's hyper-parameters, with its paper's defaults."""

    d_model: int  # D
    n_blocks: int
    d_state: int = 16  # N
    d_conv: int = 4  # K, taps of the convolution
    expand: int = 2  # E / D
    dt_rank: int | None = None  # of W_dt W_x; None: D / 16, rounded up
    epsilon: float = 1e-5  # of the norms
    discretisation: str = "mamba"  # one of models.ops.discretise.RULES
    tied: bool = True  # the head is the embedding, transposed

    @property
    def d_inner(self) -> int:
        """E."""
        return self.expand * self.d_model


class Mamba(Mixer):
    """One Mamba mixer of a model with this config. method: see models.ops.selective_scan."""

    read_by_columns, reads_input_by = ("A_log",), ("in_proj",)

    def __init__(self, config: MambaConfig, *, method: str = "auto", rngs: nnx.Rngs):
        d_model, d_inner, d_state, d_conv = config.d_model, config.d_inner, config.d_state, config.d_conv
        dt_rank = config.dt_rank or math.ceil(d_model / 16)
        uniform = jax.random.uniform
        self.in_proj = Linear(d_model, 2 * d_inner, use_bias=False, kernel_init=torch_init(), rngs=rngs)
        self.conv_w = nnx.Param(uniform(rngs.params(), (d_conv, d_inner), minval=-1, maxval=1) * d_conv**-0.5)
        self.conv_b = nnx.Param(jnp.zeros(d_inner))
        self.x_proj = Linear(d_inner, dt_rank + 2 * d_state, use_bias=False, kernel_init=torch_init(), rngs=rngs)
        dt_kernel_init = nnx.initializers.uniform(2 * dt_rank**-0.5)  # shifted to +- rank^-1/2 below
        self.dt_proj = Linear(dt_rank, d_inner, kernel_init=dt_kernel_init, bias_init=_dt_bias, rngs=rngs)
        self.dt_proj.kernel[...] -= dt_rank**-0.5
        self.A_log = nnx.Param(jnp.tile(jnp.log(jnp.arange(1.0, d_state + 1)), (d_inner, 1)))
        self.D = nnx.Param(jnp.ones(d_inner))
        out_init = torch_init(config.n_blocks)
        self.out_proj = Linear(d_inner, d_model, use_bias=False, kernel_init=out_init, rngs=rngs)
        self.discretisation, self.method = config.discretisation, method
        self.d_inner, self.d_state, self.d_conv, self.dt_rank = d_inner, d_state, d_conv, dt_rank

    def __call__(self, x, state: MambaState | None, position):
        conv, h = self.init_state(x.shape[0], 0, x.dtype) if state is None else state
        u, z = self._halves(x)
        u, conv = causal_conv1d(u, self.conv_w[...], self.conv_b[...], conv, silu=True)
        delta, B, C = jnp.split(self.x_proj(u), [self.dt_rank, self.dt_rank + self.d_state], axis=-1)
        assert self.dt_proj.bias is not None
        y, h = gated_selective_scan(
            Inputs(u, project(delta, self.dt_proj.kernel[...]), B.astype(h.dtype), C.astype(h.dtype)),
            -jnp.exp(self.A_log[...].astype(h.dtype)),
            h,
            Gate(z, self.D[...], self.dt_proj.bias[...]),
            discretisation=self.discretisation,
            method=self.method,
        )
        return self.out_proj(y), MambaState(conv, h)

    def _halves(self, x):
        """u and z of W_in x: on CUDA two products, but for a single token.

        Of one, a GPU copies both halves to give each to a kernel, and both gradients to join them again. XLA makes two
        products of one x into one, but not across a barrier. After the last of them x is not needed: so z, which
        is needed last, comes first.
        """
        if not by_platform({"cuda": x.shape[1] > 1}, False) or not isinstance(self.in_proj, Linear):  # see one_row.py
            return jnp.split(self.in_proj(x), 2, axis=-1)
        w_u, w_z = jnp.split(self.in_proj.kernel[...], 2, axis=-1)
        z = project(x, w_z)
        x, z = lax.optimization_barrier((x, z))
        return project(x, w_u), z

    def init_state(self, batch, capacity, dtype):
        conv = jnp.zeros((batch, self.d_conv - 1, self.d_inner), dtype)
        h = jnp.zeros((batch, self.d_state, self.d_inner), jnp.promote_types(dtype, jnp.float32))
        return MambaState(conv, h)


def _dt_bias(key, shape, dtype):
    """softplus^-1 of LogUniform[1e-3, 1e-1], at least 1e-4."""
    log_dt = jax.random.uniform(key, shape, dtype, math.log(1e-3), math.log(1e-1))
    dt = jnp.maximum(jnp.exp(log_dt), 1e-4)
    return dt + jnp.log(-jnp.expm1(-dt))


def mamba(config: MambaConfig, *, interface: Interface, method: str = "auto", rngs: nnx.Rngs) -> Backbone:
    """The paper's language model: RMSNorm, then the mixer, in every block. method: see models.ops.selective_scan."""
    norm = partial(rms_norm, epsilon=config.epsilon)
    return residual_backbone(
        BackboneConfig(config.d_model, config.n_blocks, norm=norm, tied=config.tied),
        partial(Mamba, config, method=method),
        None,
        interface=interface,
        rngs=rngs,
    )


def build(*, size: Size, interface: Interface, method: str, rngs: nnx.Rngs, rule: str = "mamba") -> Backbone:
    """Of this size, with twice as many blocks as a Transformer has layers. rule: of discretisation."""
    config = MambaConfig(size.d_model, 2 * size.n_layers, discretisation=rule)
    return mamba(config, interface=interface, method=method, rngs=rngs)
