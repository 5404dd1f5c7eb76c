"""A run as figures are made of it: each CSV of its folder read once, the rows of each measure, and its series.

`read_run` loads it; files, page and command line are given that one value.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from lengthscale.bench.analysis.answer import device_name
from lengthscale.bench.analysis.summary import size_name
from lengthscale.bench.plan.cell import IDENTITY
from lengthscale.bench.plan.measures import MEASURES
from lengthscale.bench.results import resume
from lengthscale.bench.results.errors import JournalError
from lengthscale.models import MODELS

_CELL = IDENTITY[1:]
_ORDER = {name: number for number, name in enumerate(MODELS)}
_FITTED = ("fits", "crossovers")


@dataclass(frozen=True)
class Row:
    """A line of a measure's CSV. What is blank is "" as text, and nan as a number."""

    number_in_file: int
    cells: Mapping[str, str]

    def text(self, name: str) -> str:
        return self.cells.get(name) or ""

    def has(self, name: str) -> bool:
        """Whether it is a number."""
        return not math.isnan(self.number(name))

    def number(self, name: str) -> float:
        """Raises JournalError where there is something else."""
        text = self.text(name)
        try:
            return float(text) if text else math.nan
        except ValueError:
            raise JournalError(f"a CSV's {name} must be a number, got {text!r}") from None

    def whole(self, name: str) -> int:
        """0 where it is blank."""
        value = self.number(name)
        return 0 if math.isnan(value) else int(value)

    @property
    def ok(self) -> bool:
        return self.text("status") == "ok"

    @property
    def length(self) -> int:
        return self.whole("length")


@dataclass(frozen=True)
class Csv:
    """A file's text: its columns, and its rows each as long as those."""

    columns: list[str] = field(default_factory=list)
    rows: list[list[str]] = field(default_factory=list)

    def dicts(self) -> list[dict[str, str]]:
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]


@dataclass(frozen=True)
class Run:
    folder: Path
    files: dict[str, Csv]  # of each measure that the folder has, and `fits` and `crossovers`
    rows: dict[str, list[Row]]  # of each measure, without the claims' controls
    fits: list[dict]  # as fit.py makes them: numbers, words, and None
    crossovers: list[dict]
    environment: dict
    suite: dict  # suite.json

    def only(self, models: Iterable[str]) -> Run:
        kept = set(models)
        return replace(
            self, rows={name: [row for row in rows if row.text("model") in kept] for name, rows in self.rows.items()}
        )

    def cells(self, measure: str) -> list[Row]:
        """A row for each cell, where a measure has several."""
        first: dict[tuple, Row] = {}
        for row in self.rows.get(measure, ()):
            first.setdefault(tuple(row.text(name) for name in _CELL), row)
        return list(first.values())


@dataclass(frozen=True)
class Series:
    """The rows of one curve, short lengths first."""

    measure: str
    model: str
    name: str  # the model's, with what else tells it from its neighbours but for the seed
    dash: int  # rank among the model's names
    rows: list[Row]

    def good(self, column: str) -> list[Row]:
        return [row for row in self.rows if row.ok and row.has(column)]

    @cached_property
    def bad(self) -> list[Row]:
        return [row for row in self.rows if not row.ok]

    def fit_of(self, run: Run, quantity: str) -> dict | None:
        """The run's fit of this curve."""
        first = self.rows[0]
        keys = {"measure": self.measure, "quantity": quantity, "model": self.model}
        keys |= {name: first.text(name) for name in ("size", "method", "batch", "dtype", "data", "seed")}
        return next((fit for fit in run.fits if all(str(fit[name]) == value for name, value in keys.items())), None)


def read_run(folder: Path, fitted: tuple[list[dict], list[dict]] | None = None) -> Run:
    """fitted: its fits and crossings, where they have just been made; else they are those of its files, if there are
    any. Raises JournalError where the folder has no CSV of a measure.
    """
    files = {name: csv_of(path) for name in MEASURES if (path := folder / f"{name}.csv").exists()}
    if not files:
        raise JournalError(f"{folder} holds no CSV of {', '.join(MEASURES)}")
    rows = {name: _measured(file) for name, file in files.items()}
    path = folder / "environment.json"
    environment = json.loads(path.read_text()) if path.exists() else {}
    run = Run(folder, files, rows, [], [], environment, resume.read(folder / resume.CONFIGURATION) or {})
    return with_fits(run, fitted)


