"""Planned memory from the compiler, observed memory from the device or, on a CPU, from the kernel.

On a CPU the kernel's high-water mark (VmHWM) is set back once the program has run for the first time, which leaves
things behind that stay (threads' stacks and heaps, pages of libraries); what the process held then, less the arrays, is
taken off the peak. So planned and observed mean the same: arguments, outputs and temporaries. What they differ in is
above all the scratch memory of matrix products, which XLA's plan does not know (a large one's is as large as its
output). Where /proc is missing (macOS) the observed figure stays blank.
"""

from __future__ import annotations

import ctypes
import gc
from contextlib import suppress
from pathlib import Path

import jax
import psutil

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")


def planned_bytes(compiled) -> int | None:
    """Arguments + outputs + temporaries - what is shared between them; None where the backend does not say.

    Not `peak_memory_in_bytes`: on a CPU that leaves out the temporaries.
    """
    plan = compiled.memory_analysis()
    if plan is None:
        return None
    parts = (plan.argument_size_in_bytes, plan.output_size_in_bytes, plan.temp_size_in_bytes, plan.alias_size_in_bytes)
    if any(part is None for part in parts):
        return None
    arguments, outputs, temporaries, aliased = parts
    return arguments + outputs + temporaries - aliased


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
    """Start it when the program has run once; read it after it ran again. held_bytes: of the arrays that are there."""

    def __init__(self, held_bytes: int):
        self._baseline = None
        if jax.default_backend() != "cpu":
            return
        with suppress(OSError):
            forget_peak()
            self._baseline = _status_bytes("VmRSS") - held_bytes

    def columns(self) -> dict:
        """mem_peak_bytes and mem_source."""
        stats = jax.devices()[0].memory_stats()
        if stats and "peak_bytes_in_use" in stats:
            return {"mem_peak_bytes": stats["peak_bytes_in_use"], "mem_source": "device"}
        if self._baseline is None:
            return {"mem_peak_bytes": None, "mem_source": None}
        return {"mem_peak_bytes": process_peak_bytes() - self._baseline, "mem_source": "VmHWM"}


def forget_peak() -> None:
    """From here on `process_peak_bytes` is anew. Raises OSError where there is no /proc."""
    gc.collect()
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
    with suppress(OSError, AttributeError):  # not glibc
        ctypes.CDLL("libc.so.6").malloc_trim(0)
