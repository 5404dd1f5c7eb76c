"""What a run leaves behind: an append-only journal, and CSVs that are rebuilt from it.

A record is one line of journal.jsonl, written whole and flushed to the disk before the next cell starts:

    {"schema": 2, "cell": {...}, "status": ..., "stage": ..., "message": ..., "rows": [{...}], ...}

A measure that gives several points from one cell (quality: one for each context) has several rows; a cell that failed
has none and still becomes a row of its CSV. "samples_ms" are the raw times; "window_losses", where the figures are of
windows of a stream, holds for each row the loss of each window (None: not finite), so that rows can be compared window
by window. A CSV may be some cells behind the journal while a run goes on.
"""

from __future__ import annotations

import csv
import fcntl
import io
import json
import math
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lengthscale.bench.plan.cell import IDENTITY
from lengthscale.bench.plan.measures import MEASURES, OPTIONAL
from lengthscale.bench.results.errors import JournalError

SCHEMA = 2  # of records; 1, which did not say so, had no samples by rounds and no shares of the machine's rates
LOCK = ".lock"
LONGEST = 64 << 20  # bytes of a record
OUTCOME = ("status", "stage", "message")
FAILED = ("oom", "timeout", "killed", "nan", "incorrect", "error")
STATUSES = ("ok", *FAILED, "skipped", "unsupported")


class Journal:
    """The journal of one results folder, for one who holds the folder's lock.

    Raises JournalError where it cannot be read or is of another schema.
    """

    def __init__(self, folder: Path):
        self.path = folder / "journal.jsonl"
        self.records = read_journal(self.path)
        _check_schema(self.path, self.records)
        self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        self._drop_torn_line()

    def append(self, record: dict) -> None:
        """One line, then fsync: after a crash the record is there, or not there. Raises OSError where the disk is full
        or the like, and JournalError where the file is gone; what was written before stays whole.
        """
        rows = [{key: _finite(value) for key, value in row.items()} for row in record["rows"]]
        record = {"schema": SCHEMA, **record, "rows": rows}
        before = os.fstat(self._file)
        if before.st_nlink == 0:
            raise JournalError(f"{self.path} was removed while the run went on")
        line = memoryview((json.dumps(record, allow_nan=False) + "\n").encode())
        try:
            while line:
                line = line[os.write(self._file, line) :]
            os.fsync(self._file)
        except OSError as error:
            with suppress(OSError):
                os.ftruncate(self._file, before.st_size)
            raise OSError(error.errno, error.strerror, str(self.path)) from error
        self.records.append(record)

    def close(self) -> None:
        os.close(self._file)

    def _drop_torn_line(self) -> None:
        text = self.path.read_bytes()
        whole = text.rfind(b"\n") + 1
        if whole < len(text):
            os.ftruncate(self._file, whole)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a results folder. Raises JournalError, with who has it, where another process does.

    The lock is the kernel's, which frees a dead process's; the file that says who has it stays.
    """
    file = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(file, 1000).decode(errors="replace").strip()
            raise JournalError(f"{folder} is in use by another run ({holder or 'it has only just begun'})") from None
        os.ftruncate(file, 0)
        started = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime())
        os.write(file, f"process {os.getpid()} on {socket.gethostname()}, since {started} UTC\n".encode())
        yield
    finally:
        os.close(file)


def _check_schema(path: Path, records: list[dict]) -> None:
    for number, record in enumerate(records, start=1):
        schema = record.get("schema", 1)
        if schema != SCHEMA:
            raise JournalError(
                f"{path}, line {number}: a record of schema {schema}; this program writes {SCHEMA} and does not mix "
                "them. It can be read as it is (plot, compare); to measure, choose another folder"
            )


def read_journal(path: Path) -> list[dict]:
    """All whole records. A torn last line (no newline: the writer died) is left out; a bad one elsewhere raises
    JournalError with its line and column. Read line by line: no line is in memory twice.
    """
    records = []
    if not path.exists():
        return records
    with open(path, "rb") as file:
        for number, line in enumerate(iter(lambda: file.readline(LONGEST + 1), b""), start=1):
            if len(line) > LONGEST:
                raise JournalError(f"{path}, line {number}, column {LONGEST}: no record is so long")
            if line.endswith(b"\n"):
                records.append(_parse(path, number, line))
    return records


def _parse(path: Path, number: int, line: bytes) -> dict:
    try:
        record = json.loads(line)
    except json.JSONDecodeError as error:
        raise JournalError(f"{path}, line {number}, column {error.colno}: {error.msg}") from None
    except (UnicodeDecodeError, RecursionError) as error:
        column = error.start + 1 if isinstance(error, UnicodeDecodeError) else 1
        raise JournalError(f"{path}, line {number}, column {column}: {error}") from None
    missing = {"cell", "status", "rows"} - record.keys() if isinstance(record, dict) else {"cell", "status", "rows"}
    if missing:
        raise JournalError(f"{path}, line {number}, column 1: a record without {', '.join(sorted(missing))}")
    return record


class Tables:
    """The CSVs of a run, each rewritten whole from the journal, but for no more than a share of the run's time."""

    SHARE = 0.02

    def __init__(self, folder: Path):
        self._folder = folder
        self._records: dict[str, list[dict]] = {}
        self._stale: set[str] = set()
        self._next = 0.0

    def start_from(self, records: list[dict]) -> list[Path]:
        """Take over what a resumed run has. A CSV that is no part of what its journal gives (somebody edited it, or
        it is broken) is kept aside: the paths it now has.
        """
        for record in records:
            self._records.setdefault(record["cell"]["measure"], []).append(record)
        aside = []
        for name, mine in self._records.items():
            path, text = self._folder / f"{name}.csv", csv_text(name, mine).encode()
            if path.exists() and not (path.stat().st_size <= len(text) and text.startswith(path.read_bytes())):
                aside.append(keep_aside(path))
        self._stale |= self._records.keys()
        return aside

    def add(self, record: dict) -> None:
        name = record["cell"]["measure"]
        self._records.setdefault(name, []).append(record)
        self._stale.add(name)
        if time.monotonic() >= self._next:
            self.write()

    def write(self) -> None:
        """Bring all CSVs up to date. Raises OSError where that is not possible; the old ones stay whole."""
        started = time.monotonic()
        for name in sorted(self._stale):
            replace_file(self._folder / f"{name}.csv", csv_text(name, self._records[name]))
        self._stale.clear()
        self._next = time.monotonic() + (time.monotonic() - started) / self.SHARE


