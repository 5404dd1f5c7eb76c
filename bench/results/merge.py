"""`merge A B ... --out C`: the runs of a sharded sweep into one folder, as if it were one run."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

from lengthscale.bench.plan.errors import RequestError
from lengthscale.bench.results import environment, resume
from lengthscale.bench.results.environment import facts_of
from lengthscale.bench.results.errors import JournalError
from lengthscale.bench.results.journal import Journal, Tables, locked, read_journal, replace_file

OWN = ("cells", "shard", "arguments")  # what one shard's suite.json has for itself


def merge(folders: list[Path], out: Path, across_devices: bool = False) -> tuple[Path, list[dict]]:
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
    with locked(out), closing(Journal(out)) as journal:
        for name, held in (
            (resume.CONFIGURATION, {**suites[0], "shard": "", "cells": cells, "merged": merged}),
            (resume.ENVIRONMENT, {**facts[0], "merged": facts[1:]}),
        ):
            replace_file(out / name, json.dumps(held, indent=1))
        tables = Tables(out)
        for record in records:
            journal.append(record)
        tables.start_from(journal.records)
        tables.write()
        return out, journal.records


def _suite(folder: Path) -> dict:
    suite = resume.read(folder / resume.CONFIGURATION)
    if suite is None or not isinstance(suite.get("cells"), list):
        raise JournalError(f"{folder} holds no {resume.CONFIGURATION}, so no run")
    return suite


def _mistakes(first: Path, suite: dict, facts: dict, other: Path, its: dict, theirs: dict, across: bool) -> list[str]:
    mistakes = []
    if differing := resume.differences(*({k: v for k, v in each.items() if k not in OWN} for each in (suite, its))):
        mistakes.append(f"{first} and {other} are not of one sweep ({'; '.join(differing)})")
    code = ("code", "packages", "python_version")
    if differing := resume.differences(*({key: each.get(key) for key in code} for each in (facts, theirs))):
        mistakes.append(f"{first} and {other} were measured by different code ({'; '.join(differing)})")
    slugs = [environment.device_slug(each) for each in (facts, theirs)]
    if slugs[0] != slugs[1] and not across:
        mistakes.append(f"{first} is of {slugs[0]}, {other} of {slugs[1]}; --across-devices merges them all the same")
    return mistakes


def _records(folders: list[Path], mistakes: list[str]) -> list[dict]:
    """All of them; a cell that two runs have alike counts once."""
    found: dict[str, tuple[Path, dict]] = {}
    for folder in folders:
        for record in read_journal(folder / "journal.jsonl"):
            key = json.dumps(record["cell"], sort_keys=True)
            held = found.setdefault(key, (folder, record))
            if held[1] != record:
                name = " ".join(f"{k}={v}" for k, v in record["cell"].items())
                mistakes.append(f"{held[0]} and {folder} have both measured {name}, and differ")
    return [record for _, record in found.values()]
