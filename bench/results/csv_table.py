"""A table as the text of its CSV: made of values, or read from a file; whoever needs one of both is given it."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lengthscale.bench.plan.measures import MEASURES
from lengthscale.bench.plan.series import SeriesKey
from lengthscale.bench.results.errors import JournalError
from lengthscale.bench.results.estimate import Estimate


@dataclass(frozen=True)
class TextRow:
    """A row of a CSV. What is blank is "" as text and nan as a number."""

    number_in_file: int  # from 0
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
        return int(self.number(name)) if self.has(name) else 0

    def known(self, name: str) -> float | None:
        """The number; None where it is blank."""
        return self.number(name) if self.has(name) else None

    def estimate(self, name: str) -> Estimate | None:
        """The number with its interval, which the columns NAME_low and NAME_high have; None where it is blank."""
        value, low, high = (self.known(column) for column in (name, f"{name}_low", f"{name}_high"))
        return None if value is None else Estimate(value, low, high)

    def series(self, measure: str) -> SeriesKey:
        """The series of a measure that it is a row of; of fits.csv too. What has no column is ""."""
        model, size, method, dtype, data = map(self.text, ("model", "size", "method", "dtype", "data"))
        batch = 0 if measure in MEASURES and MEASURES[measure].trains else self.whole("batch")
        return SeriesKey(measure, model, size, method, batch, dtype, data, self.whole("seed"))

    @property
    def ok(self) -> bool:
        return self.text("status") == "ok"

    @property
    def length(self) -> int:
        return self.whole("length")


@dataclass(frozen=True)
class CsvTable:
    """The columns of a CSV, and its rows, each as long as those."""

    columns: list[str] = field(default_factory=list)
    rows: list[list[str]] = field(default_factory=list)

    def dicts(self) -> list[dict[str, str]]:
        """Of each row, column -> text."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]

    def text_rows(self) -> list[TextRow]:
        return [TextRow(number, cells) for number, cells in enumerate(self.dicts())]

    @property
    def text(self) -> str:
        """The file, with its header."""
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([self.columns, *self.rows])
        return text.getvalue()


def table_of(columns: Iterable[str], rows: Iterable[Mapping[str, Any]], digits: int = 6) -> CsvTable:
    """The table of values. Floats have so many digits; None is a blank: "not measured". Raises ValueError for a column
    that is not listed.
    """
    columns = list(columns)
    lines = []
    for row in rows:
        if unknown := row.keys() - set(columns):
            raise ValueError(f"the table has no column {', '.join(sorted(unknown))}")
        lines.append([_text(row.get(column), digits) for column in columns])
    return CsvTable(columns, lines)


def _text(value: Any, digits: int) -> str:
    return "" if value is None else str(plain(value, digits))


def plain(value: Any, digits: int = 6) -> Any:
    """A value as it stands in a CSV."""
    return f"{value:.{digits}g}" if isinstance(value, float) and math.isfinite(value) else value


def read_table(path: Path) -> CsvTable:
    """The table of a file, without columns where it is empty. A row that is cut short or too long, which no program
    here writes, is made to fit.
    """
    with open(path, newline="") as file:
        columns, *rows = [row for row in csv.reader(file) if row] or [[]]
    return CsvTable(columns, [(row + [""] * len(columns))[: len(columns)] for row in rows])
