"""What a run leaves behind: an append-only journal, and CSVs that are rebuilt from it. No jax here.

A record is one line of journal.jsonl, written whole and flushed to the disk before the next cell starts:

    {"cell": {...}, "status": ..., "stage": ..., "message": ..., "rows": [{...}], "environment": {...}, ...}

A measure that gives several points from one cell (quality: one for each context) has several rows; a cell that failed
has none and still becomes a row of its CSV.
"""

from __future__ import annotations

import csv
import fcntl
import io
import json
import math
import os
from pathlib import Path

from bench.cell import IDENTITY
from bench.measures import MEASURES

OUTCOME = ("status", "stage", "message")
FAILED = ("oom", "timeout", "killed", "nan", "incorrect", "error")
STATUSES = ("ok", *FAILED, "skipped", "unsupported")


class JournalError(Exception):
    """The journal cannot be read or taken; the message says where and why."""


class Journal:
    """The journal of one results folder, held for writing by one process at a time."""

    def __init__(self, folder: Path):
        self.path = folder / "journal.jsonl"
        self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._file)
            raise JournalError(f"{folder} is in use by another run") from None
        self.records = read_journal(self.path)
        self._drop_torn_line()

    def append(self, record: dict) -> None:
        """One write, then fsync: after a crash the record is there, or not there."""
        record = {**record, "rows": [{key: _finite(value) for key, value in row.items()} for row in record["rows"]]}
        os.write(self._file, (json.dumps(record, allow_nan=False) + "\n").encode())
        os.fsync(self._file)
        self.records.append(record)

    def close(self) -> None:
        os.close(self._file)

    def _drop_torn_line(self) -> None:
        text = self.path.read_bytes()
        whole = text.rfind(b"\n") + 1
        if whole < len(text):
            os.ftruncate(self._file, whole)


def read_journal(path: Path) -> list[dict]:
    """All whole records. A torn last line (no newline: the writer died) is left out; a bad line elsewhere raises."""
    records = []
    lines = path.read_bytes().split(b"\n") if path.exists() else []
    for number, line in enumerate(lines[:-1], start=1):
        try:
            record = json.loads(line)
            if not isinstance(record, dict) or not {"cell", "status", "rows"} <= record.keys():
                raise ValueError("not a record with cell, status and rows")
        except ValueError as error:
            raise JournalError(f"{path}, line {number}: {error}") from None
        records.append(record)
    return records


def write_csvs(folder: Path, records: list[dict]) -> None:
    """One CSV for each measure that has records, each replaced whole."""
    for name, measure in MEASURES.items():
        mine = [record for record in records if record["cell"]["measure"] == name]
        if not mine:
            continue
        columns = (*IDENTITY[1:], "n_params", *OUTCOME, *measure.columns, *mine[0].get("environment", {}))
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, extrasaction="raise", lineterminator="\n")
        writer.writeheader()
        for record in mine:
            outcome = {key: record.get(key) for key in OUTCOME}
            identity = {key: value for key, value in record["cell"].items() if key != "measure"}
            for row in record["rows"] or [{}]:
                cells = {**identity, **outcome, **row, **record.get("environment", {})}
                writer.writerow({key: _plain(value) for key, value in cells.items()})
        replace_file(folder / f"{name}.csv", text.getvalue())


def replace_file(path: Path, text: str) -> None:
    """Write beside, then rename: readers see the old file or the new one, never half of one."""
    beside = path.with_name(f".{path.name}.new")
    with open(beside, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, path)


def _finite(value):
    """NaN and infinity are not measured values (and no JSON): blank."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _plain(value):
    """Floats to 6 digits; None stays None, a blank: not measured."""
    return f"{value:.6g}" if isinstance(value, float) else value
