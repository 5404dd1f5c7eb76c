"""An append-only journal: a record is one line, written whole and flushed to the disk before the next cell starts."""

from __future__ import annotations

import fcntl
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Generic, TypeVar

from lengthscale.bench.results.codec import line_of, read_lines
from lengthscale.bench.results.errors import JournalError
from lengthscale.bench.results.folder import LOCK
from lengthscale.bench.results.record import SCHEMA, Record

Kind = TypeVar("Kind")


class Journal(Generic[Kind]):
    """The journal of one results folder, for the process that holds the folder's lock.

    path: of the file; it is made where there is none. kind: the type of its records. Raises JournalError where it
    cannot be read or is of another schema.
    """

    def __init__(self, path: Path, kind: type[Kind] = Record):
        self.path = path
        self.records: list[Kind] = read_lines(path, kind)
        _check_schema(path, self.records)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        self._drop_torn_line()

    def append(self, record: Kind) -> None:
        """Write a record as one line, then fsync: after a crash the record is there completely, or not at all.

        Raises OSError where it cannot be written (the disk is full, for example), and JournalError where the file has
        been removed. Earlier records stay whole.
        """
        before = os.fstat(self._file)
        if before.st_nlink == 0:
            raise JournalError(f"{self.path} was removed while the run went on")
        line = memoryview(line_of(record))
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
        """Close the file; nothing can be appended afterwards."""
        os.close(self._file)

    def _drop_torn_line(self) -> None:
        text = self.path.read_bytes()
        whole = text.rfind(b"\n") + 1
        if whole < len(text):
            os.ftruncate(self._file, whole)


def _check_schema(path: Path, records: list[Any]) -> None:
    for number, record in enumerate(records, start=1):
        if record.schema != SCHEMA:
            raise JournalError(
                f"{path}, line {number}: a record of schema {record.schema}; this program writes {SCHEMA} and does not "
                "mix them. plot and compare can read it; to measure, choose another folder"
            )


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a results folder. Raises JournalError that names the process which holds it already.

    The kernel frees the lock of a process that has died; the file, which names the last holder, stays.
    """
    file = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(file, 1000).decode(errors="replace").strip()
            raise JournalError(f"{folder} is in use by another run ({holder or 'it has just begun'})") from None
        os.ftruncate(file, 0)
        started = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime())
        os.write(file, f"process {os.getpid()} on {socket.gethostname()}, since {started} UTC\n".encode())
        yield
    finally:
        os.close(file)
