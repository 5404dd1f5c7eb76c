"""A run, as the figures need it: the rows of each measure, as the text in its CSV, with their fits and series.

`run_of` makes it from the results that this process has just measured, and `read_run` from a folder. The pictures, the
page and the command line all use this one value.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from lengthscale.bench.analysis.answer import device_name
from lengthscale.bench.analysis.crossover import Crossing
from lengthscale.bench.analysis.fit import Fit, read_fits
from lengthscale.bench.analysis.references import Point, read_references
from lengthscale.bench.plan.cell import IDENTITY
from lengthscale.bench.plan.measures import MEASURES
from lengthscale.bench.plan.series import SeriesKey, size_name
from lengthscale.bench.results.codec import table_of_results
from lengthscale.bench.results.csv_table import CsvTable, TextRow, read_table
from lengthscale.bench.results.errors import JournalError
from lengthscale.bench.results.folder import RunFolder
from lengthscale.bench.results.result import Result
from lengthscale.models import STATES, present_name

_CELL = IDENTITY[1:]


class Group(NamedTuple):
    """What rows must have in common for their losses to be compared in one figure."""

    data: str
    size: str


@dataclass(frozen=True)
class Run:
    """The contents of a run's folder. Each file is read once."""

    folder: Path
    tables: Mapping[str, CsvTable]  # for each measure that has a CSV
    rows: Mapping[str, list[TextRow]]  # for each measure, its rows without those of the claims' controls
    environment: dict[str, Any]  # environment.json
    suite: dict[str, Any]  # suite.json
    fits: list[Fit] = field(default_factory=list)
    crossings: list[Crossing] = field(default_factory=list)
    references: list[Point] = field(default_factory=list)  # what n-grams and LZMA lose on its targets

    def only(self, models: Iterable[str]) -> Run:
        """The run with the rows of these models alone. models: their present names."""
        chosen = set(models)
        rows = {
            measure: [row for row in mine if present_name(row.text("model")) in chosen]
            for measure, mine in self.rows.items()
        }
        return replace(self, rows=rows)

    def cells(self, measure: str) -> list[TextRow]:
        """The first row of each cell of a measure."""
        first: dict[tuple, TextRow] = {}
        for row in self.rows.get(measure, ()):
            first.setdefault(tuple(row.text(name) for name in _CELL), row)
        return list(first.values())

    def groups(self, measure: str) -> dict[Group, list[TextRow]]:
        """The rows of each kind of data and size of models, in the order of the file, sizes of equal state last."""
        found: dict[Group, list[TextRow]] = {}
        for row in self.rows.get(measure, ()):
            found.setdefault(Group(row.text("data"), row.text("size")), []).append(row)
        return dict(sorted(found.items(), key=lambda item: item[0].size in STATES))

    def fit_of(self, series: SeriesKey, quantity: str) -> Fit | None:
        """The fit of a quantity of this series, or None."""
        return next((fit for fit in self.fits if (fit.series, fit.quantity) == (series, quantity)), None)


def read_run(folder: Path) -> Run:
    """The run of a folder, with the fits in its files. Raises what `read_rows` raises."""
    fits, crossings = read_fits(folder)
    return replace(read_rows(folder), fits=fits, crossings=crossings, references=read_references(folder))


def read_rows(folder: Path) -> Run:
    """The run of a folder, without fits.

    Raises JournalError if the folder has no CSV of a measure, or if a file cannot be read.
    """
    home = RunFolder(folder)
    tables = {name: read_table(path) for name in MEASURES if (path := home.csv(name)).exists()}
    if not tables:
        raise JournalError(f"{folder} holds no CSV of {', '.join(MEASURES)}")
    for name, table in tables.items():
        if not table.columns:
            raise JournalError(f"{home.csv(name)} cannot be read: it has no columns")
    return _run_with(home, tables)


def run_of(folder: Path, results: Iterable[Result]) -> Run:
    """The run of these results, without fits. The folder's journal must hold them already."""
    by_measure: dict[str, list[Result]] = {}
    for result in results:
        by_measure.setdefault(result.cell.measure, []).append(result)
    tables = {name: table_of_results(by_measure[name]) for name in MEASURES if name in by_measure}
    return _run_with(RunFolder(folder), tables)


