"""Continuing a run: what must be unchanged, and the messages if it is not."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path

from lengthscale.bench.plan.cell import Cell
from lengthscale.bench.plan.schedule import schedule
from lengthscale.bench.plan.status import TIMED
from lengthscale.bench.results.codec import read_journal
from lengthscale.bench.results.errors import JournalError
from lengthscale.bench.results.folder import RunFolder
from lengthscale.bench.results.result import Result

# Keys of environment.json that must be equal for all rows of a folder.
SAME = (
    *("code", "device_kind", "cpu_model", "n_cpus", "python_version", "packages"),
    *("native_kernels", "glibc_tunables", "xla_flags"),
)


def arguments_of(folder: Path) -> list[str]:
    """The arguments with which a folder's run was started. Raises JournalError where they are not recorded."""
    suite = RunFolder(folder).suite
    recorded = RunFolder(folder).read_suite()
    if recorded is None:
        raise JournalError(f"--resume {str(folder)!r}: there is no {suite.name}, so there is no run to continue")
    if not isinstance(recorded.get("arguments"), list):
        raise JournalError(f"--resume {str(folder)!r}: its {suite.name} does not say how the run was started")
    return [str(argument) for argument in recorded["arguments"]]


def turns_left(cells: Iterable[Cell], replicates: int, results: Iterable[Result]) -> int:
    """The replicates that were not measured, of cells that have not failed."""
    finished = {result.cell: result for result in results}
    left = 0
    for turn in schedule(cells, replicates):
        mine = finished.get(turn.cell)
        left += mine is None or (mine.status in TIMED and turn.replicate >= len(mine.replicates))
    return left


def check_place(out: Path) -> list[str]:
    """Mistakes: the folder cannot be written, or holds something that is not a run of ours."""
    existing = next(path for path in (out, *out.absolute().parents) if path.exists())
    if not existing.is_dir():
        return [f"--out {str(out)!r}: {str(existing)!r} is a file"]
    if not os.access(existing, os.W_OK | os.X_OK):
        return [f"--out {str(out)!r}: {str(existing)!r} cannot be written"]
    return RunFolder(out).mistakes()


def check_configuration(out: Path, configuration: dict) -> list[str]:
    """Mistakes: the folder holds another configuration, or files that cannot be read."""
    try:
        folder = RunFolder(out)
        recorded, records = folder.read_suite(), read_journal(folder.journal)
    except (JournalError, OSError) as error:
        return [f"--out {str(out)!r} holds something that cannot be read: {error}. {_WAYS}"]
    if recorded is None and records:
        return [f"--out {str(out)!r} holds a journal without a {folder.suite.name}. {_WAYS}"]
    differing = differences(recorded, json.loads(json.dumps(configuration))) if recorded is not None else []
    if differing:
        return [f"--out {str(out)!r} holds another configuration ({'; '.join(differing)}). {_WAYS}"]
    return []


def check_environment(folder: Path, described: dict) -> list[str]:
    """Mistakes: the folder's rows were measured by other code, or on another machine."""
    recorded = RunFolder(folder).read_environment() or {}
    now = json.loads(json.dumps(described))
    differing = differences({key: recorded.get(key) for key in SAME}, {key: now.get(key) for key in SAME})
    if not differing:
        return []
    return [f"{str(folder)!r} was measured under other conditions ({'; '.join(differing)}). {_WAYS}"]


def peaks_of(folder: Path) -> dict | None:
    """The machine's peak rates with which a folder's rows were compared; None where it has none."""
    return (RunFolder(folder).read_environment() or {}).get("peaks")


_WAYS = "Choose another folder, or --rerun, which renames the files that are there and measures everything again"


def differences(recorded: dict, now: dict) -> list[str]:
    """The differences of two descriptions, each in words. A missing key equals None; "arguments" are left out."""
    found = []
    for key in [*recorded, *(key for key in now if key not in recorded)]:
        old, new = recorded.get(key), now.get(key)
        if old == new or key == "arguments":
            continue
        if isinstance(old, dict) and isinstance(new, dict):
            found += [f"{key}: {each}" for each in differences(old, new)]
        elif isinstance(old, list) and isinstance(new, list) and len(old) + len(new) > 6:
            gone, added = [x for x in old if x not in new], [x for x in new if x not in old]
            example = (gone + added or ["order"])[0]
            found.append(f"{key}: {len(gone)} no longer there, {len(added)} new, such as {example}")
        else:
            found.append(f"{key}: {old} -> {new}")
    return found
