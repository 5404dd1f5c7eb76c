"""`merge A B ... --out C`: merge the runs of a sharded sweep into one folder, as if it were one run."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lengthscale.bench.plan.cell import Cell
from lengthscale.bench.plan.errors import RequestError
from lengthscale.bench.results import resume
from lengthscale.bench.results.codec import read_journal
from lengthscale.bench.results.environment import device_slug, facts_of
from lengthscale.bench.results.errors import JournalError
from lengthscale.bench.results.files import replace_file
from lengthscale.bench.results.folder import RunFolder
from lengthscale.bench.results.journal import Journal, locked
from lengthscale.bench.results.record import Record
from lengthscale.bench.results.result import Result, results_of
from lengthscale.bench.results.tables import Tables

OWN = ("cells", "shard", "arguments")  # keys of suite.json that differ between shards


@dataclass(frozen=True)
class Shard:
    """One run of a sharded sweep."""

    folder: Path
    suite: dict[str, Any]
    facts: dict[str, Any]


def merge(folders: list[Path], out: Path, across_devices: bool = False) -> tuple[Path, list[Result]]:
    """(the new folder, its results). across_devices: merge runs of different devices, too.

    Raises RequestError where the runs are not of one sweep, were measured by different code or on different devices, or
    disagree on a cell. Nothing has been written then.
    """
    shards = [Shard(folder, _suite(folder), facts_of(folder)) for folder in folders]
    mistakes = [f"--out {str(out)!r} exists already; choose another"] if out.exists() else []
    for other in shards[1:]:
        mistakes += _mistakes(shards[0], other, across_devices)
    records = _records(folders, mistakes)
    if mistakes:
        raise RequestError(mistakes)
    out.mkdir(parents=True)
    cells = list(dict.fromkeys(key for shard in shards for key in shard.suite["cells"]))
    merged = [folder.name for folder in folders]
    merged_folder = RunFolder(out)
    with locked(out), closing(Journal(merged_folder.journal, Record)) as journal:
        for path, content in (
            (merged_folder.suite, {**shards[0].suite, "shard": "", "cells": cells, "merged": merged}),
            (merged_folder.environment, {**shards[0].facts, "merged": [shard.facts for shard in shards[1:]]}),
        ):
            replace_file(path, json.dumps(content, indent=1))
        tables = Tables(merged_folder)
        for record in records:
            journal.append(record)
        tables.start_from(journal.records)
        tables.write()
        return out, results_of(journal.records)


def _suite(folder: Path) -> dict[str, Any]:
    suite = RunFolder(folder).read_suite()
    if suite is None or not isinstance(suite.get("cells"), list):
        raise JournalError(f"{folder} holds no {RunFolder(folder).suite.name}, so it is not a run")
    return suite


def _mistakes(first: Shard, other: Shard, across_devices: bool) -> list[str]:
    mistakes, names = [], (first.folder, other.folder)
    suites = [{key: value for key, value in each.suite.items() if key not in OWN} for each in (first, other)]
    if differing := resume.differences(*suites):
        mistakes.append(f"{names[0]} and {names[1]} are not of one sweep ({'; '.join(differing)})")
    code = ("code", "packages", "python_version")
    if differing := resume.differences(*({key: each.facts.get(key) for key in code} for each in (first, other))):
        mistakes.append(f"{names[0]} and {names[1]} were measured by different code ({'; '.join(differing)})")
    slugs = [device_slug(each.facts) for each in (first, other)]
    if slugs[0] != slugs[1] and not across_devices:
        devices = f"{names[0]} is of {slugs[0]}, {names[1]} of {slugs[1]}"
        mistakes.append(f"{devices}; --across-devices merges them nevertheless")
    return mistakes


def _records(folders: list[Path], mistakes: list[str]) -> list[Record]:
    """The records of all folders; a record that two of them have counts once. Adds to mistakes where they differ."""
    found: dict[tuple[Cell, int], tuple[Path, Record]] = {}
    for folder in folders:
        for record in read_journal(RunFolder(folder).journal):
            earlier = found.setdefault((record.cell, record.replicate), (folder, record))
            if earlier[1] != record:
                mistakes.append(
                    f"{earlier[0]} and {folder} have both measured {record.cell.key()}, with different results"
                )
    return [record for _, record in found.values()]