def _run_with(home: RunFolder, tables: Mapping[str, CsvTable]) -> Run:
    rows = {name: [row for row in table.text_rows() if not row.text("control")] for name, table in tables.items()}
    return Run(home.path, tables, rows, home.read_environment() or {}, home.read_suite() or {})


@dataclass(frozen=True)
class Series:
    """The rows of one curve, with short lengths first."""

    key: SeriesKey
    name: str  # the model's name and what distinguishes it from similar series, except the seed
    dash: int  # its index among the names of its model
    rows: list[TextRow]

    @property
    def model(self) -> str:
        """The name of the model, as the rows have it."""
        return self.key.model

    def good(self, column: str) -> list[TextRow]:
        """The rows that are ok and have a number in this column."""
        return [row for row in self.rows if row.ok and row.has(column)]

    @cached_property
    def bad(self) -> list[TextRow]:
        """The rows that are not ok."""
        return [row for row in self.rows if not row.ok]


def series_of(measure: str, rows: Iterable[TextRow], each_length: bool = False) -> list[Series]:
    """The series of these rows, in the order of MODELS.

    each_length: whether each training length is a series of its own instead of a point of a common series.
    """
    rows = list(rows)
    distinguishing = ("size", "dtype", "data" if MEASURES[measure].trains else "batch")
    varying = [name for name in distinguishing if len({row.text(name) for row in rows if row.ok}) > 1]
    chunks = {(row.text("model"), row.whole("chunk")) for row in rows if row.ok}
    in_chunks = len(chunks) > len({model for model, _ in chunks})  # else each model has one way of reading
    groups: dict[tuple[SeriesKey, int], list[TextRow]] = {}
    for row in rows:
        groups.setdefault((row.series(measure), row.length if each_length else 0), []).append(row)
    names: dict[str, list[str]] = {}
    series = []
    for key, length in sorted(groups, key=lambda group: (group[0].order(), group[1])):
        mine = sorted(groups[key, length], key=lambda row: row.length)
        name = key.name + (key.in_chunks if in_chunks else "")
        name = ", ".join([name, *(_WORDS[each](getattr(key, each)) for each in varying)])
        known = names.setdefault(key.model, [])
        if name not in known:
            known.append(name)
        series.append(Series(key, name, known.index(name), mine))
    return series


_WORDS = {"size": size_name, "dtype": str, "data": str, "batch": "batch {}".format}


def caption(run: Run, measures: Iterable[str], notes: Iterable[str] = ()) -> tuple[str, ...]:
    """The parts of a caption: device, versions, settings and commit of these measures, and then the notes."""
    measures = list(dict.fromkeys(measures))
    rows = [row for measure in measures for row in run.rows[measure]]
    first = rows[0]
    facts = {"backend": first.text("platform"), "cpu_model": "a CPU"}
    facts |= {name: first.text(name) for name in ("device_kind", "n_cpus")}
    device = device_name({**facts, "n_devices": first.whole("n_devices"), **run.environment})
    sizes = "/".join(dict.fromkeys(size_name(size) for size in _found(rows, "size")))
    timed = [row for measure in measures if not MEASURES[measure].trains for row in run.rows[measure]]
    batches = _found(timed, "batch")
    made_of = [sizes, "/".join(_found(rows, "dtype")), *([f"batch {batches[0]}"] if len(batches) == 1 else [])]
    commits = ", ".join(_found(rows, "git_sha"))
    modified = " (modified)" if run.environment.get("git_dirty") else ""
    versions = "/".join(_found(rows, "jax_version"))
    pieces = (device, f"jax {versions}", ", ".join(made_of), f"commit {commits}{modified}")
    return (*pieces, *dict.fromkeys(notes))


def _found(rows: Iterable[TextRow], name: str) -> list[str]:
    """The distinct texts of a column, in order of appearance and without blanks."""
    return list(dict.fromkeys(text for row in rows if (text := row.text(name))))
