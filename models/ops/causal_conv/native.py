"""The causal convolution by a C++ kernel on a CPU (models/ops/native/causal_conv.cc). Equation: equation.py."""

from jax import Array
from jaxtyping import Float

from lengthscale.models.ops import native


def conv_native(
    x: Float[Array, "B T E"],
    w: Float[Array, "K E"],
    bias: Float[Array, " E"],
    before: Float[Array, "B K-1 E"],
    *,
    silu: bool,
) -> Float[Array, "B T E"]:
    """The outputs of `models.ops.causal_conv.causal_conv1d`. Same arguments, all in float32."""
    return _conv(x, w, bias, before, silu=silu)


def _forward(*args, keep, silu):
    return native.call("causal_conv_forward", native.like(args[0]), args, silu=silu), args


def _backward(args, dy, silu):
    return native.call("causal_conv_backward", native.like(args), args, dy, silu=silu)


_conv = native.differentiable(_forward, _backward)
