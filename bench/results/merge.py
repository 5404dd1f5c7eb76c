"""`merge A B ... --out C`: the runs of a sharded sweep into one folder, as if it were one run."""

from __future__ import annotations

import json
from contextlib import closing
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
from lengthscale.bench.results.tables import Tables

OWN = ("cells", "shard", "arguments")  # what one shard's suite.json has for itself


def merge(folders: list[Path], out: Path, across_devices: bool = False) -> tuple[Path, list[Record]]:
    """(the new folder, its records). Raises RequestError where the runs are not of one sweep, were measured by
    different code or on different devices, or disagree on a cell; nothing has been written then.
    """
    suites, facts = [_suite(folder) for folder in folders], [facts_of(folder) for folder in folders]
    mistakes = [f"--out {str(out)!r} is there already; choose another"] if out.exists() else []
    for folder, suite, held in zip(folders[1:], suites[1:], facts[1:], strict=True):
        mistakes += _mistakes(folders[0], suites[0], facts[0], folder, suite, held, across_devices)
    records = _records(folders, mistakes)
    if mistakes:
        raise RequestError(mistakes)
    out.mkdir(parents=True)
    cells = list(dict.fromkeys(key for suite in suites for key in suite["cells"]))
    merged = [folder.name for folder in folders]
    merged_folder = RunFolder(out)
    with locked(out), closing(Journal(merged_folder.journal, Record)) as journal:
        for path, held in (
            (merged_folder.suite, {**suites[0], "shard": "", "cells": cells, "merged": merged}),
            (merged_folder.environment, {**facts[0], "merged": facts[1:]}),
        ):
            replace_file(path, json.dumps(held, indent=1))
        tables = Tables(merged_folder)
        for record in records:
            journal.append(record)
        tables.start_from(journal.records)
        tables.write()
        return out, journal.records


def _suite(folder: Path) -> dict[str, Any]:
    suite = RunFolder(folder).read_suite()
    if suite is None or not isinstance(suite.get("cells"), list):
        raise JournalError(f"{folder} holds no {RunFolder(folder).suite.name}, so no run")
    return suite


def _mistakes(first: Path, suite: dict, facts: dict, other: Path, its: dict, theirs: dict, across: bool) -> list[str]:
    mistakes = []
    if differing := resume.differences(*({k: v for k, v in each.items() if k not in OWN} for each in (suite, its))):
        mistakes.append(f"{first} and {other} are not of one sweep ({'; '.join(differing)})")
    code = ("code", "packages", "python_version")
    if differing := resume.differences(*({key: each.get(key) for key in code} for each in (facts, theirs))):
        mistakes.append(f"{first} and {other} were measured by different code ({'; '.join(differing)})")
    slugs = [device_slug(each) for each in (facts, theirs)]
    if slugs[0] != slugs[1] and not across:
        mistakes.append(f"{first} is of {slugs[0]}, {other} of {slugs[1]}; --across-devices merges them all the same")
    return mistakes


def _records(folders: list[Path], mistakes: list[str]) -> list[Record]:
    """All of them; a cell that two runs have alike counts once."""
    found: dict[Cell, tuple[Path, Record]] = {}
    for folder in folders:
        for record in read_journal(RunFolder(folder).journal):
            held = found.setdefault(record.cell, (folder, record))
            if held[1] != record:
                mistakes.append(f"{held[0]} and {folder} have both measured {record.cell.key()}, and differ")
    return [record for _, record in found.values()]
