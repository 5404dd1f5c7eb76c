"""The facts that a reader needs in addition to the figures: machine, noise, failures, and how to reproduce the run."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lengthscale.bench.analysis import text
from lengthscale.bench.analysis.answer import device_name
from lengthscale.bench.figures.run import Run, series_of
from lengthscale.bench.results.environment import ROOT

_FLAGS = {
    "noisy": "noisy: the 95% interval of their median is wider than ±10%",
    "few": "few: fewer than 3 replicates, so without an interval",
    "disturbed": "disturbed: other processes took cores, and too few samples are undisturbed",
    "coarse": "coarse: near the clock's resolution",
}
_BUSY = 0.75  # with a higher load per core at the beginning of the run, the machine was not idle


@dataclass(frozen=True)
class Missing:
    """The lengths of one curve that were not measured for one common reason."""

    measure: str
    name: str
    status: str
    stage: str
    message: str
    lengths: list[int]

    @property
    def where(self) -> str:
        """The lengths as text, such as "8k, 16k"."""
        return ", ".join(map(text.length, self.lengths))


def missing(run: Run) -> list[Missing]:
    """The cells that the run did not measure, grouped by curve and reason."""
    groups: dict[tuple[str, ...], list[int]] = {}
    for measure in run.rows:
        for each in series_of(measure, run.cells(measure)):
            for row in each.bad:
                key = (measure, each.name, *(row.text(name) for name in ("status", "stage", "message")))
                groups.setdefault(key, []).append(row.length)
    return [Missing(*key, lengths=sorted(set(lengths))) for key, lengths in groups.items()]


def noise(run: Run) -> list[str]:
    """Sentences about the noise of the run's timings and the state of the machine."""
    flags = [row.text("flags").split() for name in run.rows for row in run.cells(name) if row.has("time_median_ms")]
    counted = {flag: sum(flag in each for each in flags) for flag in _FLAGS}
    lines = [f"{count} of {len(flags)} timings are {_FLAGS[flag]}." for flag, count in counted.items() if count]
    if not lines:
        reasons = "noisy, disturbed, has few replicates or is near the clock's resolution"
        lines = [f"None of {len(flags)} timings is flagged: none is {reasons}."]
    facts = run.environment
    load, cpus = facts.get("load_average"), facts.get("n_cpus")
    if load and cpus and load[0] > _BUSY * cpus:
        lines.append(f"The machine was not idle when the run began: a load of {load[0]:.2f} on {cpus} cores.")
    if facts.get("swap_used_bytes"):
        lines.append(f"{facts['swap_used_bytes'] / 1e6:,.0f} MB were swapped out.")
    if facts.get("git_dirty"):
        lines.append("The code had changes that are not in the commit.")
    lines.append("Intervals cover the samples of this run alone, not the differences between days or machine states.")
    return lines


def facts_of(run: Run) -> list[tuple[str, str]]:
    """(name, value) of the facts in environment.json, with the important ones first."""
    facts = run.environment
    packages, peaks = facts.get("packages") or {}, facts.get("peaks") or {}
    rows = [
        ("device", device_name(facts)),
        ("memory", _bytes(facts.get("memory_bytes"))),
        ("device memory", _bytes(facts.get("device_memory_bytes"))),
        ("platform", facts.get("platform")),
        ("Python", facts.get("python_version")),
        *packages.items(),
        ("commit", commit(facts)),
        ("code", facts.get("code")),
        ("native kernels", facts.get("native_kernels")),
        *((f"GEMM, {dtype}", f"{rate / 1e9:,.1f} GFLOP/s") for dtype, rate in _pairs(peaks.get("gemm_flops_per_s"))),
        ("copying memory", f"{peaks['copy_bytes_per_s'] / 1e9:,.1f} GB/s" if peaks.get("copy_bytes_per_s") else None),
        ("load average", ", ".join(f"{load:.2f}" for load in facts.get("load_average") or ())),
        ("CPU governor", facts.get("governor")),
        ("huge pages", facts.get("huge_pages")),
        ("GLIBC_TUNABLES", facts.get("glibc_tunables")),
        ("XLA_FLAGS", facts.get("xla_flags")),
        *((name, value) for name, value in _pairs(facts.get("jax_flags"))),
    ]
    return [(name, str(value)) for name, value in rows if value not in (None, "")]


def packages_of(run: Run) -> list[str]:
    """Each installed package with its version."""
    return [f"{name} {version}" for name, version in _pairs(run.environment.get("all_packages"))]


def commit(facts: dict) -> str:
    """The commit in environment.json, and whether there were uncommitted changes."""
    dirty = " with uncommitted changes" if facts.get("git_dirty") else ""
    return f"{facts.get('git_sha') or 'unknown'}{dirty}"


@dataclass(frozen=True)
class Reproduction:
    """How to reproduce a run."""

    lines: list[str]  # commands for a shell
    notes: list[str]  # sentences that a reader needs as well


def reproduce(run: Run) -> Reproduction:
    """The commands and the notes that reproduce the run."""
    suite, facts = run.suite, run.environment
    sha, arguments = facts.get("git_sha"), suite.get("arguments")
    lines = [f"git checkout {sha}"] if sha else []
    notes = []
    if isinstance(arguments, list):
        lines.append(shlex.join(["./run_bench.sh", *(["run", *map(str, arguments)] if arguments else [])]))
    elif suite:
        lines.append(shlex.join(["./run_bench.sh", "run", "--suite", str(suite.get("suite"))]))
        notes.append("suite.json does not say how the run was started; it measured this suite, or a part of it.")
    else:
        notes.append("There is no suite.json that would say how the run was started.")
    if suite.get("merged"):
        notes.append(f"Merged from {', '.join(map(str, suite['merged']))}: each ran a part with --shard.")
    if facts.get("git_dirty"):
        notes.append("The code had uncommitted changes, so the commit alone is not what was measured.")
    if not sha:
        notes.append("Which commit was measured is not known.")
    if variables := [f"{name}={value}" for name, value in _pairs(facts.get("jax_flags"))]:
        notes.append(f"Flags at that time: {', '.join(variables)}.")
    lines.append(f"./run_bench.sh report {shlex.quote(str(_from_root(run.folder)))}")
    return Reproduction(lines, notes)


def _from_root(folder: Path) -> Path:
    """The folder relative to the root of the checkout, so that the page is the same from any working directory."""
    whole = folder.resolve()
    return whole.relative_to(ROOT) if whole.is_relative_to(ROOT) else folder


def settings_of(run: Run) -> str:
    """All settings in suite.json, as JSON, without the cells."""
    return json.dumps({key: value for key, value in run.suite.items() if key != "cells"}, indent=1)


def _pairs(held: Any) -> Iterable[tuple[str, Any]]:
    return held.items() if isinstance(held, dict) else ()


def _bytes(count: object) -> str | None:
    return f"{count / 2**30:,.1f} GiB" if isinstance(count, (int, float)) and count else None