def with_fits(run: Run, fitted: tuple[list[dict], list[dict]] | None) -> Run:
    """The run with these fits and crossings, which are in its files already; None: with those of the files."""
    texts = {name: csv_of(path) if (path := run.folder / f"{name}.csv").exists() else Csv() for name in _FITTED}
    fits, crossovers = fitted or ([_typed(row) for row in texts[name].dicts()] for name in _FITTED)
    return replace(run, files=run.files | texts, fits=fits, crossovers=crossovers)


def csv_of(path: Path) -> Csv:
    """A row that is cut short or too long, which no program here writes, is made to fit."""
    with open(path, newline="") as file:
        lines = [row for row in csv.reader(file) if row]
    if not lines:
        raise JournalError(f"{path} cannot be read: it has no columns")
    columns, *rows = lines
    return Csv(columns, [(row + [""] * len(columns))[: len(columns)] for row in rows])


def _measured(file: Csv) -> list[Row]:
    rows = [Row(number, cells) for number, cells in enumerate(file.dicts())]
    return [row for row in rows if not row.text("control")]


def _typed(row: dict[str, str]) -> dict:
    """As fit.py makes them; but names stay words."""
    named = {*IDENTITY, "model_short", "model_long", "quantity", "status", "note"} - {"batch", "seed", "length"}
    return {name: (text or None) if name in named else _value(text) for name, text in row.items()}


def _value(text: str) -> float | int | str | None:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text or None


def series_of(measure: str, rows: Iterable[Row], each_length: bool = False) -> list[Series]:
    """In the order of MODELS. each_length: every length that was trained at is a series, not a point of one."""
    rows = list(rows)
    telling = ("size", "dtype", "data" if MEASURES[measure].learns else "batch")
    varying = [name for name in telling if len({row.text(name) for row in rows if row.ok}) > 1]
    groups: dict[tuple, list[Row]] = {}
    for row in rows:
        groups.setdefault(_key(row, telling, each_length), []).append(row)
    names: dict[str, list[str]] = {}
    series = []
    for key in sorted(groups):
        mine = sorted(groups[key], key=lambda row: row.length)
        model, name = mine[0].text("model"), _name(mine[0], varying)
        known = names.setdefault(model, [])
        if name not in known:
            known.append(name)
        series.append(Series(measure, model, name, known.index(name), mine))
    return series


def _key(row: Row, telling: tuple[str, ...], each_length: bool) -> tuple:
    """The place of a row's series among the others."""
    model = row.text("model")
    told = [row.whole(name) if name == "batch" else row.text(name) for name in telling]
    last = row.length if each_length else 0
    return (_ORDER.get(model, len(_ORDER)), model, row.text("method"), *told, row.whole("seed"), last)


def _name(row: Row, varying: Iterable[str]) -> str:
    model, method = row.text("model"), row.text("method")
    words = {"size": size_name(row.text("size")), "batch": f"batch {row.text('batch')}"}
    name = model if method == "auto" else f"{model} [{method}]"
    return ", ".join([name, *(words.get(each, row.text(each)) for each in varying)])


def caption(run: Run, measures: Iterable[str], notes: Iterable[str] = ()) -> tuple[str, ...]:
    """What figures of these measures were measured with, piece by piece, and what their lines mean."""
    measures = list(dict.fromkeys(measures))
    rows = [row for measure in measures for row in run.rows[measure]]
    first = rows[0]
    facts = {"backend": first.text("platform"), "cpu_model": "a CPU"}
    facts |= {name: first.text(name) for name in ("device_kind", "n_cpus")}
    device = device_name({**facts, "n_devices": first.whole("n_devices"), **run.environment})
    sizes = "/".join(dict.fromkeys(size_name(size) for size in _found(rows, "size")))
    timed = [row for measure in measures if not MEASURES[measure].learns for row in run.rows[measure]]
    batches = _found(timed, "batch")
    made_of = [sizes, "/".join(_found(rows, "dtype")), *([f"batch {batches[0]}"] if len(batches) == 1 else [])]
    commits = ", ".join(_found(rows, "git_sha"))
    modified = " (modified)" if run.environment.get("git_dirty") else ""
    versions = "/".join(_found(rows, "jax_version"))
    pieces = (device, f"jax {versions}", ", ".join(made_of), f"commit {commits}{modified}")
    return (*pieces, *dict.fromkeys(notes))


def _found(rows: Iterable[Row], name: str) -> list[str]:
    """The different texts of a column in their order, without blanks."""
    return list(dict.fromkeys(text for row in rows if (text := row.text(name))))
