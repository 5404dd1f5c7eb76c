"""The small parts that models share: MLP, sinusoidal positions, causal convolution, norms. Axes: see models/base.py."""

import math
from collections.abc import Callable
from functools import partial
from typing import Literal, TypeVar

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array, lax
from jaxtyping import Float, Int

from lengthscale.models.ops.channels import scale, shift

Module = TypeVar("Module", bound=nnx.Module)

# GPT-2 starts its matrices with a standard deviation of 0.02, at a width of 768. The same gain at a width of D is
# 0.02 sqrt(768 / D). With 0.02 itself, matrices of 32 columns start so small that attention does not learn to look
# anything up within 600 steps (recall of 4 pairs of a key and a value: accuracy 0.3); with the same gain it does (1.0).
INIT_STD, INIT_WIDTH = 0.02, 768
_GAIN = INIT_STD**2 * INIT_WIDTH
kernel_init = nnx.initializers.variance_scaling(_GAIN, "fan_in", "normal")  # of a matrix that reads the stream


def residual_init(n_residuals: int, width: Literal["fan_in", "fan_out"] = "fan_out"):
    """GPT-2's start of what adds to the residual stream: smaller by sqrt(residual additions).

    width: which axis has the stream's width.
    """
    return nnx.initializers.variance_scaling(_GAIN / n_residuals, width, "normal")


def init_std(d_model: int) -> float:
    """The standard deviation of GPT-2's initial matrices at this width."""
    return math.sqrt(_GAIN / d_model)


def torch_init(n_residuals: int = 1):
    """torch.nn.Linear's uniform(-1, 1) / sqrt(inputs), divided by sqrt(residual additions)."""
    return nnx.initializers.variance_scaling(1 / (3 * n_residuals), "fan_in", "uniform")


_REFLECTIONS = 32  # of a block, applied at once: one at a time, they move a matrix through memory for each row


def _reflected(q: Float[Array, "M D"], v: Float[Array, "B D"]) -> Float[Array, "M D"]:
    """q H_1 ... H_B of the reflections H_i = I - v_i v_i^T, where v_i v_i = 2.

    Their product is I - v^T T v, with an upper triangular T that grows by a column for each reflection (Schreiber and
    Van Loan, SIAM J. Sci. Stat. Comput. 10, 1989).
    """
    products = v @ v.T

    def grow(t, i):
        column = -t @ (products[:, i] * (jnp.arange(len(v)) < i))
        return t.at[:, i].set(column.at[i].set(1.0)), None

    t = lax.scan(grow, jnp.zeros_like(products), jnp.arange(len(v)))[0]
    return q - (q @ v.T) @ t @ v


@partial(jax.jit, static_argnums=(1, 2))  # traced once for all layers of a shape
def orthogonal_gates(key, n_gates: int, width: int) -> Float[Array, "G*D D"]:
    """A random orthogonal (D, D) matrix for each gate: reflections of Gaussian vectors (Stewart, SIAM J. 17, 1980).

    Not flax's orthogonal(): that calls LAPACK's QR, and two such calls at once wait for each other for ever on a CPU
    of two cores (jaxlib 0.10.2 runs each batch in the thread pool that the calls themselves occupy).
    """

    def one(key):
        v = jnp.triu(jax.random.normal(key, (width, width)))
        v *= math.sqrt(2) / jnp.linalg.norm(v, axis=1, keepdims=True)  # so that a reflection is I - v v^T
        v = jnp.pad(v, ((0, -width % _REFLECTIONS), (0, 0))).reshape(-1, _REFLECTIONS, width)  # I where v = 0
        return lax.scan(lambda q, block: (_reflected(q, block), None), jnp.eye(width), v)[0]

    with jax.default_matmul_precision("highest"):
        return jax.vmap(one)(jax.random.split(key, n_gates)).reshape(-1, width)


class LayerNorm(nnx.LayerNorm):
    """(x - mean) / sqrt(variance + epsilon) * scale + bias, whose gradients of scale and bias are products.

    The variance takes a second pass, since E[x^2] - E[x]^2 loses digits in float32.
    """

    def __call__(self, x: Float[Array, "... D"]) -> Float[Array, "... D"]:  # pyright: ignore[reportIncompatibleMethodOverride]
        dtype = x.dtype
        x = x.astype(jnp.promote_types(dtype, jnp.float32))
        x = x - x.mean(-1, keepdims=True)
        x = x * lax.rsqrt((x * x).mean(-1, keepdims=True) + self.epsilon)
        assert self.scale is not None
        assert self.bias is not None
        return shift(scale(x, self.scale[...]), self.bias[...]).astype(dtype)


