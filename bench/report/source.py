"""What a report is made of: all that a results folder holds, read once. No jax here."""

# pandas' types cannot tell a column from a frame:
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false

from __future__ import annotations

import csv
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from bench import answer, fit, resume
from bench.cell import IDENTITY
from bench.claims import table as claims
from bench.journal import JournalError
from bench.measures import MEASURES
from bench.plots.data import Run, caption, read_run


@dataclass(frozen=True)
class Source:
    label: str  # "A" or "B"; "" of a report on one run
    run: Run  # the index of its frames is the row in the report's full table
    rows: list[dict[str, str]]  # of all its CSVs, as they stand there, each with its measure
    fits: list[dict]  # as bench.fit gives them; none where there is nothing to fit
    crossovers: list[dict]
    suite: dict  # suite.json; empty where there is none
    claims: list[dict[str, str]]  # rows of claims.csv
    claims_folder: Path

    @property
    def name(self) -> str:
        """Of the run, its folder's."""
        return self.run.folder.resolve().name

    @property
    def facts(self) -> dict:
        """The environment; what it does not say, as far as the rows do."""
        row = self.rows[0]
        known = {key: row[key] for key in ("device_kind", "n_cpus", "git_sha") if row.get(key)}
        return {"backend": row.get("platform"), "cpu_model": "a CPU", **known, **self.run.environment}

    @property
    def device(self) -> str:
        return answer.device_name(self.facts)

    @property
    def about(self) -> str:
        return " · ".join(caption(self.run, self.run.frames, ()))

    @property
    def sentences(self) -> list[str]:
        return answer.sentences(self.fits, self.crossovers, self.facts)

    @property
    def failed(self) -> list[dict[str, str]]:
        return [row for row in self.rows if row["status"] != "ok"]

    @property
    def missing(self) -> list[str]:
        """Keys of the cells that the run should have and has not."""
        there = {" ".join(f"{name}={row.get(name)}" for name in IDENTITY) for row in self.rows}
        return [key for key in self.suite.get("cells", []) if key not in there]


def read_source(folder: Path, claims_folder: Path | None = None, label: str = "", first: int = 0) -> Source:
    """first: the number of the folder's first row in the full table. Fits that are missing are made, in the folder.

    Raises JournalError where the folder holds no results, or some that cannot be read.
    """
    try:
        if not (folder / "fits.csv").exists() and (folder / "journal.jsonl").exists():
            fit.fit_folder(folder)
        run, rows, number = read_run(folder), [], first
        frames = {}
        for name in MEASURES:
            if name in run.frames:
                frames[name] = run.frames[name].set_axis(np.arange(number, number + len(run.frames[name])))
                rows += [{"measure": name, **row} for row in _read(folder / f"{name}.csv")]
                number += len(frames[name])
        if not rows:
            raise JournalError(f"{folder}: its CSVs have no rows")
        home = claims_folder or folder
        return Source(
            label=label,
            run=replace(run, frames={name: frame for name, frame in frames.items() if len(frame)}),
            rows=rows,
            fits=[_typed(row) for row in _read(folder / "fits.csv")],
            crossovers=[_typed(row) for row in _read(folder / "crossovers.csv")],
            suite=resume.read(folder / resume.CONFIGURATION) or {},
            claims=claims.read(home),
            claims_folder=home,
        )
    except (ValueError, KeyError) as error:
        raise JournalError(f"{folder} holds something that cannot be read: {error!r}") from error


def _read(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV, as text; none where there is no such file."""
    if not path.exists():
        return []
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _typed(row: dict[str, str]) -> dict:
    """As bench.fit made it: None where there is a blank, numbers where there are numbers."""
    return {key: _value(text) for key, text in row.items()}


def _value(text: str) -> str | int | float | None:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text or None
