"""Contenders in torch: a function of named tensors, ready to call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from lengthscale.bench.peers.case import Case
from lengthscale.bench.peers.contenders.prepared import Arrays, Given, Prepared

# The name of a parameter of ours -> (its torch tensor, how the tensor's gradient becomes ours).
Parameters = dict[str, tuple[torch.Tensor, Callable[[torch.Tensor], torch.Tensor]]]


def tensor(array, *, transpose: bool = False) -> torch.Tensor:
    """A copy of an array as a tensor, which torch may change in place. transpose: of a matrix."""
    found = torch.from_numpy(array.copy())
    return found.T.contiguous() if transpose else found


def fill(parameter: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """Give a parameter a value, whose shape may differ in axes of length 1. Returns the parameter."""
    with torch.no_grad():
        parameter.copy_(value.reshape(parameter.shape))
    return parameter


def same(gradient: torch.Tensor) -> torch.Tensor:
    """The gradient of a parameter with the same layout as ours."""
    return gradient


def transposed(gradient: torch.Tensor) -> torch.Tensor:
    """The gradient of a matrix that is ours transposed."""
    return gradient.T


def linear(parameters: Parameters, name: str, layer: torch.nn.Linear, arrays: Arrays) -> None:
    """Fill a layer with our kernel, and our bias if there is one, and add both to the parameters. name: of ours."""
    parameters[f"{name}.kernel"] = (fill(layer.weight, tensor(arrays[f"{name}.kernel"], transpose=True)), transposed)
    if f"{name}.bias" in arrays:
        parameters[f"{name}.bias"] = (fill(layer.bias, tensor(arrays[f"{name}.bias"])), same)


def sequence(function: Callable[[], torch.Tensor], parameters: Parameters, case: Case, given: Given) -> Prepared:
    """The contender that calls `function` on a whole sequence; for "train", sum(y * w) and its gradients."""
    if case.measure != "train":
        return Prepared(without_gradients(function), lambda y: {"y": y.numpy()})
    assert given.w is not None
    w = tensor(given.w)
    leaves = {name: leaf.requires_grad_() for name, (leaf, _) in parameters.items()}

    def call():
        value = (function() * w).sum()
        return value.detach(), torch.autograd.grad(value, list(leaves.values()))

    def outputs(results):
        gradients = zip(parameters.items(), results[1], strict=True)
        return {f"d {name}": turn(gradient).numpy() for (name, (_, turn)), gradient in gradients}

    return Prepared(call, outputs)


def without_gradients(function: Callable[[], Any]) -> Callable[[], Any]:
    """The function in torch's inference mode, which a user would choose."""

    def call():
        with torch.inference_mode():
            return function()

    return call
