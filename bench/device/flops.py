"""FLOPs, counted in the program's jaxpr, since XLA's own count takes a loop's body once, whatever its length.

Convention: a multiply-add is 2; an elementwise or transcendental operation 1 for each output; a reduction 1 for each
input (none over an axis of length one); moving, comparing, selecting, converting and all operations on integers 0.
Complex numbers count as the real operations that they need (a product 6, a sum 2). A Fourier transform of n numbers is
5 n log2(n), of real numbers half of it: the usual convention (FFTW's), for any algorithm. A scan's body counts `length`
times, a cond counts its most expensive branch, and a Pallas kernel's body counts once for each place of its grid. A
`while`, whose number of iterations is unknown, makes the whole count unknown (None); so do kernels of others that skip
parts of their grid. Attention by cuDNN and by Splash, whose programs are hidden or skip blocks by tables, counts by the
equation, as our own kernels do: one for a GPU, whose loops end where the mask does, says its count in its metadata, and
what it computes in its cost estimate. Only what is computed counts. So the masked half of causal
attention does not count, since the blocked form does not compute it; nor does what no result needs, since XLA drops it,
nor the zeros with which a convolution is padded or its gradient is dilated.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax.interpreters.partial_eval import dce_jaxpr

from lengthscale.models.ops import native
from lengthscale.models.ops.attention import kernels

ELEMENTWISE = frozenset(
    """add sub mul div rem max min pow integer_pow exp exp2 log log1p expm1 tanh sin cos tan logistic sqrt rsqrt cbrt
    erf erfc erf_inv neg abs sign floor ceil round square atan2 asin acos atan sinh cosh asinh acosh atanh lgamma
    digamma nextafter add_any""".split()
)
REDUCTIONS = frozenset(
    """reduce_sum reduce_max reduce_min reduce_prod argmax argmin cumsum cumprod cummax cummin cumlogsumexp""".split()
)

_TRANSCENDENTAL = frozenset("div exp exp2 log log1p expm1 tanh sin cos logistic sqrt rsqrt erf".split())
_ASM = {"ex2": 1, "fma": 2, "mov": 0}  # FLOPs of an instruction for each of its outputs

# Real operations of one complex operation; the count of others is unknown. A quotient takes 6 for the numerator, 3 for
# the denominator and two divisions.
_COMPLEX = {"mul": 6, "square": 6, "div": 11, "exp": 5, "abs": 4}
_COMPLEX |= dict.fromkeys(("add", "add_any", "sub", "neg", "reduce_sum", "cumsum"), 2)


def flops(function, *args) -> int | None:
    """The FLOPs of one call with arguments of these shapes, which may be abstract; None where the count is unknown."""
    return flops_of(jax.make_jaxpr(function)(*args))


def flops_of(closed_jaxpr) -> int | None:
    """The FLOPs of a program that has been traced; None where the count is unknown."""
    total = _count(closed_jaxpr.jaxpr)
    return None if math.isnan(total) else int(total)


def _count(jaxpr, splash: dict | None = None) -> float:
    jaxpr, _ = dce_jaxpr(jaxpr, [True] * len(jaxpr.outvars))
    return sum(flops_of_equation(eqn, splash) for eqn in jaxpr.eqns)


def flops_of_equation(eqn, splash: dict | None = None) -> float:
    """The FLOPs of one equation of a jaxpr; nan where the count is unknown. splash: of the call of Splash it is in."""
    name = eqn.primitive.name
    if name == "dot_general":
        (contracted, _), _ = eqn.params["dimension_numbers"]
        shape = eqn.invars[0].aval.shape
        return _multiply_add(eqn) * eqn.outvars[0].aval.size * math.prod(shape[axis] for axis in contracted)
    if name == "conv_general_dilated":
        return _multiply_add(eqn) * _products_of_convolution(eqn)
    if name == "fft":
        before, after = eqn.invars[0].aval, eqn.outvars[0].aval
        each = 5 if before.dtype == after.dtype else 2.5
        return each * max(before.size, after.size) * math.log2(math.prod(eqn.params["fft_lengths"]))
    if name == "scan":
        return eqn.params["length"] * _count(eqn.params["jaxpr"].jaxpr)
    if name == "while":
        return math.nan
    if name.startswith("dot_product_attention"):
        return _of_cudnn(eqn)
    if name == "ffi_call":
        sizes = {name: int(value) for name, value in eqn.params["attributes"]}
        return native.flops(eqn.params["target_name"], *(x.aval.shape for x in eqn.invars), **sizes)
    if name == "pallas_call":
        mapping = eqn.params["grid_mapping"]
        if mapping.num_index_operands:  # lists of the places of the grid that are run
            return _of_splash(eqn, splash) if splash else math.nan
        if counted := (eqn.params["metadata"] or {}).get("flops"):
            return float(counted)
        return math.prod(mapping.grid) * _count(eqn.params["jaxpr"])
    if name.startswith("elementwise_inline_asm"):  # a GPU's instruction, in a kernel of Pallas
        return _ASM.get(eqn.params["asm"].partition(".")[0], math.nan) * eqn.outvars[0].aval.size
    if name == "cond":
        return max((_count(branch.jaxpr) for branch in eqn.params["branches"]), key=_nan_first)
    if name in ELEMENTWISE:
        return _each(eqn, name) * eqn.outvars[0].aval.size
    if name in REDUCTIONS:
        size = eqn.invars[0].aval.size
        moves = not name.startswith("cum") and size == eqn.outvars[0].aval.size
        return 0 if moves else _each(eqn, name) * size
    if name in ("scatter-add", "scatter_add"):
        return _each(eqn, "add") * eqn.invars[-1].aval.size
    splash = kernels.splash_of(str(eqn.params.get("name"))) or splash
    return sum(_count(inner, splash) for inner in inner_jaxprs(eqn))


def work_of_kernels(closed_jaxpr, of_exponential: float, of_product: float = 1) -> float:
    """The work of a program's Pallas kernels, in FLOPs outside of matrix units; nan where it is unknown.

    of_exponential: the FLOPs as long as which an exponential takes, and each other function that is no polynomial.
    of_product: those as long as which a FLOP of a matrix product takes, in kernels that estimate their cost: of these
    products and exponentials count, the one that takes longer.
    """

    def work(jaxpr, inside: bool) -> float:
        jaxpr, _ = dce_jaxpr(jaxpr, [True] * len(jaxpr.outvars))
        return sum(of_equation(eqn, inside) for eqn in jaxpr.eqns)

    def of_equation(eqn, inside: bool) -> float:
        name = eqn.primitive.name
        inner = list(inner_jaxprs(eqn))
        if name == "pallas_call":
            mapping, cost = eqn.params["grid_mapping"], eqn.params["cost_estimate"]
            if mapping.num_index_operands:  # lists of places: they are Splash's, which multiplies matrices
                return 0
            if cost:
                return max(of_product * cost.flops, of_exponential * cost.transcendentals)
            return math.prod(mapping.grid) * work(eqn.params["jaxpr"], True)
        if name == "scan":
            return eqn.params["length"] * work(inner[0], inside)
        if name == "cond":
            return max(work(branch.jaxpr, inside) for branch in eqn.params["branches"])
        if inner and name != "while":
            return sum(work(each, inside) for each in inner)
        if not inside:
            return 0
        is_exponential = name in _TRANSCENDENTAL or str(eqn.params.get("asm")).startswith("ex2")
        return (of_exponential if is_exponential else 1) * flops_of_equation(eqn)

    return work(closed_jaxpr.jaxpr, False)


def _of_cudnn(eqn) -> float:
    """Attention by cuDNN; jax's names of the primitives end in what they are wrapped in."""
    q, k = (v.aval.shape for v in eqn.invars[:2])
    if eqn.params["layout"] != 0:  # another order of axes than (B, T, H, K)
        return math.nan
    mask, window = eqn.params["mask_type"].name, eqn.params["sliding_window_length"] or 0
    if mask not in ("NO_MASK", "CAUSAL", "PADDING"):
        return math.nan
    backward = eqn.primitive.name.startswith("dot_product_attention_bwd")
    return _of_attention(backward, q, k, mask == "CAUSAL", window)


