"""The width that meets a budget of parameters or a size of the state: one law for every model, solved by counting."""

import math
from bisect import bisect_left
from collections.abc import Callable
from functools import cache

import jax
from flax import nnx

from lengthscale.models import SIZES, Interface, Size, build, spec_of
from lengthscale.models.base import PyTree

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


@cache
def size_of_state(name: str, state_bytes: int, interface: Interface) -> Size:
    """The size whose even width brings the model's state after the interface's positions closest to these bytes.

    A block has tiny's number of parameters where its mixer leaves room for an MLP. Raises ValueError for a model whose
    state is none, or does not follow from a size's width.
    """
    if not spec_of(name).state_by_width:
        raise ValueError(f"{name} has no state whose bytes follow from its width")

    def size(half: int) -> Size:
        return Size(2 * half, SIZES["tiny"].n_layers, SIZES["tiny"].layer_params, head_size=2 * half)

    def excess(half: int) -> int:
        model = nnx.eval_shape(lambda: build(name, size=size(half), interface=interface, rngs=nnx.Rngs(0)))
        state = jax.eval_shape(lambda: model.init_state(1, interface.positions))
        return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state)) - state_bytes

    reached = 1 + bisect_left(range(1, state_bytes), 0, key=excess)  # more at a larger width, and a byte or more a unit
    return size(min(max(1, reached - 1), reached, key=lambda half: abs(excess(half))))
