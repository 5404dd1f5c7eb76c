"""Filling a Mamba block of transformers or mambapy, which use the same names, with our weights."""

from __future__ import annotations

from lengthscale.bench.peers.contenders.prepared import Given
from lengthscale.bench.peers.contenders.torch_calls import Parameters, fill, linear, same, tensor


def fill_mamba(block, given: Given) -> Parameters:
    """Fill a block with our weights. Returns its parameters by our names."""
    arrays = given.arrays
    parameters: Parameters = {"x": (tensor(arrays["x"]), same)}
    for name in ("in_proj", "x_proj", "dt_proj", "out_proj"):
        linear(parameters, name, getattr(block, name), arrays)
    parameters["conv_w"] = (fill(block.conv1d.weight, tensor(arrays["conv_w"], transpose=True)), _taps_first)
    parameters["conv_b"] = (fill(block.conv1d.bias, tensor(arrays["conv_b"])), same)
    for name in ("A_log", "D"):
        parameters[name] = (fill(getattr(block, name), tensor(arrays[name])), same)
    return parameters


def _taps_first(gradient):  # (E, 1, K) -> (K, E)
    return gradient[:, 0].T