def _of_splash(eqn, splash: dict) -> float:
    """Attention by one of Splash's kernels. Of the gradient's two, that for the keys counts for both."""
    if "_dq" in eqn.params["name"]:
        return 0.0
    return _of_attention("_dkv" in eqn.params["name"], **splash)


def _of_attention(backward: bool, q: tuple, k: tuple, causal: bool, window: int) -> float:
    return native.flops(f"attention_{'backward' if backward else 'forward'}", q, k, causal=causal, window=window)


def _products_of_convolution(eqn) -> int:
    """The number of products of an input and a weight, over all outputs."""
    (x, w), out = (v.aval.shape for v in eqn.invars), eqn.outvars[0].aval.shape
    params, axes = eqn.params, eqn.params["dimension_numbers"]
    products = out[axes.out_spec[0]] * out[axes.out_spec[1]] * w[axes.rhs_spec[1]]
    spatial = zip(axes.lhs_spec[2:], axes.rhs_spec[2:], axes.out_spec[2:], strict=True)
    for i, (x_axis, w_axis, out_axis) in enumerate(spatial):
        spread = params["lhs_dilation"][i]
        starts = np.arange(out[out_axis]) * params["window_strides"][i] - params["padding"][i][0]
        at = starts[:, None] + np.arange(w[w_axis]) * params["rhs_dilation"][i]
        products *= int(((at >= 0) & (at <= (x[x_axis] - 1) * spread) & (at % spread == 0)).sum())
    return products


def _multiply_add(eqn) -> int:
    """The FLOPs of one multiply-add; 0 for integers."""
    return 0 if not _is(eqn, jnp.inexact) else 8 if _is(eqn, jnp.complexfloating) else 2


def _each(eqn, name: str) -> float:
    """The FLOPs of an operation on one number."""
    if _is(eqn, jnp.complexfloating):
        return _complex_power(eqn.params["y"]) if name == "integer_pow" else _COMPLEX.get(name, math.nan)
    return 1 if _is(eqn, jnp.inexact) else 0


def _complex_power(exponent: int) -> int:
    """The FLOPs of an integer power of one complex number, by repeated squaring."""
    n = abs(exponent)
    products = n.bit_length() + n.bit_count() - 2
    return products * _COMPLEX["mul"] + (_COMPLEX["div"] if exponent < 0 else 0)


def _is(eqn, kind) -> bool:
    return jnp.issubdtype(eqn.invars[0].aval.dtype, kind)


def inner_jaxprs(eqn):
    """The programs inside an equation: of jit, remat, custom derivatives and the like."""
    for value in eqn.params.values():
        inner = getattr(value, "jaxpr", value)  # closed or open
        if hasattr(inner, "eqns"):
            yield inner


def _nan_first(value: float) -> float:
    return math.inf if math.isnan(value) else value
