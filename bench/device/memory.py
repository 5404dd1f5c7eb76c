"""Planned memory from the compiler, observed memory from the device or, on a CPU, from the kernel.

On a CPU the kernel's high-water mark (VmHWM) is set back once the program is compiled and its arguments are there. What
the process holds at the end, less the arrays, is taken off the peak: packages, and what a program's first run leaves
behind for good (threads' stacks, pages of libraries). So planned and observed mean the same: arguments, outputs and
temporaries, and what XLA's library takes for products in a fusion (bench/device/scratch.py). What they differ in is the
scratch memory of other products: 20 MB or less where no other process keeps the threads waiting. Where /proc is missing
(macOS) the observed figure stays blank.
"""

from __future__ import annotations

import ctypes
import gc
from contextlib import suppress
from pathlib import Path

import jax
import psutil

from lengthscale.bench.device import scratch

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")


def planned_bytes(compiled) -> int | None:
    """Arguments + outputs + temporaries - what is shared between them + the library's scratch; None where the backend
    does not say.

    Not `peak_memory_in_bytes`: on a CPU that leaves out the temporaries.
    """
    plan = compiled.memory_analysis()
    if plan is None:
        return None
    parts = (plan.argument_size_in_bytes, plan.output_size_in_bytes, plan.temp_size_in_bytes, plan.alias_size_in_bytes)
    if any(part is None for part in parts):
        return None
    arguments, outputs, temporaries, aliased = parts
    return arguments + outputs + temporaries - aliased + scratch.library_bytes(compiled.as_text() or "")


def moved_bytes(compiled) -> int | None:
    """Arguments and outputs, each once: what a call reads and writes at least. None where the backend does not say."""
    plan = compiled.memory_analysis()
    if plan is None or plan.argument_size_in_bytes is None or plan.output_size_in_bytes is None:
        return None
    return plan.argument_size_in_bytes + plan.output_size_in_bytes


def free_bytes() -> int:
    """What the device (or, on a CPU, the machine) has left."""
    stats = jax.devices()[0].memory_stats()
    if stats and "bytes_limit" in stats:
        return stats["bytes_limit"] - stats["bytes_in_use"]
    return psutil.virtual_memory().available


class PeakMeter:
    """Start it when the program is compiled and its arguments are allocated; read it after the program ran."""

    def __init__(self):
        self._started = False
        if jax.default_backend() == "cpu":
            with suppress(OSError):
                forget_peak()
                self._started = True

    def columns(self, held) -> dict:
        """mem_peak_bytes and mem_source. held: all arrays that are still there."""
        stats = jax.devices()[0].memory_stats()
        if stats and "peak_bytes_in_use" in stats:
            return {"mem_peak_bytes": stats["peak_bytes_in_use"], "mem_source": "device"}
        if not self._started:
            return {"mem_peak_bytes": None, "mem_source": None}
        peak = process_peak_bytes()
        # Not before: pages that are given back between two runs would be fresh ones, and slow, in the second.
        _give_back_free_memory()
        arrays = {id(array): array for array in jax.tree.leaves(held)}
        baseline = _status_bytes("VmRSS") - tree_bytes(arrays)
        return {"mem_peak_bytes": peak - baseline, "mem_source": "VmHWM"}


def forget_peak() -> None:
    """From here on `process_peak_bytes` is anew. Raises OSError where there is no /proc."""
    _give_back_free_memory()
    _CLEAR.write_text("5")


def process_peak_bytes() -> int:
    """The most that the process held, packages and all. Raises OSError where there is no /proc."""
    return _status_bytes("VmHWM")


def tree_bytes(tree) -> int:
    """Bytes of all arrays, real or abstract."""
    return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(tree))


def _status_bytes(field: str) -> int:
    for line in _STATUS.read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"{_STATUS} has no {field}")


def _give_back_free_memory() -> None:
    """Hand the allocator's free pages back, or the program would reuse them unseen."""
    gc.collect()
    with suppress(OSError, AttributeError):  # not glibc
        ctypes.CDLL("libc.so.6").malloc_trim(0)
