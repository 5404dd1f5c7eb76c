"""The causal convolution of Mamba: the equation and its adjoint (equation.py), the forms (shifted.py, native.py,
pallas.py), and which of them is taken (dispatch.py)."""

from lengthscale.models.ops.causal_conv.dispatch import METHODS, causal_conv1d
from lengthscale.models.ops.causal_conv.equation import causal_conv1d_reference

__all__ = ["METHODS", "causal_conv1d", "causal_conv1d_reference"]
