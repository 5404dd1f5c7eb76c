"""Contenders in torch: a function of named tensors, ready to call."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from lengthscale.bench.peers.case import Case
from lengthscale.bench.peers.contenders.prepared import Arrays, Given, Prepared

# The name of a parameter of ours -> (its torch tensor, how the tensor's gradient becomes ours).
Parameters = dict[str, tuple[torch.Tensor, Callable[[torch.Tensor], torch.Tensor]]]


def tensor(array, *, transpose: bool = False) -> torch.Tensor:
    """A copy of an array as a tensor on the default device, which torch may change in place. transpose: of a matrix."""
    if array.dtype.name == "bfloat16":  # of ml_dtypes, which torch does not know
        found = torch.from_numpy(array.copy().view(np.int16)).view(torch.bfloat16)
    else:
        found = torch.from_numpy(array.copy())
    found = found.to(torch.get_default_device())
    return found.T.contiguous() if transpose else found


def fill(parameter: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """Give a parameter a value, whose shape may differ in axes of length 1. Returns the parameter."""
    with torch.no_grad():
        parameter.copy_(value.reshape(parameter.shape))
    return parameter


def same(gradient: torch.Tensor) -> torch.Tensor:
    """The gradient of a parameter with the same layout as ours."""
    return gradient


def swapped(x: torch.Tensor) -> torch.Tensor:
    """A tensor with its second and third axis exchanged, as ours of theirs and theirs of ours."""
    return x.transpose(1, 2)


def transposed(gradient: torch.Tensor) -> torch.Tensor:
    """The gradient of a matrix that is ours transposed."""
    return gradient.T


def linear(parameters: Parameters, name: str, layer: torch.nn.Linear, arrays: Arrays) -> None:
    """Fill a layer with our kernel, and our bias if there is one, and add both to the parameters. name: of ours."""
    parameters[f"{name}.kernel"] = (fill(layer.weight, tensor(arrays[f"{name}.kernel"], transpose=True)), transposed)
    if f"{name}.bias" in arrays:
        parameters[f"{name}.bias"] = (fill(layer.bias, tensor(arrays[f"{name}.bias"])), same)


def sequence(
    function: Callable[[], torch.Tensor],
    parameters: Parameters,
    case: Case,
    given: Given,
    turn: Callable[[torch.Tensor], torch.Tensor] = same,
) -> Prepared:
    """The contender that calls `function` on a whole sequence; for "train", with the gradients by all parameters.

    turn: outputs in their layout -> in ours, and back.
    """
    if case.measure != "train":
        return _prepared(without_gradients(function), lambda y: {"y": _array(turn(y))})
    assert given.w is not None
    w = turn(tensor(given.w)).contiguous()
    leaves = [leaf.requires_grad_() for leaf, _ in parameters.values()]

    def call():
        y, dy = function(), w
        if given.summed:
            y, dy = (y * w).sum(), None
        return y.detach(), torch.autograd.grad(y, leaves, dy)

    def outputs(results):
        gradients = zip(parameters.items(), results[1], strict=True)
        return {f"d {name}": _array(turn(gradient)) for (name, (_, turn)), gradient in gradients}

    return _prepared(call, outputs)


def _prepared(call: Callable[[], Any], outputs: Callable[[Any], Arrays]) -> Prepared:
    """The contender on the default device."""
    if torch.get_default_device().type != "cuda":
        return Prepared(call, outputs)
    return Prepared(
        call, outputs, wait=lambda results: torch.cuda.synchronize(), device_s=lambda calls: event_s(call, calls)
    )


def event_s(call: Callable[[], Any], calls: int) -> float:
    """The seconds of one call, the median of so many, by CUDA events before and after each."""
    pairs = [[torch.cuda.Event(enable_timing=True) for _ in range(2)] for _ in range(calls)]
    for before, after in pairs:
        before.record()
        call()
        after.record()
    torch.cuda.synchronize()
    return statistics.median(before.elapsed_time(after) for before, after in pairs) / 1e3


def _array(x: torch.Tensor) -> np.ndarray:
    return x.float().cpu().numpy()


def without_gradients(function: Callable[[], Any]) -> Callable[[], Any]:
    """The function in torch's inference mode, which a user would choose."""

    def call():
        with torch.inference_mode():
            return function()

    return call
