"""torch's nn.RNN, nn.LSTM, nn.GRU and scaled_dot_product_attention, and the rates of its GEMM and of its reading."""

from __future__ import annotations

from contextlib import nullcontext

import torch
from torch.nn import functional as F  # noqa: N812, torch's own name for it
from torch.nn.attention import SDPBackend, sdpa_kernel

from lengthscale.bench.peers.case import Case
from lengthscale.bench.peers.contenders.inputs import GATES
from lengthscale.bench.peers.contenders.prepared import Given, Prepared, nothing
from lengthscale.bench.peers.contenders.rates import GEMM_SIDE, READ_WIDTH, ForAll, read_rows
from lengthscale.bench.peers.contenders.torch_calls import (
    Parameters,
    fill,
    same,
    sequence,
    swapped,
    tensor,
    transposed,
    without_gradients,
)

_LAYERS = {"rnn": torch.nn.RNN, "lstm": torch.nn.LSTM, "gru": torch.nn.GRU}


def _recurrent(case: Case, given: Given) -> Prepared:
    arrays = given.arrays
    width = arrays["w_h"].shape[1]
    layer = _LAYERS[case.row](width, width, batch_first=True)
    x = tensor(arrays["x"])
    parameters: Parameters = {
        "x": (x, same),
        "w_x.kernel": (fill(layer.weight_ih_l0, tensor(arrays["w_x.kernel"], transpose=True)), transposed),
        "w_x.bias": (fill(layer.bias_ih_l0, tensor(arrays["w_x.bias"])), same),
        "w_h": (fill(layer.weight_hh_l0, tensor(arrays["w_h"])), same),
    }
    fill(layer.bias_hh_l0, torch.zeros(GATES[case.row] * width))
    if case.measure != "decode":
        return sequence(lambda: layer(x)[0], parameters, case, given)
    layers = [tensor(value)[None] for value in given.state.values()]
    state = tuple(layers) if len(layers) > 1 else layers[0]

    def one():
        nonlocal state
        y, state = layer(x, state)
        return y

    return Prepared(without_gradients(one), lambda y: {"y": y.numpy()})


def _attention(case: Case, given: Given, backend: SDPBackend | None = None) -> Prepared:
    """Attention on (B, H, T, K), torch's own layout, which a user's projections give without a copy.

    backend: the only kernel of a sequence that torch may take; None: it chooses.
    """
    q, k, v = (tensor(given.arrays[name].swapaxes(1, 2)).contiguous() for name in "qkv")
    if case.measure == "decode":
        k_cache, v_cache = (tensor(given.state[name]) for name in ("k_cache", "v_cache"))

        def one():
            k_cache[:, :, -1:], v_cache[:, :, -1:] = k, v
            return F.scaled_dot_product_attention(q, k_cache, v_cache)

        return Prepared(without_gradients(one), lambda y: {"y": y.transpose(1, 2).numpy()})

    parameters: Parameters = {name: (x, swapped) for name, x in zip("qkv", (q, k, v), strict=True)}

    def run():
        with sdpa_kernel(backend) if backend else nullcontext():
            return F.scaled_dot_product_attention(q, k, v, is_causal=True)

    return sequence(run, parameters, case, given, swapped)


def attention_by(backend: SDPBackend):
    """The builder of attention by one of torch's kernels; a call says so where it is not available."""

    def build(case: Case, given: Given) -> Prepared:
        return _attention(case, given, backend)

    return build


def _gemm(case: Case, given: Given) -> Prepared:
    a, b = torch.randn(2, GEMM_SIDE, GEMM_SIDE)
    return Prepared(without_gradients(lambda: a @ b), nothing, 2.0 * GEMM_SIDE**3)


def _read(case: Case, given: Given) -> Prepared:
    rows = read_rows(given.work)
    matrix, vector = torch.randn(rows, READ_WIDTH), torch.ones(READ_WIDTH)
    return Prepared(without_gradients(lambda: matrix @ vector), nothing, 4.0 * rows * READ_WIDTH)


BUILDERS = {
    "torch": {**dict.fromkeys(GATES, _recurrent), "attention": _attention},
    "torch-flash": {"attention": attention_by(SDPBackend.FLASH_ATTENTION)},
    "torch-cudnn": {"attention": attention_by(SDPBackend.CUDNN_ATTENTION)},
    "gemm-torch": ForAll(_gemm),
    "read-torch": ForAll(_read),
}
