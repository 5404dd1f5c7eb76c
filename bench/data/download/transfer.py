"""The download of a file into the cache, with a check of its size and checksum.

    NAME        exists only when it is complete and its checksum is right
    NAME.part   what has been received so far; a later call resumes it
    NAME.bad    a complete file, received in one piece, with a wrong checksum; kept for inspection, and not used
    NAME.lock   held by the process that writes the others

Size and checksum are known beforehand, so the server's headers (Content-Length, ETag) are not needed to decide whether
a file is right; they only show a mistake earlier. That is why resuming needs no If-Range. A file that was put together
from several answers and has the wrong checksum is deleted and fetched again in one piece.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from lengthscale.bench.data.errors import DataError

BLOCK = 1 << 18
TEMPORARY = (408, 425, 429, 500, 502, 503, 504)  # HTTP's errors after which another attempt may succeed


@dataclass(frozen=True)
class Source:
    """A file on the net: its address, size and checksum."""

    name: str
    url: str
    size: int  # bytes
    checksum: str  # "sha256:..." or "md5:...", in hexadecimal

    @property
    def file(self) -> str:
        """The file's name in the cache."""
        return self.url.rpartition("/")[2]


@dataclass(frozen=True)
class Patience:
    """How long to wait, and how often to try again."""

    timeout_s: float = 30.0  # without a connection, or without a byte
    attempts: int = 6
    backoff_s: float = 1.0  # before the second attempt; twice as long before each further one


PATIENCE = Patience()


class _TemporaryError(Exception):
    """An attempt failed, but another one may succeed."""


def default_cache() -> Path:
    """The folder $LENGTHSCALE_CACHE, or ~/.cache/lengthscale where that is not set."""
    return Path(os.environ.get("LENGTHSCALE_CACHE") or "~/.cache/lengthscale").expanduser()


def fetch_source(source: Source, cache_dir: Path | None, console: Console | None, patience: Patience) -> Path:
    """The path of the verified file of a source; arguments and errors as of `download.fetch`."""
    console = console or Console(stderr=True)
    final = (cache_dir or default_cache()) / source.file
    if _is_there(source, final):
        return final
    with locked(final, console):
        if not _is_there(source, final):  # else the process that held the lock has fetched it
            _download(source, final, console, patience)
    return final


@contextmanager
def locked(path: Path, console: Console) -> Iterator[None]:
    """Hold the lock of `path`, so that one process at a time makes it and the others wait. Makes its folder.

    Raises DataError where the folder cannot be written.
    """
    lock = path.with_name(path.name + ".lock")
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        file = open(lock, "wb")  # noqa: SIM115  (closed below)
    except OSError as error:
        raise DataError(f"the cache {lock.parent} cannot be written: {error.strerror}") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            console.print(f"another process is making {path}; waiting for it", markup=False)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _is_there(source: Source, final: Path) -> bool:
    if not final.exists():
        return False
    size = final.stat().st_size
    if size != source.size:  # it was not written by this program
        raise DataError(f"{final} has {size:,} bytes, expected {source.size:,}: remove it to fetch {source.name} again")
    return True


