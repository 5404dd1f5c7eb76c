"""`peers`: the request parsed and validated, the cases run one after the other, the tables written."""

from __future__ import annotations

import dataclasses
import json
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from msgspec.structs import replace
from rich.console import Console

from lengthscale.bench.host import machine
from lengthscale.bench.peers import contenders, files
from lengthscale.bench.peers.case import Case
from lengthscale.bench.peers.figures import row_of
from lengthscale.bench.peers.past import Past
from lengthscale.bench.peers.record import PeerRecord
from lengthscale.bench.peers.rounds import Crew, Settings, run_case
from lengthscale.bench.peers.rows import NAMES, ROWS, find
from lengthscale.bench.plan.errors import RequestError
from lengthscale.bench.results.environment import ROOT, device_slug
from lengthscale.bench.results.files import replace_file
from lengthscale.bench.results.journal import Journal, locked

JOURNAL = "journal.jsonl"
CONTEXT_MEASURES = ("decode", "flat")


@dataclass(frozen=True)
class Request:
    cases: tuple[Case, ...]
    settings: Settings
    out: Path | None
    publish: bool


def make_request(values: Mapping[str, Any], mistakes: Sequence[str], available: int) -> Request:
    """The request with the values of the command's options (commands/peers.py).

    mistakes: those of the options by themselves. available: the cores that may be used. Raises RequestError with all
    mistakes at once.
    """
    mistakes = list(mistakes)
    names, measures = values["only"], values["measures"]
    cores = values["cores"] or tuple(sorted({1, available}))
    if cores[-1] > available:
        mistakes.append(f"--cores {cores[-1]}: only {available} may be used here")
    cases = [
        case
        for row in ROWS
        if row.name in names and row.measure in measures
        for case in row.cases(values["contexts" if row.measure in CONTEXT_MEASURES else "lengths"], cores)
    ]
    if not cases and not mistakes:
        mistakes.append(f"{', '.join(names)} has no measure {', '.join(measures)}")
    needed = {name for case in cases for name in find(case).contenders}
    absent = sorted(name for name in needed if contenders.version(name) is None)
    if values["publish"] and absent:
        mistakes.append(f"--publish: {', '.join(absent)} missing; LENGTHSCALE_EXTRAS=peers installs them")
    if mistakes:
        raise RequestError(mistakes)
    # A row's cases stand together for each number of cores, so that its children start once.
    cases.sort(key=lambda case: (NAMES.index(case.row), case.cores))
    settings = dataclasses.replace(Settings(), samples=values["samples"] or Settings.samples)
    return Request(tuple(cases), settings, values["out"], values["publish"])


def run_peers(request: Request, console: Console, only_list: bool = False) -> int:
    """The exit code: 0, or 3 where something of ours failed."""
    if only_list:
        for case in request.cases:
            console.print(case.label(), highlight=False)
        return 0
    machine.set_allocator()
    facts = _facts(request)
    home = ROOT / "results" / device_slug(facts)
    folder = request.out or home / time.strftime("peers-%Y%m%d-%H%M%S", time.gmtime())
    _take(folder, facts)
    with locked(folder), closing(Journal(folder / JOURNAL, PeerRecord)) as journal:
        _run(request, folder, journal, {"git_sha": facts["git_sha"]}, console)
        statuses = [record.status for record in journal.records]
    _finish(request, folder, home, console)
    return 0 if all(status == "ok" for status in statuses) else 3


def _run(request: Request, folder: Path, journal: Journal[PeerRecord], columns: dict, console: Console) -> None:
    past, crew = Past(request.settings), Crew(request.settings)
    for record in journal.records:
        past.learn(record)
    finished = {record.cell for record in journal.records}
    missing = [case for case in request.cases if case not in finished]
    if finished:
        console.print(f"{len(finished)} of {len(request.cases)} cases are in {folder} already", soft_wrap=True)
    try:
        for number, case in enumerate(missing, start=1):
            record = replace(run_case(case, request.settings, crew, past.reason_to_skip), environment=columns)
            journal.append(record)
            past.learn(record)
            files.write_tables(folder, journal.records)
            line = _line(row_of(record))
            console.print(
                f"[{number}/{len(missing)}] {case.label()} ... {line}", highlight=False, markup=False, soft_wrap=True
            )
    finally:
        crew.end()


def _finish(request: Request, folder: Path, home: Path, console: Console) -> None:
    from lengthscale.bench.peers.plot import plot_peers

    plot_peers(folder)
    if request.publish:
        files.publish(folder, home)
        plot_peers(home)
        folder = home
    console.print(f"results: {folder}", highlight=False, soft_wrap=True)


def _line(row: dict) -> str:
    if row["ours_us_per_token"] is None:
        return f"{row['status']}: {row['reason']}"
    parts = [f"ours {row['ours_us_per_token']:.4g} us a token"]
    if row["ratio"] is not None:
        parts.append(f"{row['peer']} {row['peer_us_per_token']:.4g} ({row['ratio']:.2f}x)")
    if row["share"] is not None:
        parts.append(f"{row['limit']} {row['limit_us_per_token']:.4g} (share {row['share']:.2f})")
    return ", ".join(parts) + (f"; {row['goal']}: {row['reached'] or 'not known'}" if row["goal"] else "")


def _facts(request: Request) -> dict:
    """peers.json: the environment, and what a folder's rows have in common."""
    described = machine.describe({"backend": "cpu", "device_kind": "cpu", "n_devices": 1})
    packages = ("jax", "flax", "torch", "transformers", "mambapy")
    return {
        **described,
        "peers": {name: machine.package_version(name) for name in packages},
        "samples": request.settings.samples,
        "cases": [case.label() for case in request.cases],
    }


def _take(folder: Path, facts: dict) -> None:
    """Make the folder, or see that it holds this very run. Raises RequestError where it does not."""
    path = folder / files.FACTS
    if path.exists():
        held = json.loads(path.read_text())
        differing = [key for key in ("git_sha", "peers", "samples", "cases") if held.get(key) != facts[key]]
        if differing:
            differ = ", ".join(differing)
            raise RequestError([f"--out {str(folder)!r} holds another run (it differs in: {differ}); choose another"])
    elif (folder / files.TABLE).exists():
        raise RequestError([f"--out {str(folder)!r} holds a {files.TABLE} without a {files.FACTS}; choose another"])
    folder.mkdir(parents=True, exist_ok=True)
    replace_file(path, json.dumps(facts, indent=1))


def available_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
