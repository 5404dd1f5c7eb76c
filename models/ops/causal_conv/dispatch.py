"""Which form of the causal convolution is taken. The equation and the axes are in equation.py.

Methods: "shifted", K shifted products in JAX (shifted.py); "native", a C++ kernel for float32 on a CPU (native.py);
"pallas", kernels for CUDA (pallas.py).
"""

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from lengthscale.models.ops.availability import by_platform, check_known, reason_against_native, require
from lengthscale.models.ops.causal_conv.native import conv_native
from lengthscale.models.ops.causal_conv.pallas import conv_pallas, reason_against_pallas
from lengthscale.models.ops.causal_conv.shifted import conv_shifted

METHODS = ("shifted", "native", "pallas")
_FORMS = {"shifted": conv_shifted, "native": conv_native, "pallas": conv_pallas}
KERNEL_STEPS = 8  # the fewest for a kernel; XLA fuses the step of a single token with the operations around it


def causal_conv1d(
    x: Float[Array, "B T E"],
    w: Float[Array, "K E"],
    bias: Float[Array, " E"],
    before: Float[Array, "B K-1 E"],
    *,
    silu: bool = False,
    method: str = "auto",
) -> tuple[Float[Array, "B T E"], Float[Array, "B K-1 E"]]:
    """The outputs y, and the last K-1 inputs, which are `before` of the next piece of the sequence.

    x: the inputs. w: the taps; w[K-1] meets the current input. before: the K-1 inputs that came before x, zeros at the
    start of a sequence. silu: whether f is SiLU. method: one of METHODS, or "auto": if x has KERNEL_STEPS at least,
    native on a CPU and pallas on CUDA, where they are available; else shifted. Raises ValueError for an unknown method,
    and for one that is not available.
    """
    check_known(method, METHODS)
    length, n_before = x.shape[1], before.shape[1]
    longer = x if length >= n_before else jnp.concatenate([before, x], axis=1)
    after = longer[:, longer.shape[1] - n_before :]
    args = x, w, bias, before
    return _FORMS[_chosen(method, args)](*args, silu=silu), after


def _chosen(method, args) -> str:
    if method != "auto":
        require(method, _reason_against(method, args))
        return method
    kernel = by_platform({"cpu": "native", "cuda": "pallas"}, "shifted")
    return kernel if args[0].shape[1] >= KERNEL_STEPS and _reason_against(kernel, args) is None else "shifted"


def _reason_against(method, args) -> str | None:
    reasons = {"native": reason_against_native, "pallas": reason_against_pallas}
    return reasons[method](args) if method in reasons else None