def _download(source: Source, final: Path, console: Console, patience: Patience) -> None:
    part = final.with_name(final.name + ".part")
    if _size(part) > source.size:
        part.unlink()
    missing, free = source.size - _size(part), shutil.disk_usage(final.parent).free
    if missing > free:
        raise DataError(f"{source.name} needs {missing:,} more bytes in {final.parent}, {free:,} are free")
    label = TextColumn("{task.description}", markup=False)
    columns = (label, BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task(source.file, total=source.size, completed=_size(part))
        for attempt in range(1, patience.attempts + 1):
            try:
                start = _receive(source, part, patience.timeout_s, lambda size: progress.update(bar, completed=size))
                _verify(source, part, in_one_piece=start == 0)
                break
            except _TemporaryError as error:
                if attempt == patience.attempts:
                    raise DataError(
                        f"{source.name}: {source.url} failed {attempt} times, the last time because {error}; "
                        f"{_size(part):,} of {source.size:,} bytes are in {part}, where the next call continues"
                    ) from error
                progress.console.print(f"{source.file}: {error}; trying again", markup=False)
                time.sleep(patience.backoff_s * 2 ** (attempt - 1))
    os.replace(part, final)


def _receive(source: Source, part: Path, timeout_s: float, on_progress: Callable[[int], None]) -> int | None:
    """Complete the part. Returns the byte at which the answer started, or None where nothing was missing.

    on_progress: called with the number of bytes that the part has.
    """
    start = _size(part)
    if start == source.size:
        return None
    with _ask(source, part, start, timeout_s) as response:
        start = _check_answer(source, part, start, response)
        with _writing(part), open(part, "ab" if start else "wb", buffering=0) as file:
            size = start
            while size < source.size:
                on_progress(size)
                block = _read(response, source.size - size, timeout_s)
                if not block:
                    raise _TemporaryError(f"the connection was closed after {size:,} of {source.size:,} bytes")
                size += len(block)
                while block:
                    block = block[file.write(block) :]
            on_progress(size)
            os.fsync(file)  # it must be on the disk before it gets its final name
        if response.length is None and _read(response, 1, timeout_s):  # the server gave no length to check
            part.unlink()
            raise DataError(f"{source.name}: {source.url} sends more than the {source.size:,} bytes expected")
    return start


@contextmanager
def _writing(part: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:  # of writing: errors of reading are _TemporaryError
        raise DataError(f"{part} cannot be written: {error.strerror}; it has {_size(part):,} bytes") from error


def _ask(source: Source, part: Path, start: int, timeout_s: float) -> HTTPResponse:
    headers = {"User-Agent": "lengthscale", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    try:
        return urlopen(Request(source.url, headers=headers), timeout=timeout_s)
    except HTTPError as error:
        error.close()
        answer = f"the server answers {error.code} {error.reason}"
        if start and error.code == 416:  # its file is shorter than our part
            part.unlink()
            raise _TemporaryError(f"{answer} to a request from byte {start:,} on") from error
        if error.code in TEMPORARY:
            raise _TemporaryError(answer) from error
        raise DataError(f"{source.name}: {source.url}: {answer}") from error
    except (OSError, HTTPException) as error:
        if isinstance(getattr(error, "reason", None), ssl.SSLCertVerificationError):
            raise DataError(f"{source.name}: {source.url} cannot be trusted: {_why(error, timeout_s)}") from error
        raise _TemporaryError(_why(error, timeout_s)) from error
    except ValueError as error:
        raise DataError(f"{source.name}: {source.url!r} is not an address: {error}") from error


def _check_answer(source: Source, part: Path, start: int, response: HTTPResponse) -> int:
    """The byte of the file at which the answer starts: 0 where the server ignores the range."""
    if response.status == 206:
        content_range = response.headers.get("Content-Range", "")
        given = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", content_range)
        if not given or int(given[1]) != start:
            part.unlink(missing_ok=True)
            raise _TemporaryError(f"the server was asked for bytes from {start:,} on and gave {content_range!r}")
        total = int(given[2]) if given[2] != "*" else None
    else:
        start, total = 0, response.length  # None where the server gives no length
    if total is not None and total != source.size:
        raise DataError(f"{source.name}: {source.url} has {total:,} bytes, expected {source.size:,}: another file")
    return start


def _read(response: HTTPResponse, most: int, timeout_s: float) -> bytes:
    try:
        return response.read1(min(BLOCK, most))
    except (OSError, HTTPException) as error:
        raise _TemporaryError(_why(error, timeout_s)) from error


def _verify(source: Source, part: Path, in_one_piece: bool) -> None:
    algorithm, _, expected = source.checksum.partition(":")
    with open(part, "rb") as file:
        found = hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest()
    if found == expected:
        return
    wrong = f"the {algorithm} of the received file is {found}, expected {expected}"
    if not in_one_piece:
        part.unlink()
        raise _TemporaryError(f"{wrong} (it was put together from several pieces)")
    bad = part.with_suffix(".bad")
    os.replace(part, bad)
    raise DataError(f"{source.name}: {source.url}: {wrong}; kept as {bad}")


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _why(error: Exception, timeout_s: float) -> str:
    reason = getattr(error, "reason", error)  # urllib wraps the socket's error
    if isinstance(reason, TimeoutError):
        return f"nothing was received for {timeout_s:g} s"
    return f"{type(reason).__name__}: {reason}" if isinstance(reason, Exception) else str(reason)
