"""Records as lines of JSON, rows as lines of CSV: only here does a record become text, and text a record."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np

from lengthscale.bench.plan.cell import IDENTITY
from lengthscale.bench.plan.measures import MEASURES, OPTIONAL
from lengthscale.bench.results.csv_table import CsvTable, table_of
from lengthscale.bench.results.errors import JournalError
from lengthscale.bench.results.record import SCHEMA, Conditions, Record
from lengthscale.bench.results.result import Result

OUTCOME = ("status", "stage", "message")
LONGEST = 64 << 20  # bytes of a record
Kind = TypeVar("Kind")


def line_of(record: Any) -> bytes:
    """A record as a line of a journal, with its newline. NaN and infinity become null."""
    return msgspec.json.encode(record, enc_hook=_plain_number) + b"\n"


def _plain_number(value: Any) -> int | float:
    """The Python number of a numpy scalar."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"a record holds {type(value).__name__}, which is not a number, text or list")


def read_journal(path: Path) -> list[Record]:
    """The records of a run's journal, read as by `read_lines`."""
    return read_lines(path, Record)


def read_lines(path: Path, kind: type[Kind]) -> list[Kind]:
    """All complete records of a journal; none where there is no file.

    An incomplete last line (without a newline: its writer died) is left out. Raises JournalError that names the file,
    the line, and the column or field that is wrong. The file is read line by line, to hold no line in memory twice.
    """
    records = []
    if not path.exists():
        return records
    with open(path, "rb") as file:
        for number, line in enumerate(iter(lambda: file.readline(LONGEST + 1), b""), start=1):
            if len(line) > LONGEST:
                raise JournalError(f"{path}, line {number}, column {LONGEST}: no record is so long")
            if line.endswith(b"\n"):
                records.append(_parsed(path, number, line, kind))
    return records


@cache
def _decoder(kind: type) -> msgspec.json.Decoder:
    return msgspec.json.Decoder(kind)


def _parsed(path: Path, number: int, line: bytes, kind: type[Kind]) -> Kind:
    where = f"{path}, line {number}"
    try:
        record = _decoder(kind).decode(line)
    except msgspec.ValidationError as error:
        raise JournalError(f"{where}, {_field(str(error))}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise JournalError(f"{where}, column {_column(line)}: {error}") from None
    schema = getattr(record, "schema", SCHEMA)
    if schema > SCHEMA:
        raise JournalError(f"{where}: a record of schema {schema}; this program reads schemas up to {SCHEMA}")
    return record


def _field(message: str) -> str:
    """msgspec's message, such as "Expected `int`, got `str` - at `$.rows[0].steps`", with the field first."""
    what, _, path = message.partition(" - at `$.")
    return f"field {path.rstrip('`')}: {what}" if path else f"column 1: {what}"


def _column(line: bytes) -> int:
    """The column, counted from 1, at which a line stops being JSON."""
    try:
        json.loads(line)
    except json.JSONDecodeError as error:
        return error.colno
    except UnicodeDecodeError as error:
        return error.start + 1
    except RecursionError:
        pass
    return 1


def csv_of(results: list[Result]) -> str:
    """The CSV of the results of one measure, as text."""
    return table_of_results(results).text


def table_of_results(results: list[Result]) -> CsvTable:
    """The CSV of the results of one measure: a line for each row, and one for each cell that has no row."""
    measure = results[0].cell.measure
    used = {name for result in results for row in result.rows for name in OPTIONAL if getattr(row, name) is not None}
    own = [column for column in MEASURES[measure].columns if column not in OPTIONAL or column in used]
    columns = (*IDENTITY[1:], "n_params", *OUTCOME, *own, *Conditions.__struct_fields__)
    return table_of(columns, (line for result in results for line in _lines(result)))


def _lines(result: Result) -> Iterable[dict[str, Any]]:
    shared = {name: getattr(result.cell, name) for name in IDENTITY[1:]}
    shared |= {"status": str(result.status), "stage": result.stage, "message": result.message}
    conditions = msgspec.structs.asdict(result.environment) if result.environment else {}
    for row in result.rows or (None,):
        yield {**shared, **(row.columns() if row else {}), **conditions}
