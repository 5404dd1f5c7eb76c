"""What the numbers depend on besides the code: machine, kernel, packages, allocator, commit. No jax here."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import subprocess
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[1]
PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy", "scipy", "pandas", "matplotlib")
# glibc's allocator in huge pages: fresh pages cost more than arithmetic on a CPU. Read when a process starts.
TUNABLES = "glibc.malloc.hugetlb=1"


def describe(device: dict) -> dict:
    """environment.json: `device` is what a child found (see bench.worker.probe)."""
    changes = _git("status", "--porcelain", "--", "bench", "models")
    return {
        **device,
        "cpu_model": cpu_model(),
        "n_cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
        "platform": platform.platform(),
        "python_version": platform.python_version(),
        "packages": {name: package_version(name) for name in PACKAGES},
        "git_sha": git_sha(),
        "git_dirty": None if changes is None else bool(changes),
        "glibc_tunables": os.environ.get("GLIBC_TUNABLES"),
        "huge_pages": _read("/sys/kernel/mm/transparent_hugepage/enabled"),
        "xla_flags": os.environ.get("XLA_FLAGS"),
        "load_average": os.getloadavg(),
    }


def row_columns(environment: dict) -> dict:
    """The part of the environment that stands in every row."""
    return {
        "device_kind": environment["device_kind"],
        "platform": environment["backend"],
        "n_devices": environment["n_devices"],
        "n_cpus": environment["n_cpus"],
        "jax_version": environment["packages"]["jax"],
        "git_sha": environment["git_sha"],
    }


def device_slug(environment: dict) -> str:
    """The folder of this kind of machine, such as "intel-xeon-processor-2cpu" or "nvidia-h200"."""
    if environment["backend"] == "cpu":
        name = f"{environment['cpu_model']}-{environment['n_cpus']}cpu"
    else:
        name = environment["device_kind"]
    name = re.sub(r"\((r|tm)\)", " ", name.lower())
    return re.sub(r"[^a-z0-9]+", "-", name).strip("-")


def cpu_model() -> str:
    """The CPU's name as the kernel or the platform knows it."""
    for line in (_read("/proc/cpuinfo") or "").splitlines():
        if line.startswith("model name"):
            return re.sub(r"\s+", " ", line.split(":", 1)[1]).strip()
    return platform.processor() or platform.machine()


def git_sha() -> str | None:
    return _git("rev-parse", "--short=10", "HEAD")


def set_allocator() -> None:
    """Ask for huge pages in the children, unless the user has chosen already."""
    os.environ.setdefault("GLIBC_TUNABLES", TUNABLES)


def package_version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git(*args: str) -> str | None:
    try:
        result = subprocess.run(["git", "-C", ROOT, *args], capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return result.stdout.strip()


def _read(path: str) -> str | None:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return None
