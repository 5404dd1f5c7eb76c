"""Memory: planned by the compiler, and observed by the device or, on a CPU, by the kernel.

On a CPU the kernel's high-water mark (VmHWM) is reset when the program is compiled and its arguments are allocated.
What the process holds at the end, less the arrays, is subtracted from the peak: packages, and what a program's first
run allocates permanently (threads' stacks, pages of libraries). So planned and observed memory mean the same:
arguments, outputs and temporaries, and what XLA's library takes for products in a fusion (bench/device/scratch.py).
They differ in the scratch memory of other products: 20 MB or less if no other process keeps the threads waiting. Where
/proc is missing (macOS) the observed memory stays blank.

The peak is that of one call, or of all calls where one takes over a second. Over many calls the allocator leaves free
gaps between its blocks, if a program's blocks are smaller than 32 MB (glibc maps larger ones by themselves): after 20
calls the high-water mark of an RNN's prefill of 2k tokens was 70 to 95 MB, and 43 MB in each single call, with 41 MB
planned.

On an accelerator the allocator keeps the peak since the process began, which nothing sets back (jax issue 8096). So it
is the program's own only where the program raises it: what ran before in the process took less. Elsewhere the observed
memory is blank.
"""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import jax
import psutil

from lengthscale.bench.device import scratch

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")


def planned_bytes(compiled) -> int | None:
    """The planned memory: arguments + outputs + temporaries - what they share + the library's scratch memory.

    compiled: of `lower(...).compile()`. None where the backend gives no plan. `peak_memory_in_bytes` is not used: on a
    CPU it does not include the temporaries.
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
    """The least bytes that a call reads and writes: arguments and outputs, each once. None where there is no plan."""
    plan = compiled.memory_analysis()
    if plan is None or plan.argument_size_in_bytes is None or plan.output_size_in_bytes is None:
        return None
    return plan.argument_size_in_bytes + plan.output_size_in_bytes


def free_bytes() -> int:
    """The free memory of the device, or of the machine on a CPU."""
    stats = device_stats()
    if "bytes_limit" in stats:
        return stats["bytes_limit"] - stats["bytes_in_use"]
    return psutil.virtual_memory().available


def device_stats() -> dict[str, int]:
    """What the allocator of an accelerator says of itself; empty on a CPU."""
    return jax.devices()[0].memory_stats() or {}


def peak_meter() -> PeakMeter | AllocatorMeter:
    """The meter of this process's backend; see PeakMeter for its use."""
    return AllocatorMeter() if "peak_bytes_in_use" in device_stats() else PeakMeter()


class AllocatorMeter:
    """As PeakMeter, on an accelerator. All calls since it was made count, since the first one raises the peak."""

    def __init__(self):
        self._before = device_stats()
        self._peak: int | None = None  # None: it still goes on

    def measure(self, call: Callable[[], Any]) -> None:
        """Run a call to its end."""
        jax.block_until_ready(call())
        self.stop()

    def begin(self) -> None:
        """Nothing: the calls before count as well."""

    def stop(self) -> None:
        """Keep the peak so far: what follows does not count."""
        self._peak = device_stats()["peak_bytes_in_use"]

    def columns(self, held) -> dict:
        """As PeakMeter.columns; blank where something before took more, so that the peak is not the program's."""
        before, peak = self._before, self._peak or device_stats()["peak_bytes_in_use"]
        if peak <= before["peak_bytes_in_use"]:
            return {"mem_peak_bytes": None, "mem_source": None}
        others = before["bytes_in_use"] - _bytes_once(held)  # which were there and are not the program's
        return {"mem_peak_bytes": peak - others, "mem_source": "device"}


class PeakMeter:
    """Measures the peak memory of a program on a CPU.

    Make it when the program is compiled and its arguments are allocated; read it after the program has run. Between
    `begin` and `stop` one call counts, and no other: what compiling left in the allocator, and what a first run
    allocates, would count as a short program's.
    """

    def __init__(self):
        self._started = False
        self._peak: int | None = None  # None: it still goes on
        self._before: int | None = None  # what the process had before the one call that counts
        self.start()

    def measure(self, call: Callable[[], Any]) -> None:
        """Run a call to its end; the peak is that of this call."""
        self.begin()
        jax.block_until_ready(call())
        self.stop()

    def begin(self) -> None:
        """From here on the one call that counts."""
        self.start()
        self._before = _status_bytes("VmRSS") if self._started else None

    def start(self) -> None:
        """Forget the peak so far."""
        if jax.default_backend() == "cpu":
            with suppress(OSError):
                reset_peak()
                self._started, self._peak = True, None

    def stop(self) -> None:
        """Keep the peak so far: what follows does not count."""
        if self._started:
            self._peak = process_peak_bytes()

    def columns(self, held) -> dict:
        """The columns mem_peak_bytes and mem_source. held: all arrays that are still allocated."""
        if not self._started:
            return {"mem_peak_bytes": None, "mem_source": None}
        peak = self._peak or process_peak_bytes()
        before = self._before
        if before is None:  # of a first call, which also brings packages into memory: what is left after all calls
            _release_free_memory()
            before = _status_bytes("VmRSS")
        return {"mem_peak_bytes": peak - before + _bytes_once(held), "mem_source": "VmHWM"}


def reset_peak() -> None:
    """Let `process_peak_bytes` start again from now. Raises OSError where there is no /proc."""
    _release_free_memory()
    _CLEAR.write_text("5")


def process_peak_bytes() -> int:
    """The peak memory of the whole process, packages included. Raises OSError where there is no /proc."""
    return _status_bytes("VmHWM")


def tree_bytes(tree) -> int:
    """The bytes of all arrays of a pytree, real or abstract."""
    return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(tree))


def _bytes_once(held) -> int:
    """The bytes of all arrays of a pytree, each once."""
    return tree_bytes({id(array): array for array in jax.tree.leaves(held)})


def _status_bytes(field: str) -> int:
    for line in _STATUS.read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"{_STATUS} has no {field}")


def _release_free_memory() -> None:
    """Return the allocator's free pages to the kernel: the peak would not show that a program uses them again."""
    gc.collect()
    with suppress(OSError, AttributeError):  # not glibc
        ctypes.CDLL("libc.so.6").malloc_trim(0)
