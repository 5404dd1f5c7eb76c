"""A run of `peers`: the loop over its cases, which writes journal and tables."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from msgspec.structs import replace
from rich.console import Console

from lengthscale.bench.analysis.text import number
from lengthscale.bench.host import machine
from lengthscale.bench.host.errors import StoppedError
from lengthscale.bench.host.process import uninterrupted
from lengthscale.bench.host.sweep import new_folder
from lengthscale.bench.peers.case import Case
from lengthscale.bench.peers.crew import Crew, start_contender
from lengthscale.bench.peers.files import PeersFolder, publish, write_tables
from lengthscale.bench.peers.forecast import PeerForecast
from lengthscale.bench.peers.record import PeerRecord
from lengthscale.bench.peers.rounds import Settings, run_case
from lengthscale.bench.peers.tables import Line, line_of
from lengthscale.bench.plan.errors import RequestError
from lengthscale.bench.plan.status import Status
from lengthscale.bench.results.environment import device_home
from lengthscale.bench.results.errors import JournalError
from lengthscale.bench.results.files import replace_file
from lengthscale.bench.results.journal import Journal, locked
from lengthscale.bench.results.record import Conditions

PACKAGES = {
    "cpu": ("jax", "flax", "torch", "transformers", "mambapy"),
    "gpu": ("jax", "torch", "fla-core", "mamba-ssm"),
}


@dataclass(frozen=True)
class Request:
    """What to compare, and where the results go."""

    cases: tuple[Case, ...]
    settings: Settings
    out: Path | None  # None: a new folder
    publish: bool  # put the rows into the device's tables, too
    device: Mapping[str, Any]  # its facts (device.py)


def run_request(request: Request, console: Console) -> bool:
    """Measure the cases that the folder does not have yet, and write the tables. Returns whether all of ours are ok.

    Raises RequestError where the folder holds something else, JournalError where it is in use, OSError where it cannot
    be written: nothing has been measured then. Raises StoppedError where the results can no longer be written, and
    KeyboardInterrupt: finished cases are kept, and the same request continues from there.
    """
    machine.set_allocator()
    facts = _facts(request)
    home = device_home(facts)
    folder = PeersFolder(request.out or new_folder("peers", facts))
    with _taken(folder, facts) as journal:
        try:
            _measure(request, folder, journal, Conditions(git_sha=facts["git_sha"]), console)
        except (OSError, JournalError) as error:
            kept = f"{len(journal.records)} of {len(request.cases)} cases are kept"
            advice = f"{kept}; the same command with --out {folder.path} continues"
            raise StoppedError(f"the results can no longer be written: {error}. {advice}") from error
        except KeyboardInterrupt:
            console.print(f"interrupted; the same command with --out {folder.path} continues", soft_wrap=True)
            raise
        all_ok = all(record.status == Status.OK for record in journal.records)
    _finish(request, folder.path, home, console)
    return all_ok


@contextmanager
def _taken(folder: PeersFolder, facts: dict[str, Any]) -> Iterator[Journal[PeerRecord]]:
    """The journal of a folder, which is locked. Raises RequestError where it holds anything but this run."""
    if mistakes := folder.mistakes(facts):
        raise RequestError(mistakes)
    folder.path.mkdir(parents=True, exist_ok=True)
    with locked(folder.path), closing(Journal(folder.journal, PeerRecord)) as journal:
        replace_file(folder.facts, json.dumps(facts, indent=1))
        yield journal


def _measure(
    request: Request, folder: PeersFolder, journal: Journal[PeerRecord], conditions: Conditions, console: Console
) -> None:
    forecast = PeerForecast(request.settings.call_s)
    crew = Crew(request.settings.memory_bytes, partial(start_contender, device=request.settings.device))
    for record in journal.records:
        forecast.learn(record)
    finished = {record.cell for record in journal.records}
    missing = [case for case in request.cases if case not in finished]
    if finished:
        console.print(f"{len(finished)} of {len(request.cases)} cases are in {folder.path} already", soft_wrap=True)
    try:
        for position, case in enumerate(missing, start=1):
            record = run_case(case, request.settings, crew, forecast.reason_to_skip)
            record = replace(record, environment=conditions)
            with uninterrupted():  # a record that only the journal had would be missing in the tables
                journal.append(record)
                write_tables(folder.path, journal.records)
            forecast.learn(record)
            progress = f"[{position}/{len(missing)}] {case.label()} ... {_sentence(line_of(record))}"
            console.print(progress, highlight=False, markup=False, soft_wrap=True)
    finally:
        crew.end()


def _finish(request: Request, folder: Path, home: Path, console: Console) -> None:
    from lengthscale.bench.peers.plot import plot_peers

    plot_peers(folder)
    if request.publish:
        publish(folder, home)
        plot_peers(home)
        folder = home
    console.print(f"results: {folder}", highlight=False, soft_wrap=True)


def _sentence(line: Line) -> str:
    """The result of a case as a progress message."""
    if line.ours_us_per_token is None:
        return f"{line.status}: {line.reason}"
    parts = [f"ours {number(line.ours_us_per_token)} us a token"]
    if line.ratio is not None and line.peer_us_per_token is not None:
        parts.append(f"{line.peer} {number(line.peer_us_per_token)} ({line.ratio:.2f}x)")
    if line.share is not None and line.limit_us_per_token is not None:
        parts.append(f"{line.limit} {number(line.limit_us_per_token)} (share {line.share:.2f})")
    return ", ".join(parts) + (f"; {line.goal}: {line.reached or 'unknown'}" if line.goal else "")


def _facts(request: Request) -> dict[str, Any]:
    """The content of peers.json: the environment, and what all rows of a folder have in common."""
    return {
        **machine.describe(dict(request.device)),
        "peers": {name: machine.package_version(name) for name in PACKAGES[request.device["backend"]]},
        "samples": request.settings.samples,
        "cases": [case.label() for case in request.cases],
    }
