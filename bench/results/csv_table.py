"""The text of a CSV table, made from values or read from a file."""

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
    """A row of a CSV, as text. A blank is "" as a text and nan as a number."""

    number_in_file: int  # from 0
    cells: Mapping[str, str]

    def text(self, name: str) -> str:
        """The text of a column; "" if it is blank or there is no such column."""
        return self.cells.get(name) or ""

    def has(self, name: str) -> bool:
        """Whether the column has a number in this row."""
        return not math.isnan(self.number(name))

    def number(self, name: str) -> float:
        """The number in a column; nan if it is blank. Raises JournalError if the text is not a number."""
        text = self.text(name)
        try:
            return float(text) if text else math.nan
        except ValueError:
            raise JournalError(f"a CSV's {name} must be a number, got {text!r}") from None

    def whole(self, name: str) -> int:
        """The number in a column as an int; 0 if it is blank."""
        return int(self.number(name)) if self.has(name) else 0

    def known(self, name: str) -> float | None:
        """The number in a column; None if it is blank."""
        return self.number(name) if self.has(name) else None

    def estimate(self, name: str) -> Estimate | None:
        """The number in a column with its interval from the columns NAME_low and NAME_high; None if it is blank."""
        value, low, high = (self.known(column) for column in (name, f"{name}_low", f"{name}_high"))
        return None if value is None else Estimate(value, low, high)

    def series(self, measure: str) -> SeriesKey:
        """The series that this row of a measure, or of fits.csv, belongs to. Parts without a column are ""."""
        model, size, method, dtype, data = map(self.text, ("model", "size", "method", "dtype", "data"))
        batch = 0 if measure in MEASURES and MEASURES[measure].trains else self.whole("batch")
        return SeriesKey(measure, model, size, method, batch, dtype, data, self.whole("seed"), self.whole("chunk"))

    @property
    def ok(self) -> bool:
        """Whether the status of the row is ok."""
        return self.text("status") == "ok"

    @property
    def length(self) -> int:
        """The sequence length in tokens; 0 if it is blank."""
        return self.whole("length")


@dataclass(frozen=True)
class CsvTable:
    """The columns and the rows of a CSV. Each row has a text for each column."""

    columns: list[str] = field(default_factory=list)
    rows: list[list[str]] = field(default_factory=list)

    def dicts(self) -> list[dict[str, str]]:
        """For each row, a dictionary column -> text."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]

    def text_rows(self) -> list[TextRow]:
        """The rows as TextRows, numbered from 0."""
        return [TextRow(number, cells) for number, cells in enumerate(self.dicts())]

    @property
    def text(self) -> str:
        """The text of the CSV file, with its header."""
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([self.columns, *self.rows])
        return text.getvalue()


def table_of(columns: Iterable[str], rows: Iterable[Mapping[str, Any]], digits: int = 6) -> CsvTable:
    """The table of these values. A missing value or None, which means "not measured", becomes a blank.

    digits: significant digits of a float. Raises ValueError if a row has a column that is not listed.
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
    """A value as a CSV shows it: a finite float becomes a text with so many significant digits."""
    return f"{value:.{digits}g}" if isinstance(value, float) and math.isfinite(value) else value


def read_table(path: Path) -> CsvTable:
    """The table of a CSV file. An empty file gives a table without columns.

    A row that is too short or too long, which no program here writes, is padded or cut.
    """
    with open(path, newline="") as file:
        columns, *rows = [row for row in csv.reader(file) if row] or [[]]
    return CsvTable(columns, [(row + [""] * len(columns))[: len(columns)] for row in rows])