def csv_text(name: str, records: list[dict]) -> str:
    """The CSV of a measure, of its records alone."""
    held = {key for record in records for row in record["rows"] for key in OPTIONAL if row.get(key) is not None}
    own = [column for column in MEASURES[name].columns if column not in OPTIONAL or column in held]
    columns = (*IDENTITY[1:], "n_params", *OUTCOME, *own, *records[0].get("environment", {}))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, extrasaction="raise", lineterminator="\n")
    writer.writeheader()
    for record in records:
        outcome = {key: record.get(key) for key in OUTCOME}
        identity = {key: value for key, value in record["cell"].items() if key != "measure"}
        for row in record["rows"] or [{}]:
            cells = {**identity, **outcome, **row, **record.get("environment", {})}
            writer.writerow({key: _plain(value) for key, value in cells.items()})
    return text.getvalue()


def keep_aside(path: Path) -> Path:
    """Rename a file or folder to a name that nothing has yet, beside it."""
    number = next(n for n in range(1, 10**6) if not path.with_name(f"{path.name}.aside{n}").exists())
    return path.rename(path.with_name(f"{path.name}.aside{number}"))


def replace_file(path: Path, text: str) -> None:
    """Write beside, then rename: readers see the old file or the new one, never half of one."""
    beside = path.with_name(f".{path.name}.new")
    try:
        with open(beside, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except OSError as error:
        with suppress(OSError):
            beside.unlink()
        raise OSError(error.errno, error.strerror, str(path)) from error


def _finite(value):
    """NaN and infinity are not measured values (and no JSON): blank."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _plain(value):
    """Floats to 6 digits; None stays None, a blank: not measured."""
    return f"{value:.6g}" if isinstance(value, float) else value
