"""`doctor`: what this machine can measure, and what would disturb the measurements.

Each check is a function that looks at one thing and gives a Finding, or None where it does not apply. Adding one: a
function, and its name in CHECKS.
"""

from __future__ import annotations

import os
import platform
import shutil
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from lengthscale.bench.host import machine
from lengthscale.bench.host.runner import Runner
from lengthscale.bench.plan.settings import Settings

GOOD, WARNING, ERROR = "good", "warning", "error"
COLOURS = {GOOD: "green", WARNING: "yellow", ERROR: "red"}
MIB = 2**20


@dataclass(frozen=True)
class Finding:
    """The result of one check."""

    what: str  # was checked
    found: str
    verdict: str  # GOOD; WARNING: the numbers are less precise or worse; ERROR: nothing can be measured
    advice: str = ""  # where it is not good


def _judge(what: str, found: str, good: bool, advice: str) -> Finding:
    return Finding(what, found, GOOD if good else WARNING, "" if good else advice)


def device() -> Finding:
    """The device as a child sees it, and whether the C++ kernels are compiled."""
    try:
        facts = Runner(Settings()).probe()
    except RuntimeError as error:
        return Finding("device", str(error), ERROR, "see the message; a new .venv often helps: rm -r .venv .venvs")
    kernels = facts["native_kernels"]
    found = (
        f"{facts['n_devices']} x {facts['device_kind']} ({facts['backend']}), "
        f"C++ kernels: {kernels or 'none for this device'}"
    )
    if unused := machine.unused_accelerator(facts["backend"]):
        return Finding("device", found, WARNING, f"jax runs on the CPU and does not use {unused}")
    advice = "without the kernels attention and recurrences are up to 3x slower; install a C++ compiler"
    return _judge("device", found, kernels in (None, "compiled"), advice)


def cores() -> Finding:
    """The number of cores that this process may use."""
    n = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    of = f" of {os.cpu_count()}" if n != os.cpu_count() else ""
    advice = "with one core, all other processes disturb the times; give it two (taskset, a container's limits)"
    return _judge("cores", f"{n}{of}", n > 1, advice)


def load() -> Finding:
    """The CPU time of other processes over half a second."""
    total, largest = machine.busy_cores(0.5)
    return _judge("load", f"{total:.2f} cores busy{f' ({largest})' if largest else ''}", total < 0.2, "end it, or wait")


def stolen() -> Finding | None:
    """The share of time that a virtual machine's host gave to other machines, over half a second."""
    before = psutil.cpu_times()
    if not hasattr(before, "steal"):
        return None
    time.sleep(0.5)
    after = psutil.cpu_times()
    share = (after.steal - before.steal) / max(sum(after) - sum(before), 1e-9)
    return _judge(
        "stolen time",
        f"{share:.1%}",
        share < 0.01,
        "other virtual machines on this host use the cores; that cannot be changed from here",
    )


def memory() -> Finding:
    """The free memory, and the limit of this group of processes if it is lower."""
    ram = psutil.virtual_memory()
    found = f"{ram.available / MIB:,.0f} MiB free of {ram.total / MIB:,.0f}"
    limit = _cgroup_limit()
    if limit and limit < ram.total:
        found += f"; this group of processes may take {limit / MIB:,.0f} (see --mem-limit)"
    return _judge("memory", found, ram.available > 2048 * MIB, "long cells will be skipped")


def swap() -> Finding:
    """The memory that was swapped out."""
    used = psutil.swap_memory().used
    return _judge("swap", f"{used / MIB:,.0f} MiB in use", used < 16 * MIB, "swapped memory is slow to read")


def huge_pages() -> Finding | None:
    """Whether a process can ask the kernel for huge pages."""
    setting = machine.read("/sys/kernel/mm/transparent_hugepage/enabled")
    if setting is None:
        return None
    advice = "newly allocated memory is 2x slower: echo madvise > /sys/kernel/mm/transparent_hugepage/enabled"
    return _judge("huge pages", setting, "[never]" not in setting, advice)


def governor() -> Finding | None:
    """The kernel's rule for the clock rate of the CPU."""
    name = machine.read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
    if name is None:
        return None
    return _judge(
        "governor",
        name,
        name in ("performance", "schedutil"),
        f"{name} changes the clock rate; cpupower can choose another governor",
    )


