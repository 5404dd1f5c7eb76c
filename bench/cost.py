"""FLOPs by walking the program's jaxpr, since XLA's own count takes a loop's body once, whatever its length.

Convention: a multiply-add is 2; an elementwise or transcendental operation 1 for each output; a reduction 1 for each
input; moving, comparing, selecting and converting 0. A scan's body counts `length` times, a cond counts its dearest
branch, a Pallas kernel's body counts once for each of its grid. A `while` whose trip count is not known makes the
whole figure unknown (None); so do kernels that skip parts of their grid (Splash) or cannot be looked into (cuDNN's).
Only what is computed counts: the masked half of causal attention is absent, since the blocked form does not compute it.
"""

from __future__ import annotations

import math

import jax

from models.ops import native

_ELEMENTWISE = frozenset(
    """add sub mul div rem max min pow integer_pow exp exp2 log log1p expm1 tanh sin cos tan logistic sqrt rsqrt cbrt
    erf erfc erf_inv neg abs sign floor ceil round square atan2 asin acos atan sinh cosh asinh acosh atanh lgamma
    digamma nextafter add_any""".split()
)
_REDUCTIONS = frozenset(
    """reduce_sum reduce_max reduce_min reduce_prod argmax argmin cumsum cumprod cummax cummin cumlogsumexp""".split()
)


def flops(function, *args) -> int | None:
    """FLOPs of one call on arguments of these shapes (abstract ones will do); None where a loop's length is unknown."""
    return flops_of(jax.make_jaxpr(function)(*args))


def flops_of(closed_jaxpr) -> int | None:
    """As `flops`, of a program that is traced already."""
    total = _count(closed_jaxpr.jaxpr)
    return None if math.isnan(total) else int(total)


def _count(jaxpr) -> float:
    return sum(_equation(eqn) for eqn in jaxpr.eqns)


def _equation(eqn) -> float:
    name = eqn.primitive.name
    if name == "dot_general":
        (contracted, _), _ = eqn.params["dimension_numbers"]
        shape = eqn.invars[0].aval.shape
        return 2 * eqn.outvars[0].aval.size * math.prod(shape[axis] for axis in contracted)
    if name == "conv_general_dilated":
        kernel = eqn.invars[1].aval
        out_features = kernel.shape[eqn.params["dimension_numbers"].rhs_spec[0]]
        return 2 * eqn.outvars[0].aval.size * kernel.size // out_features
    if name == "scan":
        return eqn.params["length"] * _count(eqn.params["jaxpr"].jaxpr)
    if name == "while" or name.startswith("dot_product_attention"):
        return math.nan
    if name == "ffi_call":
        sizes = {name: int(value) for name, value in eqn.params["attributes"]}
        return native.flops(eqn.params["target_name"], *(x.aval.shape for x in eqn.invars), **sizes)
    if name == "pallas_call":
        mapping = eqn.params["grid_mapping"]
        skips = mapping.num_index_operands  # lists that say which of the grid to run
        return math.nan if skips else math.prod(mapping.grid) * _count(eqn.params["jaxpr"])
    if name == "cond":
        return max((_count(branch.jaxpr) for branch in eqn.params["branches"]), key=_nan_first)
    if name in _ELEMENTWISE:
        return eqn.outvars[0].aval.size
    if name in _REDUCTIONS or name.startswith("scatter-add") or name == "scatter_add":
        return eqn.invars[-1 if name.startswith("scatter") else 0].aval.size
    return sum(_count(inner) for inner in _inner_jaxprs(eqn))


def _inner_jaxprs(eqn):
    """What jit, remat, custom derivatives and the like hold."""
    for value in eqn.params.values():
        inner = getattr(value, "jaxpr", value)  # closed or open
        if hasattr(inner, "eqns"):
            yield inner


def _nan_first(value: float) -> float:
    return math.inf if math.isnan(value) else value
