"""Facts on which the numbers depend besides the cells: machine, kernel, packages, allocator, commit."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
import re
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import psutil

from lengthscale.bench.results.environment import ROOT

PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy", "scipy", "pandas", "matplotlib")
# glibc's allocator with huge pages, since on a CPU new pages cost more than arithmetic; and with one heap, since each
# of several heaps keeps up to 64 MB of freed memory, which would count as the program's. A process reads this when it
# starts.
TUNABLES = "glibc.malloc.hugetlb=1:glibc.malloc.arena_max=1"


# What tells that a driver is loaded, and jax's extra for it.
ACCELERATORS = (
    ("/proc/driver/nvidia/version", "an NVIDIA GPU", "cuda13"),
    ("/dev/kfd", "an AMD GPU", "rocm"),
    ("/dev/accel0", "a TPU", "tpu"),
)


def describe(device: dict) -> dict:
    """The content of environment.json. device: what a child found (lengthscale.bench.device.worker.probe)."""
    return {
        **device,
        "cpu_model": _cpu_model(),
        "n_cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
        "platform": platform.platform(),
        "python_version": platform.python_version(),
        "packages": {name: package_version(name) for name in PACKAGES},
        "all_packages": _all_packages(),
        "jax_flags": _jax_flags(),
        "governor": read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "swap_used_bytes": psutil.swap_memory().used,
        "code": _code_hash(),
        **commit(),
        "glibc_tunables": os.environ.get("GLIBC_TUNABLES"),
        "device_allocator": _device_allocator(),
        "huge_pages": read("/sys/kernel/mm/transparent_hugepage/enabled"),
        "xla_flags": os.environ.get("XLA_FLAGS"),
        "load_average": os.getloadavg(),
    }


def busy_cores(seconds: float) -> tuple[float, str]:
    """(cores that other processes use, the largest of them by name), watched for so many seconds.

    A load average would include what has just ended.
    """
    watched = [process for process in psutil.process_iter() if process.pid != os.getpid()]
    for process in watched:
        with suppress(psutil.Error):
            process.cpu_percent()
    time.sleep(seconds)
    busy = []
    for process in watched:
        with suppress(psutil.Error):
            busy.append((process.cpu_percent(), process.name()))
    largest = [f"{name} {percent:.0f}%" for percent, name in sorted(busy, reverse=True)[:3] if percent >= 5]
    return sum(percent for percent, _ in busy) / 100, ", ".join(largest)


def unused_accelerator(backend: str) -> str | None:
    """What this machine has and jax, which runs on the CPU, does not use; None where that is nothing, or is wanted."""
    if backend != "cpu" or os.environ.get("JAX_PLATFORMS") == "cpu":
        return None
    for path, name, extra in ACCELERATORS:
        if Path(path).exists():
            return f"{name} ({path}); see `doctor`, and try pip install 'jax[{extra}]'"
    return None


def _cpu_model() -> str:
    """The CPU's name, as the kernel or the platform gives it."""
    for line in (read("/proc/cpuinfo") or "").splitlines():
        if line.startswith("model name"):
            return re.sub(r"\s+", " ", line.split(":", 1)[1]).strip()
    return platform.processor() or platform.machine()


def commit() -> dict:
    """{"git_sha": ..., "git_dirty": whether bench/ or models/ have been changed since}. None outside a git checkout."""
    changes = _git("status", "--porcelain", "--", "bench", "models")
    return {
        "git_sha": _git("rev-parse", "--short=10", "HEAD"),
        "git_dirty": None if changes is None else bool(changes),
    }


def _code_hash() -> str:
    """A hash of all sources on which a number may depend, committed or not: equal hashes measure in the same way."""
    digest = hashlib.sha256()
    for folder in ("models", "bench"):
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in (".py", ".cc", ".h", ".c"):
                digest.update(f"{path.relative_to(ROOT)}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


def set_allocator() -> None:
    """Set the allocator of all children to TUNABLES, unless the user has set GLIBC_TUNABLES."""
    os.environ.setdefault("GLIBC_TUNABLES", TUNABLES)


def package_version(package: str) -> str | None:
    """The version of an installed package; None where it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _jax_flags() -> dict[str, str]:
    """The environment variables of jax that the user has set: without those of the runner's cache."""
    ours = ("JAX_COMPILATION_CACHE", "JAX_PERSISTENT_CACHE")
    return {k: v for k, v in sorted(os.environ.items()) if k.startswith("JAX_") and not k.startswith(ours)}


def _device_allocator() -> dict[str, str]:
    """How children allocate an accelerator's memory; what measures takes it all at once, unless the user says else."""
    settings = {name: os.environ.get(f"XLA_PYTHON_CLIENT_{name}") for name in ("MEM_FRACTION", "PREALLOCATE")}
    return {name.lower(): value or "true where it measures" for name, value in settings.items()}


def _all_packages() -> dict[str, str]:
    found = {each.metadata["Name"]: each.version for each in importlib.metadata.distributions()}
    return dict(sorted((name, version) for name, version in found.items() if name))


def _git(*args: str) -> str | None:
    try:
        result = subprocess.run(
            ["git", "--no-optional-locks", "-C", ROOT, *args], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return result.stdout.strip()


def read(path: str) -> str | None:
    """The text of a small file, stripped; None where it cannot be read."""
    try:
        return Path(path).read_text().strip()
    except OSError:
        return None
