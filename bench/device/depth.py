"""The depth of a program, in its jaxpr: the longest chain of operations of which each one needs the one before.

It is the time on a machine with any number of processors (the work-depth model: Blelloch, "Programming parallel
algorithms", 1996); bench/device/flops.py counts the work, and which operations count is the same here and there.

Convention: an elementwise operation takes 1, of complex numbers too. A sum of n numbers takes ceil(log2 n), and so do a
product or a maximum of n, and all n sums of a cumulative one. A matrix product or a convolution takes 1 more than the
sum over its products, a Fourier transform 2 for each of its ceil(log2 n) stages. A scatter that adds counts as one sum
of all that is added. Moving, comparing, selecting, converting and all operations on integers take 0. An array is there
when all of it is: the items that a scan collects wait for the last one. A cond takes its deepest branch.

Each value of a program depends on each of its sources by a longest path, and

    y = max_j (w_j + x_j)        x: the depths of the sources, w: the lengths of the longest paths (-inf: no path)

is linear with max as the sum and + as the product. The paths through a scan of n iterations are therefore a power of
the matrix of its body's, which repeated squaring gives exactly. What does not depend on the carry adds its depth once.

The depth is unknown where a `while` does not tell how often it runs, and in kernels, whose programs are hidden.
"""

from __future__ import annotations

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Literal
from jax.interpreters.partial_eval import dce_jaxpr

from lengthscale.bench.device.flops import ELEMENTWISE, REDUCTIONS, inner_jaxprs

NONE = -math.inf  # the length of a path that does not exist
_EACH_FOR_ITSELF = ("optimization_barrier", "device_put")  # the n-th output is the n-th input
_HIDDEN = ("ffi_call", "pallas_call", "dot_product_attention")  # beginnings of names of kernels


class UnknownDepthError(Exception):
    """The depth of a program is unknown; the message says what hides it."""


def depth(function, *args) -> int:
    """The depth of one call with arguments of these shapes, which may be abstract. Raises UnknownDepthError."""
    return depth_of(jax.make_jaxpr(function)(*args))


def depth_of(closed_jaxpr) -> int:
    """The depth of a program that has been traced. Raises UnknownDepthError."""
    start = np.zeros(1)
    return int(
        max((x[0] for x in _outputs(closed_jaxpr.jaxpr, [start] * len(closed_jaxpr.in_avals), start)), default=0)
    )


# Below, the depth of a value is a vector: the longest path to it from each of some sources. `start` is that of a
# constant, whose source is the beginning of the program, the last one.


def _outputs(jaxpr, inputs: list[np.ndarray], start: np.ndarray) -> list[np.ndarray]:
    """The depths of a program's outputs, given those of its inputs."""
    jaxpr, _ = dce_jaxpr(jaxpr, [True] * len(jaxpr.outvars), instantiate=True)
    known = dict(zip(jaxpr.invars, inputs, strict=True))

    def of(atom) -> np.ndarray:
        return start if isinstance(atom, Literal) else known.get(atom, start)

    for eqn in jaxpr.eqns:
        known |= zip(eqn.outvars, _of_equation(eqn, [of(x) for x in eqn.invars], start), strict=True)
    return [of(x) for x in jaxpr.outvars]


def _of_equation(eqn, inputs: list[np.ndarray], start: np.ndarray) -> list[np.ndarray]:
    """The depths of the outputs of one equation."""
    name = eqn.primitive.name
    if name == "scan":
        return _of_scan(eqn, inputs, start)
    if name == "cond":
        index, *rest = inputs
        branches = [
            _outputs(each.jaxpr, [np.maximum(x, index) for x in rest], np.maximum(start, index))
            for each in eqn.params["branches"]
        ]
        return [np.max(each, axis=0) for each in zip(*branches, strict=True)]
    if name == "while":
        raise UnknownDepthError("a while loop does not tell how often it runs")
    if name.startswith(_HIDDEN):
        kernel = eqn.params.get("target_name") or eqn.params.get("name") or ""
        raise UnknownDepthError(f"a kernel hides its operations: {name} {kernel}".rstrip())
    if name in _EACH_FOR_ITSELF:
        return inputs
    inner = list(inner_jaxprs(eqn))
    if inner and not name.startswith("scatter"):
        if len(inner) > 1 or len(inner[0].invars) != len(inputs):
            raise UnknownDepthError(f"nobody has said how {name} runs the programs in it")
        return _outputs(inner[0], inputs, start)
    return [np.max([start, *inputs], axis=0) + _own(eqn)] * len(eqn.outvars)


def _own(eqn) -> int:
    """The depth of an operation without a program inside it."""
    name = eqn.primitive.name
    if not eqn.invars or not jnp.issubdtype(eqn.invars[0].aval.dtype, jnp.inexact):
        return 0
    shape, size = eqn.invars[0].aval.shape, eqn.invars[0].aval.size
    if name == "dot_general":
        (contracted, _), _ = eqn.params["dimension_numbers"]
        return 1 + _sum_of(math.prod(shape[axis] for axis in contracted))
    if name == "conv_general_dilated":
        w = eqn.invars[1].aval
        return 1 + _sum_of(w.size // w.shape[eqn.params["dimension_numbers"].rhs_spec[0]])
    if name == "fft":
        return 2 * _sum_of(math.prod(eqn.params["fft_lengths"]))
    if name in ELEMENTWISE:
        return 1
    if name.startswith("cum") and name in REDUCTIONS:
        return _sum_of(shape[eqn.params["axis"]])
    if name in REDUCTIONS:
        return _sum_of(size // max(1, eqn.outvars[0].aval.size))
    if name in ("scatter-add", "scatter_add"):
        indices = eqn.invars[1].aval.shape
        return _sum_of(1 + math.prod(indices[:-1]))
    return 0


def _sum_of(n: int) -> int:
    """The depth of a sum of n numbers: ceil(log2 n)."""
    return max(0, n - 1).bit_length()


def _of_scan(eqn, inputs: list[np.ndarray], start: np.ndarray) -> list[np.ndarray]:
    """The depths of a scan's last carry and of what it collects.

    With z the depths of all that an iteration reads (constants, carry, items, start), an iteration is z' = M z, where M
    changes the carry alone; and an item is there when it is in every iteration, (I + M)^(n-1) z.
    """
    params = eqn.params
    body, n, n_consts, n_carry = params["jaxpr"].jaxpr, params["length"], params["num_consts"], params["num_carry"]
    one = _identity(len(inputs) + 1)
    paths = np.array(_outputs(body, list(one[:-1]), one[-1])).reshape(-1, len(one))
    step = one.copy()
    step[n_consts : n_consts + n_carry] = paths[:n_carry]
    z = np.stack([*inputs, start])
    last = _times(_power(step, n), z)[n_consts : n_consts + n_carry]
    items = _times(paths[n_carry:], _times(_power(np.maximum(one, step), max(0, n - 1)), z))
    return [*last, *items]


def _identity(n: int) -> np.ndarray:
    return np.where(np.eye(n) == 1, 0.0, NONE)


def _times(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The product of matrices with max as the sum and + as the product."""
    product = np.full((a.shape[0], b.shape[1]), NONE)
    for column, row in zip(a.T, b, strict=True):
        np.maximum(product, column[:, None] + row, out=product)
    return product


def _power(matrix: np.ndarray, n: int) -> np.ndarray:
    power = _identity(len(matrix))
    for bit in itertools.takewhile(lambda bit: n >> bit, itertools.count()):
        power = _times(power, matrix) if n >> bit & 1 else power
        matrix = _times(matrix, matrix)
    return power
