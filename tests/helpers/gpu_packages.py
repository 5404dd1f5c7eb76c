"""Stand-ins for packages that need a GPU, in torch on a CPU: the functions that are timed, step by step.

They have the layouts of the originals, so that what is tested is how a contender calls them and reads their results.
"""

import sys
from contextlib import contextmanager
from types import ModuleType
from unittest import mock

import torch
from torch.nn.attention import SDPBackend

from lengthscale.bench.peers import contenders
from lengthscale.bench.peers.contenders import torch_layers


def selective_scan_fn(u, delta, A, B, C):
    """As mamba_ssm's: u and delta (B, E, T), A (E, N), B and C (B, N, T), in the precision of u."""
    h, ys = torch.zeros(*u.shape[:2], A.shape[1]), []
    for t in range(u.shape[2]):
        dt, x = delta[:, :, t, None].float(), u[:, :, t, None].float()
        h = torch.exp(dt * A) * h + dt * x * B[:, None, :, t].float()
        ys.append((h * C[:, None, :, t].float()).sum(-1))
    return torch.stack(ys, -1).to(u.dtype)


def fused_recurrent_rwkv4(w, u, k, v, state):
    """As fla's: w the logarithm of the decay's rate, k and v (B, T, D), the state (B, 3, 1, D) of two sums and p."""
    (a, b, p), ys = state[:, :, 0].unbind(1), []
    for k_t, v_t in zip(k.unbind(1), v.unbind(1), strict=True):
        q = torch.maximum(p, u + k_t)
        old, new = torch.exp(p - q), torch.exp(u + k_t - q)
        ys.append((old * a + new * v_t) / (old * b + new))
        faded = p - torch.exp(w)
        p = torch.maximum(faded, k_t)
        old, new = torch.exp(faded - p), torch.exp(k_t - p)
        a, b = old * a + new * v_t, old * b + new
    return torch.stack(ys, 1), torch.stack([a, b, p], 1)[:, :, None]


@contextmanager
def installed():
    """In this context both packages can be imported, with these functions alone; cuDNN's attention is torch's own."""
    modules = {
        "mamba_ssm.ops.selective_scan_interface": {"selective_scan_fn": selective_scan_fn},
        "fla.ops.rwkv4": {"fused_recurrent_rwkv4": fused_recurrent_rwkv4},
    }
    loaded = {}
    for name, functions in modules.items():
        parts = name.split(".")
        loaded |= {".".join(parts[:n]): ModuleType(name) for n in range(1, len(parts) + 1)}
        loaded[name].__dict__.update(functions)
    attention = {"torch-cudnn": {"attention": torch_layers.attention_by(SDPBackend.MATH)}}
    try:
        sys.modules.update(loaded)
        with mock.patch.dict(torch_layers.BUILDERS, attention):
            yield
    finally:
        # The contenders too, or a later test would find them with what they have imported here.
        for name in (*loaded, *(f"{contenders.__name__}.{file}" for file in ("mamba_ssm_scan", "fla_ops"))):
            sys.modules.pop(name, None)
