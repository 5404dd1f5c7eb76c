"""`doctor`: what this machine can measure, and what would spoil it.

Each check is a function that looks at one thing and gives a Finding. Adding one: a function, and its name in CHECKS.
"""

from __future__ import annotations

import os
import platform
import shutil
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from lengthscale.bench.host import machine
from lengthscale.bench.host.runner import Runner
from lengthscale.bench.plan.settings import Settings

GOOD, SPOILS, CANNOT = "good", "spoils", "cannot"
COLOURS = {GOOD: "green", SPOILS: "yellow", CANNOT: "red"}
MIB = 2**20


@dataclass(frozen=True)
class Finding:
    what: str
    found: str
    verdict: str  # GOOD; SPOILS: numbers come, less sure or less good; CANNOT: none come
    advice: str = ""  # where it is not good


def _judge(what: str, found: str, good: bool, advice: str) -> Finding:
    return Finding(what, found, GOOD if good else SPOILS, "" if good else advice)


def device() -> Finding:
    try:
        facts = Runner(Settings()).probe()
    except RuntimeError as error:
        return Finding("device", str(error), CANNOT, "see the message; a new .venv often helps: rm -r .venv .venvs")
    kernels = facts["native_kernels"]
    found = (
        f"{facts['n_devices']} x {facts['device_kind']} ({facts['backend']}), C++ kernels: {kernels or 'not its kind'}"
    )
    advice = "without the kernels attention and recurrences are up to 3x slower; install a C++ compiler"
    return _judge("device", found, kernels in (None, "compiled"), advice)


def cores() -> Finding:
    n = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    of = f" of {os.cpu_count()}" if n != os.cpu_count() else ""
    advice = "with one core, whatever else runs is in the figures; give it two (taskset, a container's limits)"
    return _judge("cores", f"{n}{of}", n > 1, advice)


def load() -> Finding:
    """Of the other processes over half a second: a load average would count what has just ended."""
    watched = [process for process in psutil.process_iter() if process.pid != os.getpid()]
    for process in watched:
        with suppress(psutil.Error):
            process.cpu_percent()
    time.sleep(0.5)
    busy = []
    for process in watched:
        with suppress(psutil.Error):
            busy.append((process.cpu_percent(), process.name()))
    total = sum(percent for percent, _ in busy) / 100
    greedy = ", ".join(f"{name} {percent:.0f}%" for percent, name in sorted(busy, reverse=True)[:3] if percent >= 5)
    return _judge("load", f"{total:.2f} cores busy{f' ({greedy})' if greedy else ''}", total < 0.2, "end it, or wait")


def stolen() -> Finding | None:
    """Time that a virtual machine's host gave to others, over half a second."""
    before = psutil.cpu_times()
    if not hasattr(before, "steal"):
        return None
    time.sleep(0.5)
    after = psutil.cpu_times()
    share = (after.steal - before.steal) / max(sum(after) - sum(before), 1e-9)
    return _judge(
        "stolen time", f"{share:.1%}", share < 0.01, "other guests of this host have the cores; nothing helps"
    )


def memory() -> Finding:
    held = psutil.virtual_memory()
    found = f"{held.available / MIB:,.0f} MiB free of {held.total / MIB:,.0f}"
    limit = _cgroup_limit()
    if limit and limit < held.total:
        found += f"; this group of processes may take {limit / MIB:,.0f} (see --mem-limit)"
    return _judge("memory", found, held.available > 2048 * MIB, "long cells will be skipped")


def swap() -> Finding:
    used = psutil.swap_memory().used
    return _judge("swap", f"{used / MIB:,.0f} MiB in use", used < 16 * MIB, "what was swapped out comes back slowly")


def huge_pages() -> Finding | None:
    setting = machine.read("/sys/kernel/mm/transparent_hugepage/enabled")
    if setting is None:
        return None
    advice = "fresh memory is 2x slower: echo madvise > /sys/kernel/mm/transparent_hugepage/enabled"
    return _judge("huge pages", setting, "[never]" not in setting, advice)


