"""The ops of flash-linear-attention (fla-core), kernels in Triton."""

from __future__ import annotations

import torch
from fla.ops.rwkv4 import fused_recurrent_rwkv4  # pyright: ignore[reportMissingImports] in no extra

from lengthscale.bench.peers.case import Case
from lengthscale.bench.peers.contenders.prepared import Given, Prepared
from lengthscale.bench.peers.contenders.torch_calls import Parameters, same, sequence, tensor


def _wkv(case: Case, given: Given) -> Prepared:
    """RWKV-4's recurrence. Its w is the logarithm of the decay's rate, as our `decay`; its state is (B, 3, 1, D)."""
    parameters: Parameters = {name: (tensor(given.arrays[name]), same) for name in ("decay", "first", "k", "v")}
    w, u, k, v = (leaf for leaf, _ in parameters.values())
    state = torch.zeros(case.batch, 3, 1, k.shape[2])
    state[:, 2] = -1e38  # of no token, as in models/ops/wkv/equation.py
    return sequence(lambda: fused_recurrent_rwkv4(w, u, k, v, state)[0], parameters, case, given)


BUILDERS = {"fla": {"wkv": _wkv}}
