"""The device that is compared on: the GPU where jax has one, else the CPU."""

from __future__ import annotations

from typing import Any

from lengthscale.bench.host import machine
from lengthscale.bench.host.runner import Runner
from lengthscale.bench.plan.settings import Settings

CPU = {"backend": "cpu", "device_kind": "cpu", "n_devices": 1}


def facts() -> dict[str, Any]:
    """The facts of the device, of which "backend" is the platform of the rows: "cpu" or "gpu".

    Only CUDA's GPUs have rows; with any other accelerator the CPU is compared on. A child asks jax, unless this machine
    has no accelerator that jax might use. Raises RuntimeError where jax cannot say.
    """
    if machine.unused_accelerator("cpu") is None:
        return CPU
    found = Runner(Settings()).probe()
    is_cuda = found["backend"] == "gpu" and found["device_kind"].startswith("NVIDIA")
    return {name: found[name] for name in CPU} if is_cuda else CPU
