"""mamba_ssm's selective scan, a kernel in CUDA."""

from __future__ import annotations

from mamba_ssm.ops.selective_scan_interface import selective_scan_fn  # pyright: ignore[reportMissingImports] in no extra

from lengthscale.bench.peers.case import Case
from lengthscale.bench.peers.contenders.prepared import Given, Prepared
from lengthscale.bench.peers.contenders.torch_calls import Parameters, same, sequence, swapped, tensor


def _selective_scan(case: Case, given: Given) -> Prepared:
    """The scan on (B, E, T) and (B, N, T), the kernel's own layout, in which mamba_ssm's block computes."""
    parameters: Parameters = {
        name: (tensor(given.arrays[name].swapaxes(1, 2)), swapped) for name in ("u", "dt", "B", "C")
    }
    parameters["A"] = (tensor(given.arrays["A"]), same)
    u, dt, A, B, C = (parameters[name][0] for name in ("u", "dt", "A", "B", "C"))
    return sequence(lambda: selective_scan_fn(u, dt, A, B, C), parameters, case, given, swapped)


BUILDERS = {"mamba-ssm": {"selective-scan": _selective_scan}}
