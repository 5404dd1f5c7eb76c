"""How precisely the matrix units multiply in a program: its column `precision`.

bfloat16 is multiplied as it is. What becomes of float32 is asked for in each product, as jax's Precision, and differs
from platform to platform: a CPU always computes IEEE float32; CUDA does so for HIGHEST, and TF32 otherwise; a TPU
multiplies bfloat16 alone, and HIGHEST is a sum of six such products, with float32's rounding.
"""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Any

import jax.numpy as jnp
from jax import lax
from jax.interpreters.partial_eval import dce_jaxpr

from lengthscale.bench.device.flops import flops_of_equation, inner_jaxprs
from lengthscale.models.ops.platform import platform

_OF_FLOAT32 = {
    "cuda": {lax.Precision.HIGHEST: "float32", lax.Precision.HIGH: "tf32", lax.Precision.DEFAULT: "tf32"},
    "tpu": {
        lax.Precision.HIGHEST: "float32",
        lax.Precision.HIGH: "bfloat16 x3",
        lax.Precision.DEFAULT: "bfloat16",
    },
}


def precision_of(closed_jaxpr) -> str | None:
    """The precisions of a traced program's products, the one with most of them first: "bfloat16" or "bfloat16+float32".

    None for a program without products. The platform is the one that the program is traced for.
    """
    found: dict[str, float] = defaultdict(float)  # FLOPs
    _count(closed_jaxpr.jaxpr, 1, found)
    return "+".join(sorted(found, key=lambda name: -found[name])) or None


def _count(jaxpr: Any, times: float, found: dict[str, float]) -> None:
    """Add the products of a program that is run so many times."""
    jaxpr, _ = dce_jaxpr(jaxpr, [True] * len(jaxpr.outvars))
    for eqn in jaxpr.eqns:
        name = eqn.primitive.name
        if name in ("dot_general", "conv_general_dilated"):
            if precision := _precision(eqn):
                found[precision] += times * flops_of_equation(eqn)
        elif name == "ffi_call" or name.startswith("dot_product_attention"):  # our kernels for a CPU, cuDNN's attention
            found[eqn.invars[0].aval.dtype.name] += times * flops_of_equation(eqn)
        elif cost := eqn.params.get("cost_estimate"):  # a kernel whose loops' lengths are known to nobody else
            inside: dict[str, float] = defaultdict(float)
            _count(eqn.params["jaxpr"], 1, inside)
            for precision, share in inside.items():
                found[precision] += times * cost.flops * share / sum(inside.values())
        else:
            repeated = {"scan": eqn.params.get("length"), "pallas_call": _places(eqn)}.get(name) or 1
            for inner in (*inner_jaxprs(eqn), *(branch.jaxpr for branch in eqn.params.get("branches", ()))):
                _count(inner, times * repeated, found)


def _places(eqn) -> int | None:
    """The places of a kernel's grid; None for what is no kernel."""
    return math.prod(eqn.params["grid_mapping"].grid) if "grid_mapping" in eqn.params else None


def _precision(eqn) -> str | None:
    """The precision of a product; None for integers."""
    dtype = jnp.promote_types(eqn.invars[0].aval.dtype, eqn.invars[1].aval.dtype)
    if not jnp.issubdtype(dtype, jnp.inexact):
        return None
    if dtype not in (jnp.float32, jnp.complex64):
        return dtype.name
    asked = eqn.params["precision"]
    if isinstance(asked, lax.DotAlgorithm | lax.DotAlgorithmPreset):
        return str(asked)
    first = asked[0] if isinstance(asked, tuple) else asked
    return _OF_FLOAT32.get(platform(), {}).get(first or lax.Precision.DEFAULT, "float32")