def clock() -> Finding:
    """The resolution of the clock that times samples."""
    steps = [b - a for a, b in ((time.perf_counter(), time.perf_counter()) for _ in range(2000)) if b > a]
    step = min(steps, default=1.0)
    return _judge(
        "clock", f"a resolution of {step * 1e9:.0f} ns", step < 2e-6, "times under a millisecond are imprecise"
    )


def steadiness() -> Finding:
    """How much the time of one loop varies: its 90th percentile over its median, of 200 times."""
    times = []
    for _ in range(200):
        start = time.perf_counter()
        sum(range(30_000))
        times.append(time.perf_counter() - start)
    p90 = statistics.quantiles(times, n=10)[-1] / statistics.median(times)
    advice = "compare within one run, and quote medians; more samples help (--timeout)"
    return _judge("steadiness", f"the 90th percentile of a loop's time is {p90:.2f}x its median", p90 < 1.1, advice)


def memory_meter() -> Finding | None:
    """Whether the kernel's record of a process's peak memory can be reset."""
    if platform.system() != "Linux":
        return Finding(
            "memory meter", "no /proc", WARNING, "on a CPU only planned memory is known, not observed memory"
        )
    writable = os.access("/proc/self/clear_refs", os.W_OK)
    found = "can be reset" if writable else "cannot be reset"
    return _judge("memory meter", found, writable, "observed memory stays blank")


def energy() -> Finding | None:
    """Whether the device's energy can be measured, as a child sees it."""
    try:
        facts = Runner(Settings()).probe()
    except RuntimeError:  # `device` reports it
        return None
    advice = "joules a token stay blank"
    if facts["energy_source"] is None and "root" in facts["energy_missing"]:
        advice += (
            "; sudo chmod a+r /sys/class/powercap/intel-rapl:*/energy_uj lets all users read them until a restart,"
            " attackers too (CVE-2020-8694)"
        )
    found = facts["energy_source"] or facts["energy_missing"]
    return _judge("energy", found, facts["energy_source"] is not None, advice)


def debugging() -> Finding:
    """Settings of Python, jax or XLA that are for debugging and make programs slow."""
    on = ["a debug build of Python"] if hasattr(sys, "gettotalrefcount") else []
    on += ["Python's development mode"] if sys.flags.dev_mode else []
    flags = ("JAX_DEBUG_NANS", "JAX_DEBUG_INFS", "JAX_DISABLE_JIT", "JAX_ENABLE_CHECKS", "JAX_LOG_COMPILES")
    on += [name for name in flags if os.environ.get(name, "0").lower() not in ("0", "", "false")]
    slow = ("xla_dump", "optimization_level=0", "disable_expensive_passes", "disable_all_hlo_passes")
    on += [f"XLA_FLAGS={os.environ['XLA_FLAGS']}"] if any(s in os.environ.get("XLA_FLAGS", "") for s in slow) else []
    return _judge("debugging", ", ".join(on) or "off", not on, "unset it")


def disk() -> Finding:
    """The free space for results."""
    free = shutil.disk_usage(Path.cwd()).free
    return _judge("disk", f"{free / MIB:,.0f} MiB free for results", free > 200 * MIB, "a run stops when it is full")


def code() -> Finding:
    """The commit of the code, and whether it has been changed since."""
    facts = machine.commit()
    found = facts["git_sha"] or "not a git checkout"
    if facts["git_dirty"]:
        found += " with uncommitted changes"
    advice = "others cannot reproduce its results: commit first"
    return _judge("code", found, bool(facts["git_sha"]) and not facts["git_dirty"], advice)


CHECKS: tuple[Callable[[], Finding | None], ...] = (
    *(
        device,
        cores,
        load,
        stolen,
        memory,
        swap,
        huge_pages,
        governor,
        clock,
        steadiness,
        memory_meter,
        energy,
        debugging,
    ),
    *(disk, code),
)


def _findings() -> list[Finding]:
    """The findings of all checks that apply here."""
    return [finding for check in CHECKS if (finding := check()) is not None]


def run_doctor(console: Console) -> int:
    """Print a table of all findings. Returns 1 if nothing can be measured, else 0."""
    findings = _findings()
    table = Table()
    for column in ("what", "found", "verdict", "what to do"):
        table.add_column(column)
    for each in findings:
        table.add_row(each.what, each.found, f"[{COLOURS[each.verdict]}]{each.verdict}[/]", each.advice)
    console.print(table)
    return 1 if any(each.verdict == ERROR for each in findings) else 0


def _cgroup_limit() -> int | None:
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        text = machine.read(path) if Path(path).exists() else None
        if text and text.isdigit():
            return int(text)
    return None
