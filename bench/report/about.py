"""The end of the page: what was skipped or failed and why, the environment, how to reproduce it. No jax here."""

from __future__ import annotations

import shlex

from bench.report.markup import Markup, details, element, section, table
from bench.report.source import Source

MOST = 300  # rows of what failed; beyond that the full table has them
FACTS = {
    "device": "Device",
    "backend": "Backend",
    "cpu_model": "CPU",
    "n_cpus": "Cores",
    "memory_bytes": "Memory (bytes)",
    "device_memory_bytes": "Device memory (bytes)",
    "platform": "Platform",
    "python_version": "Python",
    "native_kernels": "C++ kernels",
    "glibc_tunables": "Allocator",
    "huge_pages": "Huge pages",
    "governor": "CPU governor",
    "xla_flags": "XLA flags",
    "load_average": "Load at the start",
    "swap_used_bytes": "Swap in use (bytes)",
    "code": "Hash of the code",
}


def failures(sources: list[Source]) -> Markup:
    parts = [part for source in sources for part in _failures(source)]
    return section("failures", "What was skipped or failed", *parts)


def _failures(source: Source) -> list[Markup]:
    label = f"{source.label}: " if source.label else ""
    failed, missing = source.failed, source.missing
    flagged = [row for row in source.rows if row.get("flags")]
    said = [f"{len(failed)} of {len(source.rows)} rows are not ok" if failed else "Every cell that was run is ok"]
    if missing:
        said.append(f"{len(missing)} of the run's {len(source.suite['cells'])} cells have not been run")
    if flagged:
        kinds = ", ".join(dict.fromkeys(flag for row in flagged for flag in row["flags"].split()))
        said.append(f"{len(flagged)} rows are flagged as {kinds}: their times are less sure")
    parts = [element("p", f"{label}{'. '.join(said)}.")]
    if failed:
        head = ["measure", "model", "method", "length", "status", "stage", "message"]
        body = [[row.get(key) or "" for key in head] for row in failed[:MOST]]
        title = f"{label}Cells without figures"
        if len(failed) > MOST:
            title += f": the first {MOST} of {len(failed)}, the others are in the table of all rows"
        parts.append(table(title, head, body))
    if missing:
        listed = element("ul", *(element("li", key) for key in missing[:MOST]))
        parts.append(details(f"{label}Cells that have not been run", listed))
    return parts


def environment(sources: list[Source]) -> Markup:
    described = [_described(source) for source in sources]
    names = list(dict.fromkeys(name for facts in described for name in facts))
    body = []
    for name in names:
        values = [facts.get(name, "") for facts in described]
        differs = len(set(values)) > 1
        body.append([name, *(element("strong", value) if differs else value for value in values)])
    head = ["fact", *(f"{source.label} {source.name}".strip() for source in sources)]
    caption = "What the figures depend on" + (" (bold: where the two differ)" if len(sources) > 1 else "")
    return section("environment", "Environment", table(caption, head, body, class_="facts"), *map(_packages, sources))


def _described(source: Source) -> dict[str, str]:
    """What environment.json says, in words; a blank for what it does not say."""
    facts = {"device": source.device, **source.facts}
    said = {title: _plain(facts[key]) for key, title in FACTS.items() if facts.get(key) not in (None, "")}
    if facts.get("git_sha"):
        said["Commit"] = _commit(facts)
    peaks = facts.get("peaks") or {}
    for dtype, rate in (peaks.get("gemm_flops_per_s") or {}).items():
        said[f"Fastest matrix product, {dtype}"] = f"{rate / 1e9:,.0f} GFLOP/s"
    if peaks.get("copy_bytes_per_s"):
        said["Fastest copy"] = f"{peaks['copy_bytes_per_s'] / 1e9:,.1f} GB/s"
    return said | {name: str(version) for name, version in (facts.get("packages") or {}).items()}


def _packages(source: Source) -> Markup | None:
    every = source.facts.get("all_packages") or {}
    if not every:
        return None
    listed = "\n".join(f"{name}=={version}" for name, version in every.items())
    return details(f"{source.label} All {len(every)} packages".strip(), element("pre", listed))


def _commit(facts: dict) -> str:
    return f"{facts['git_sha']}{' with uncommitted changes' if facts.get('git_dirty') else ''}"


def _plain(value) -> str:
    if isinstance(value, list):
        return ", ".join(_plain(each) for each in value)
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def reproduce(sources: list[Source]) -> Markup:
    parts = [part for source in sources for part in _commands(source)]
    return section("reproduce", "How to reproduce it", *parts)


def _commands(source: Source) -> list[Markup]:
    """The recorded command, at the commit; and what is not recorded."""
    parts = [element("h3", f"{source.label}: {source.name}")] if source.label else []
    arguments = source.suite.get("arguments")
    sha = source.facts.get("git_sha")
    lines = [f"git checkout {shlex.quote(str(sha))}"] if sha else []
    if isinstance(arguments, list):
        lines.append(shlex.join(["./run_bench.sh", *(["run", *map(str, arguments)] if arguments else [])]))
    if lines:
        parts.append(element("pre", element("code", "\n".join(lines))))
    notes = []
    if not isinstance(arguments, list):
        named = f" (suite {source.suite['suite']})" if source.suite.get("suite") else ""
        notes.append(f"The folder does not say with which arguments the run{named} was started.")
    if not sha:
        notes.append("The folder does not say of which commit the code was.")
    if source.facts.get("git_dirty"):
        notes.append("The code had uncommitted changes: the commit alone is not what was measured.")
    versions = source.suite.get("data_versions") or {}
    if versions:
        notes.append("Data: " + ", ".join(f"{name} (version {version})" for name, version in versions.items()) + ".")
    claims: list[Markup] = []
    again = dict.fromkeys(row["command"] for row in source.claims if row.get("command"))
    if again:
        claims = [element("p", "The claims:"), element("pre", element("code", "\n".join(again)))]
    files = "journal.jsonl holds every raw sample; the CSVs, plots and this page are made of it."
    return [*parts, *(element("p", note) for note in notes), *claims, element("p", files, class_="muted")]
