"""Putting given weights into a module, without making random ones first."""

from collections.abc import Callable, Mapping
from typing import TypeVar

from flax import nnx
from jax import Array

Module = TypeVar("Module", bound=nnx.Module)


def with_weights(make: Callable[[], Module], weights: Mapping[str, Array]) -> Module:
    """The module that make() would give, with the weights, by their path ("mixer.in_proj.kernel"), as its own.

    Raises ValueError for a path that is missing or unknown, and for another shape than the module's.
    """
    graph, abstract = nnx.split(nnx.eval_shape(make))
    flat = {".".join(map(str, path)): (path, variable) for path, variable in nnx.to_flat_state(abstract)}
    if missing := flat.keys() - weights.keys():
        raise ValueError(f"weights are missing: {sorted(missing)}")
    if strange := weights.keys() - flat.keys():
        raise ValueError(f"weights that the module does not have: {sorted(strange)}")
    filled = {}
    for name, (path, variable) in flat.items():
        if variable.shape != weights[name].shape:
            raise ValueError(f"{name} has shape {weights[name].shape}, expected {variable.shape}")
        filled[path] = variable.replace(weights[name])
    return nnx.merge(graph, nnx.from_flat_state(filled))
