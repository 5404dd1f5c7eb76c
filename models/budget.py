"""The width that meets a budget of parameters or a size of the state: one law for every model, solved by counting."""

import math
from bisect import bisect_left
from collections.abc import Callable

import jax
from flax import nnx

from lengthscale.models.base import PyTree, SequenceModel

TRACED_WIDTH = 2**24  # larger than any other axis; no array is made


def count_params(module: nnx.Module) -> int:
    """Parameters held, of a real or an abstract module."""
    return sum(x.size for x in jax.tree.leaves(nnx.state(module, nnx.Param)))


def closest_width(params: Callable[[int], PyTree], budget: int, step: int = 1) -> int:
    """The multiple of `step`, at least `step` itself, with the number of parameters that is closest to the budget.

    params: width -> the parameters that count, a tree of arrays; more at a larger width, and each axis a whole multiple
    of the width and a constant. It is traced once, at a width by which the multiples show: what it holds at any other
    width follows, so that a search costs one trace. budget: parameters. Of two as close the smaller one is taken.
    """
    shapes = [x.shape for x in jax.tree.leaves(jax.eval_shape(lambda: params(TRACED_WIDTH)))]

    def excess(n: int) -> int:
        axes = ((divmod(axis, TRACED_WIDTH) for axis in shape) for shape in shapes)
        return sum(math.prod(many * n * step + rest for many, rest in shape) for shape in axes) - budget

    reached = 1 + bisect_left(range(1, budget), 0, key=excess)
    return step * min(max(1, reached - 1), reached, key=lambda n: abs(excess(n)))


def width_of_state(make: Callable[[int, nnx.Rngs], SequenceModel], state_bytes: int, length: int) -> int:
    """The even width whose model's state, after one sequence of this length, is closest to these bytes.

    make: (width, rngs) -> the model, whose state grows with the width by a byte a unit or more.
    """

    def excess(half: int) -> int:
        model = nnx.eval_shape(lambda: make(2 * half, nnx.Rngs(0)))
        state = jax.eval_shape(lambda: model.init_state(1, length))
        return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state)) - state_bytes

    reached = 1 + bisect_left(range(1, state_bytes), 0, key=excess)
    return 2 * min(max(1, reached - 1), reached, key=lambda half: abs(excess(half)))
