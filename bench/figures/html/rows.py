"""The rows of a run's CSVs, as the text that they are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from lengthscale.bench.analysis.crossover import table_of_crossings
from lengthscale.bench.analysis.fit import table_of_fits
from lengthscale.bench.figures.html import hover
from lengthscale.bench.figures.run import Run
from lengthscale.bench.plan.cell import IDENTITY, Cell
from lengthscale.bench.results.csv_table import CsvTable

# What is shown of the measurements to begin with, where there is any.
MAIN = (
    *("run", "measure", "model", "size", "method", "length", "batch", "data", "status", "message"),
    *("time_median_ms", "time_low_ms", "time_high_ms", "tokens_per_s", "mem_peak_bytes", "state_bytes"),
    *("context", "eval_length", "loss", "accuracy", "trained", "distance", "grad_norm", "max_difference"),
    *("gemm_share", "compile_s", "n_samples", "flags"),
)


@dataclass
class Table:
    """For the browser to sort and filter."""

    name: str
    title: str
    columns: list[str]
    rows: list[list[str]]
    main: list[str] = field(default_factory=list)  # columns shown to begin with; none: all


@dataclass
class Measurements:
    """All measured rows of one or two folders. `place[run, measure] + i` is the number of a CSV's i-th row."""

    table: Table
    hovers: list[str]  # of each row
    place: dict[tuple[int, str], int]

    def place_in(self, measure: str) -> Callable[[int], int]:
        """A run's number -> where its rows of the measure begin; "": the table itself."""
        return lambda run: self.place[run, measure] if measure else 0

    def first_rows(self, run: int) -> dict[Cell, int]:
        """Where the rows of each of a run's cells begin."""
        columns, first = self.table.columns, {}
        for number, texts in enumerate(self.table.rows):
            row = dict(zip(columns, texts, strict=True))
            if row.get("run", "A") == "AB"[run] and all(row.get(name) for name in IDENTITY):
                numbers = {name: int(row[name]) for name in ("length", "batch", "chunk", "seed")}
                first.setdefault(Cell(**{**{name: row[name] for name in IDENTITY}, **numbers}), number)
        return first


def measurements(runs: list[Run]) -> Measurements:
    """The rows of every measure's CSV, in the measures' order, their columns together; of two runs A's first."""
    parts = [(number, name, table) for number, run in enumerate(runs) for name, table in run.tables.items()]
    own = ("run", "measure") if len(runs) == 2 else ("measure",)
    columns = list(dict.fromkeys(own + tuple(column for _, _, table in parts for column in table.columns)))
    rows, hovers, place = [], [], {}
    for number, measure, table in parts:
        place[number, measure] = len(rows)
        for cells in table.dicts():
            row = {"run": "AB"[number], "measure": measure, **cells}
            rows.append([row.get(column, "") for column in columns])
            hovers.append(hover.text_of(measure, row, run=row["run"] if len(runs) == 2 else ""))
    filled = {column for index, column in enumerate(columns) if any(row[index] for row in rows)}
    main = [column for column in MAIN if column in filled]
    return Measurements(Table("measurements", "Measurements", columns, rows, main), hovers, place)


def others(runs: list[Run]) -> list[Table]:
    """Fits and crossings; of two runs with a first column that tells which."""
    fits = [table_of_fits(run.fits) for run in runs]
    crossings = [table_of_crossings(run.crossings) for run in runs]
    return [_together("fits", "Fits", fits), _together("crossovers", "Crossings", crossings)]


def _together(name: str, title: str, tables: list[CsvTable]) -> Table:
    if len(tables) == 1:
        return Table(name, title, tables[0].columns, tables[0].rows)
    rows = [[letter, *row] for letter, table in zip("AB", tables, strict=True) for row in table.rows]
    return Table(name, title, ["run", *tables[0].columns], rows)
