"""Devices that a run can be planned for, on a machine that has none of them (`run --dry-run --on h200`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType


@dataclass(frozen=True)
class Device:
    """One device, with the rates that predictions are made with: measured where one was at hand, else published."""

    platform: str  # as models/ops/platform.py names it
    kind: str  # as jax names it; of a TPU, the smallest slice
    memory_bytes: int
    bytes_per_s: float  # of a copy, read and written
    vector_flops_per_s: float  # of float32, outside of matrix units
    launch_s: float  # of a kernel after another
    source: str  # of the rates
    cores: int = 1
    flops_of_exponential: float = 1  # as long as which an exponential takes, outside of matrix units
    matrix_flops_per_s: Mapping[str, float] = field(default_factory=dict)  # by the precision of the products

    def rate(self, precision: str) -> float:
        """The rate of products of this precision, or of the first of several ("bfloat16+float32")."""
        first = precision.partition("+")[0]
        return self.matrix_flops_per_s.get(first, self.matrix_flops_per_s["float32"])


def _rates(**rates: float) -> Mapping[str, float]:
    return MappingProxyType(rates)


_H200 = Device(
    platform="cuda",
    kind="NVIDIA H200",
    memory_bytes=150_000_000_000,
    bytes_per_s=4.25e12,
    vector_flops_per_s=60e12,
    launch_s=1.7e-6,
    source="measured at 17edc39 by jax 0.11: products of 8,192, a copy, an RNN's step of four kernels (6.8 us)",
    cores=132,
    flops_of_exponential=16,  # a core has 16 units for it, and 128 that multiply and add
    matrix_flops_per_s=_rates(bfloat16=707e12, tf32=391e12, float32=52e12),
)
DEVICES = {
    "h100": replace(
        _H200,
        kind="NVIDIA H100 80GB HBM3",
        memory_bytes=85_000_000_000,
        bytes_per_s=2.9e12,
        source="an H200's measured rates; the bandwidth in proportion to the published ones (3.35 and 4.8 TB/s)",
    ),
    "h200": _H200,
    "v5e": Device(
        platform="tpu",
        kind="v5e:2x2",
        memory_bytes=17_000_000_000,
        bytes_per_s=0.82e12,
        vector_flops_per_s=6e12,
        launch_s=1e-6,
        source="published: 197 TFLOP/s and 0.82 TB/s; float32 is six products of bfloat16",
        matrix_flops_per_s=_rates(bfloat16=197e12, float32=33e12),
    ),
}
