"""Mamba's selective scan: the equation and its adjoint (equation.py), the forms (chunks.py, native.py, pallas.py), and
which of them is taken (dispatch.py)."""

from lengthscale.models.ops.selective_scan.dispatch import METHODS, gated_selective_scan, selective_scan
from lengthscale.models.ops.selective_scan.equation import (
    Gate,
    Inputs,
    gated_selective_scan_reference,
    selective_scan_reference,
)

__all__ = [
    "METHODS",
    "Gate",
    "Inputs",
    "gated_selective_scan",
    "gated_selective_scan_reference",
    "selective_scan",
    "selective_scan_reference",
]
