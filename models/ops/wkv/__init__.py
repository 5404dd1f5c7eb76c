"""RWKV-4's WKV operator: the equation and its adjoint (equation.py), the forms (chunks.py, pallas.py), and which of
them is taken (dispatch.py)."""

from lengthscale.models.ops.wkv.dispatch import METHODS, wkv
from lengthscale.models.ops.wkv.equation import Decay, WKVState, empty_state, wkv_reference

__all__ = ["METHODS", "Decay", "WKVState", "empty_state", "wkv", "wkv_reference"]
