"""A function of named tensors, ready to call: what all contenders in torch are made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from lengthscale.bench.peers.case import Case
from lengthscale.bench.peers.contenders.prepared import Arrays, Given, Prepared

# A name of ours -> the torch tensor that holds it, and how its gradient becomes ours.
Parameters = dict[str, tuple[torch.Tensor, Callable[[torch.Tensor], torch.Tensor]]]


def tensor(array, *, transpose: bool = False) -> torch.Tensor:
    """A copy of an array, which torch may change in place."""
    found = torch.from_numpy(array.copy())
    return found.T.contiguous() if transpose else found


def fill(parameter: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """The parameter, which has the value now; their shapes may differ in axes of length 1."""
    with torch.no_grad():
        parameter.copy_(value.reshape(parameter.shape))
    return parameter


def same(gradient: torch.Tensor) -> torch.Tensor:
    """The gradient of a parameter that is laid out as ours."""
    return gradient


def transposed(gradient: torch.Tensor) -> torch.Tensor:
    """The gradient of a matrix that is ours transposed."""
    return gradient.T


def linear(parameters: Parameters, name: str, layer: torch.nn.Linear, arrays: Arrays) -> None:
    """Fill a layer with our kernel, and its bias if there is one among ours."""
    parameters[f"{name}.kernel"] = (fill(layer.weight, tensor(arrays[f"{name}.kernel"], transpose=True)), transposed)
    if f"{name}.bias" in arrays:
        parameters[f"{name}.bias"] = (fill(layer.bias, tensor(arrays[f"{name}.bias"])), same)


def sequence(function: Callable[[], torch.Tensor], parameters: Parameters, case: Case, given: Given) -> Prepared:
    """`function` on a whole sequence; for "train" the value of sum(y * w) and its gradients by all parameters."""
    if case.measure != "train":
        return Prepared(without_gradients(function), lambda y: {"y": y.numpy()})
    assert given.w is not None
    w = tensor(given.w)
    leaves = {name: held.requires_grad_() for name, (held, _) in parameters.items()}

    def call():
        value = (function() * w).sum()
        return value.detach(), torch.autograd.grad(value, list(leaves.values()))

    def outputs(results):
        gradients = zip(parameters.items(), results[1], strict=True)
        return {f"d {name}": turn(gradient).numpy() for (name, (_, turn)), gradient in gradients}

    return Prepared(call, outputs)


def without_gradients(function: Callable[[], Any]) -> Callable[[], Any]:
    """The function in torch's inference mode, as a user would call it."""

    def call():
        with torch.inference_mode():
            return function()

    return call
