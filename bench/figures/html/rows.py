"""The rows of a run's CSVs as tables of the page. Values stay the text that the CSV holds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from lengthscale.bench.analysis.crossover import table_of_crossings
from lengthscale.bench.analysis.fit import table_of_fits
from lengthscale.bench.figures.html import hover
from lengthscale.bench.figures.run import Run
from lengthscale.bench.plan.cell import IDENTITY, Cell
from lengthscale.bench.results.csv_table import CsvTable

# The columns of the measurements that the page shows at first. A column without any value is left out.
MAIN = (
    *("run", "measure", "model", "size", "method", "length", "batch", "data", "status", "message"),
    *("time_median_ms", "time_low_ms", "time_high_ms", "tokens_per_s", "ttft_ms", "tpot_ms", "new_tokens"),
    *("mem_peak_bytes", "state_bytes", "weights_bytes", "activation_bytes", "operand_bytes", "calls"),
    *("context", "eval_length", "loss", "accuracy", "trained", "distance", "grad_norm", "max_difference"),
    *("mode", "part", "part_ms", "part_share", "gemm_share", "compile_s", "n_samples", "flags"),
    *("longest_tokens", "longest_how", "largest_batch", "largest_batch_how", "batch_tokens_per_s"),
)


@dataclass
class Table:
    """A table that the reader can sort and filter in the browser."""

    name: str
    title: str
    columns: list[str]
    rows: list[list[str]]
    main: list[str] = field(default_factory=list)  # the columns that are shown at first; empty: all


@dataclass
class Measurements:
    """All measured rows of one or two folders, as one table."""

    table: Table
    hovers: list[str]  # for each row, its description (hover.py)
    place: dict[tuple[int, str], int]  # (run, measure) -> the table's row where the rows of that CSV begin

    def place_in(self, measure: str) -> Callable[[int], int]:
        """A function: number of a run -> where its rows of the measure begin. measure: "" is for row 0."""
        return lambda run: self.place[run, measure] if measure else 0

    def first_rows(self, run: int) -> dict[Cell, int]:
        """For each cell of a run, the number of its first row in the table."""
        columns, first = self.table.columns, {}
        for number, texts in enumerate(self.table.rows):
            row = dict(zip(columns, texts, strict=True))
            if row.get("run", "A") == "AB"[run] and all(row.get(name) for name in IDENTITY):
                numbers = {name: int(row[name]) for name in ("length", "batch", "chunk", "seed")}
                first.setdefault(Cell(**{**{name: row[name] for name in IDENTITY}, **numbers}), number)
        return first


def measurements(runs: list[Run]) -> Measurements:
    """The rows of all measures' CSVs in one table, which has the columns of all of them. The rows of A come first."""
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


def fits_and_crossings(runs: list[Run]) -> list[Table]:
    """The tables of fits and crossings. For two runs, their first column `run` is A or B."""
    fits = [table_of_fits(run.fits) for run in runs]
    crossings = [table_of_crossings(run.crossings) for run in runs]
    return [_together("fits", "Fits", fits), _together("crossovers", "Crossings", crossings)]


def _together(name: str, title: str, tables: list[CsvTable]) -> Table:
    if len(tables) == 1:
        return Table(name, title, tables[0].columns, tables[0].rows)
    rows = [[letter, *row] for letter, table in zip("AB", tables, strict=True) for row in table.rows]
    return Table(name, title, ["run", *tables[0].columns], rows)
