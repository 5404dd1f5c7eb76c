"""Softmax attention: the equation and its adjoint (equation.py), the form in blocks (plan.py, blocks.py, cache.py), the
kernels (native.py, kernels.py, pallas.py with flash.py, step.py), and which of them is taken (dispatch.py)."""

from lengthscale.models.ops.attention.cache import attention_to_cache
from lengthscale.models.ops.attention.dispatch import METHODS, attention, attention_with_cache
from lengthscale.models.ops.attention.equation import (
    CAUSAL,
    Cache,
    Mask,
    attention_reference,
    attention_weights_reference,
    attention_with_cache_reference,
)

__all__ = [
    "CAUSAL",
    "METHODS",
    "Cache",
    "Mask",
    "attention",
    "attention_reference",
    "attention_to_cache",
    "attention_weights_reference",
    "attention_with_cache",
    "attention_with_cache_reference",
]
