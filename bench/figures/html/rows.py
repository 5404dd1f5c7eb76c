"""The rows of a folder's CSVs, as the text that they are."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from lengthscale.bench.figures.html import hover
from lengthscale.bench.plan.cell import IDENTITY, Cell
from lengthscale.bench.plan.measures import MEASURES

NO_ROW = -1
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

    def first_rows(self, run: int) -> dict[Cell, int]:
        """Where the rows of each of a run's cells begin."""
        columns, first = self.table.columns, {}
        for number, texts in enumerate(self.table.rows):
            row = dict(zip(columns, texts, strict=True))
            if row.get("run", "A") == "AB"[run] and all(row.get(name) for name in IDENTITY):
                numbers = {name: int(row[name]) for name in ("length", "batch", "chunk", "seed")}
                first.setdefault(Cell(**{**{name: row[name] for name in IDENTITY}, **numbers}), number)
        return first


def measurements(folders: list[Path]) -> Measurements:
    """The rows of every measure's CSV, in the measures' order, their columns together; of two folders A's first."""
    parts = [(number, *part) for number, folder in enumerate(folders) for part in _measured(folder)]
    own = ("run", "measure") if len(folders) == 2 else ("measure",)
    columns = list(dict.fromkeys(own + tuple(column for _, _, its, _ in parts for column in its)))
    rows, hovers, place = [], [], {}
    for number, measure, its, mine in parts:
        place[number, measure] = len(rows)
        for texts in mine:
            row = {"run": "AB"[number], "measure": measure, **dict(zip(its, texts, strict=True))}
            rows.append([row.get(column, "") for column in columns])
            hovers.append(hover.text_of(measure, row, run=row["run"] if len(folders) == 2 else ""))
    filled = {column for index, column in enumerate(columns) if any(row[index] for row in rows)}
    main = [column for column in MAIN if column in filled]
    return Measurements(Table("measurements", "Measurements", columns, rows, main), hovers, place)


def others(folders: list[Path]) -> list[Table]:
    """Fits and crossings; of two folders with a first column that tells which."""
    tables = []
    for name, title in (("fits", "Fits"), ("crossovers", "Crossings")):
        parts = [(number, *_read(folder / f"{name}.csv")) for number, folder in enumerate(folders)]
        columns = list(dict.fromkeys(column for _, its, _ in parts for column in its))
        both = len(folders) == 2
        rows = [
            [*("AB"[number] for _ in range(both)), *_in_order(columns, its, texts)]
            for number, its, mine in parts
            for texts in mine
        ]
        tables.append(Table(name, title, [*("run" for _ in range(both)), *columns], rows))
    return tables


def _measured(folder: Path) -> Iterable[tuple[str, list[str], list[list[str]]]]:
    for measure in MEASURES:
        if (path := folder / f"{measure}.csv").exists():
            columns, rows = _read(path)
            yield measure, columns, rows


def _read(path: Path) -> tuple[list[str], list[list[str]]]:
    """(columns, rows). A row that is cut short or too long, which no program here writes, is made to fit."""
    with open(path, newline="") as file:
        columns, *rows = [row for row in csv.reader(file) if row] or [[]]
    return columns, [(row + [""] * len(columns))[: len(columns)] for row in rows]


def _in_order(columns: list[str], its: list[str], texts: list[str]) -> list[str]:
    row = dict(zip(its, texts, strict=True))
    return [row.get(column, "") for column in columns]
