"""The limit of a cell's memory: what the user gives, what an accelerator can allocate, or a share of what is free."""

from __future__ import annotations

from lengthscale.bench.device import memory
from lengthscale.bench.plan.settings import Settings


def memory_limit(settings: Settings) -> tuple[int, str]:
    """(the limit in bytes, where it comes from, in words). Without --mem-limit it depends on what is free now.

    An accelerator's allocator has a limit already (bench/host/runner.py), so all of that may be used.
    """
    if settings.mem_limit_bytes is not None:
        return settings.mem_limit_bytes, "--mem-limit"
    if "bytes_limit" in memory.device_stats():
        return memory.free_bytes(), "what the device's allocator has left"
    share = settings.mem_limit_share
    return int(memory.free_bytes() * share), f"{share:.0%} of the free memory"