class RMSNorm(nnx.RMSNorm):
    """x / sqrt(mean x^2 + epsilon) * scale, whose gradient of scale is a product."""

    def __call__(self, x: Float[Array, "... D"]) -> Float[Array, "... D"]:  # pyright: ignore[reportIncompatibleMethodOverride]
        dtype = x.dtype
        x = x.astype(jnp.promote_types(dtype, jnp.float32))
        assert self.scale is not None
        return scale(x * lax.rsqrt((x * x).mean(-1, keepdims=True) + self.epsilon), self.scale[...]).astype(dtype)


def stacked(make: Callable[..., Module], n: int, rngs: nnx.Rngs) -> Module:
    """n of what make(rngs=...) makes as one module, whose parameters have a leading axis n."""
    return nnx.split_rngs(splits=n)(nnx.vmap(lambda rngs: make(rngs=rngs)))(rngs)


def layer_norm(width: int, rngs: nnx.Rngs, epsilon: float = 1e-5) -> nnx.LayerNorm:
    """With torch's epsilon."""
    return LayerNorm(width, epsilon=epsilon, rngs=rngs)


def rms_norm(width: int, rngs: nnx.Rngs, epsilon: float = 1e-5) -> nnx.RMSNorm:
    """An RMSNorm (Zhang and Sennrich, arXiv:1910.07467) over the last axis, of this width."""
    return RMSNorm(width, epsilon=epsilon, rngs=rngs)


class Linear(nnx.Linear):
    """y = x W + b, with W's and b's gradients as fast products (see `project` and `shift`)."""

    read_by_columns = ("kernel",)  # see models/one_row.py

    def __call__(self, inputs: Float[Array, "... D"]) -> Float[Array, "... E"]:  # pyright: ignore[reportIncompatibleMethodOverride]
        y = project(inputs, self.kernel[...])
        return y if self.bias is None else shift(y, self.bias[...])


class MLP(nnx.Module):
    """y = W2 f(W1 x + b1) + b2, f = GELU by default."""

    reads_input_by = ("up",)

    def __init__(self, d_model: int, width: int, *, n_residuals: int = 1, activation: Callable = jax.nn.gelu, rngs):
        self.up = Linear(d_model, width, kernel_init=kernel_init, rngs=rngs)
        self.down = Linear(width, d_model, kernel_init=residual_init(n_residuals), rngs=rngs)
        self.activation = activation

    def __call__(self, x: Float[Array, "B T D"]) -> Float[Array, "B T D"]:
        return self.down(self.activation(self.up(x)))


class SwiGLU(nnx.Module):
    """y = W_down (silu(W_gate x) * W_up x), without biases (Shazeer, arXiv:2002.05202, section 2)."""

    reads_input_by = ("gate", "up")

    def __init__(self, d_model: int, width: int, *, n_residuals: int = 1, rngs):
        self.gate = Linear(d_model, width, use_bias=False, kernel_init=kernel_init, rngs=rngs)
        self.up = Linear(d_model, width, use_bias=False, kernel_init=kernel_init, rngs=rngs)
        self.down = Linear(width, d_model, use_bias=False, kernel_init=residual_init(n_residuals), rngs=rngs)

    def __call__(self, x: Float[Array, "B T D"]) -> Float[Array, "B T D"]:
        return self.down(jax.nn.silu(self.gate(x)) * self.up(x))


def sinusoidal_positions(position: Int[Array, " T"], width: int, dtype=jnp.float32) -> Float[Array, "T D"]:
    """Sines and cosines of position / 10000^(2i/D), interleaved (Vaswani et al., arXiv:1706.03762, section 3.5)."""
    rate = jnp.exp(-math.log(10_000.0) * jnp.arange(0, width, 2) / width)
    angle = position[:, None] * rate
    return jnp.stack([jnp.sin(angle), jnp.cos(angle)], axis=-1).reshape(-1, 2 * rate.size)[:, :width].astype(dtype)


def project(x: Float[Array, "... D"], w: Float[Array, "D E"]) -> Float[Array, "... E"]:
    """x W as a product of two matrices, and so W's gradient as well.

    With the leading axes as they are, XLA copies the gradient of y, transposed, on a CPU: 2.6x slower, measured at
    T=2048, D=256, E=1024.
    """
    return (x.reshape(-1, x.shape[-1]) @ w).reshape(*x.shape[:-1], -1)