def governor() -> Finding | None:
    name = machine.read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
    if name is None:
        return None
    return _judge(
        "governor", name, name in ("performance", "schedutil"), f"{name} changes the clock: cpupower can set it"
    )


def clock() -> Finding:
    steps = [b - a for a, b in ((time.perf_counter(), time.perf_counter()) for _ in range(2000)) if b > a]
    step = min(steps, default=1.0)
    return _judge(
        "clock", f"{step * 1e9:.0f} ns from tick to tick", step < 2e-6, "steps under a millisecond are coarse"
    )


def steadiness() -> Finding:
    """The same loop 200 times: how far apart the slow ones are from the middle one."""
    times = []
    for _ in range(200):
        start = time.perf_counter()
        sum(range(30_000))
        times.append(time.perf_counter() - start)
    p90 = statistics.quantiles(times, n=10)[-1] / statistics.median(times)
    advice = "compare within one run, and quote medians; more samples help (--timeout)"
    return _judge("steadiness", f"a slow loop takes {p90:.2f}x a middle one", p90 < 1.1, advice)


def memory_meter() -> Finding | None:
    if platform.system() != "Linux":
        return Finding("memory meter", "no /proc", SPOILS, "on a CPU, observed memory stays blank; planned is there")
    writable = os.access("/proc/self/clear_refs", os.W_OK)
    return _judge("memory meter", "can be set back" if writable else "cannot be set back", writable, "peaks stay blank")


def debugging() -> Finding:
    """A Python, a jax or an XLA that is made for looking into things, not for speed."""
    on = ["a debug build of Python"] if hasattr(sys, "gettotalrefcount") else []
    on += ["Python's development mode"] if sys.flags.dev_mode else []
    flags = ("JAX_DEBUG_NANS", "JAX_DEBUG_INFS", "JAX_DISABLE_JIT", "JAX_ENABLE_CHECKS", "JAX_LOG_COMPILES")
    on += [name for name in flags if os.environ.get(name, "0").lower() not in ("0", "", "false")]
    slow = ("xla_dump", "optimization_level=0", "disable_expensive_passes", "disable_all_hlo_passes")
    on += [f"XLA_FLAGS={os.environ['XLA_FLAGS']}"] if any(s in os.environ.get("XLA_FLAGS", "") for s in slow) else []
    return _judge("debugging", ", ".join(on) or "off", not on, "unset it")


def disk() -> Finding:
    free = shutil.disk_usage(Path.cwd()).free
    return _judge("disk", f"{free / MIB:,.0f} MiB free for results", free > 200 * MIB, "a run ends where it is full")


def code() -> Finding:
    facts = machine.commit()
    found = facts["git_sha"] or "not a git checkout"
    if facts["git_dirty"]:
        found += " with uncommitted changes"
    advice = "figures of it cannot be regenerated by others: commit first"
    return _judge("code", found, bool(facts["git_sha"]) and not facts["git_dirty"], advice)


CHECKS: tuple[Callable[[], Finding | None], ...] = (
    *(device, cores, load, stolen, memory, swap, huge_pages, governor, clock, steadiness, memory_meter, debugging),
    *(disk, code),
)


def examine() -> list[Finding]:
    """Every check that means something here."""
    return [finding for check in CHECKS if (finding := check()) is not None]


def run_doctor(console: Console) -> int:
    """The command: a table; 1 if nothing can be measured."""
    findings = examine()
    table = Table()
    for column in ("what", "found", "verdict", "what to do"):
        table.add_column(column)
    for each in findings:
        table.add_row(each.what, each.found, f"[{COLOURS[each.verdict]}]{each.verdict}[/]", each.advice)
    console.print(table)
    return 1 if any(each.verdict == CANNOT for each in findings) else 0


def _cgroup_limit() -> int | None:
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        text = machine.read(path) if Path(path).exists() else None
        if text and text.isdigit():
            return int(text)
    return None
