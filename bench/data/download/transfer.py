"""From an address to a verified file in the cache.

    NAME        there only when it is whole and its checksum is right
    NAME.part   what has come so far; a later call resumes it
    NAME.bad    came whole, in one piece and wrong; kept to look at, and used by nothing
    NAME.lock   held by the process that writes the others

Size and checksum are known beforehand, so the server's word (Content-Length, ETag) is not needed to tell whether a file
is right: it only tells sooner that it will not be. That is why a resume needs no If-Range. If what was put together
from several answers has the wrong checksum, it is thrown away and fetched once more in one piece.
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
PASSING = (408, 425, 429, 500, 502, 503, 504)  # HTTP's errors that may be gone the next time


@dataclass(frozen=True)
class Source:
    """A file on the net, and how to know it."""

    name: str
    url: str
    size: int  # bytes
    checksum: str  # "sha256:..." or "md5:...", in hexadecimal

    @property
    def file(self) -> str:
        """Its name in the cache."""
        return self.url.rpartition("/")[2]


@dataclass(frozen=True)
class Patience:
    """How long to wait, and how often to try again."""

    timeout_s: float = 30.0  # without a connection, or without a byte
    attempts: int = 6
    backoff_s: float = 1.0  # before the second attempt; twice as long before each further one


PATIENCE = Patience()


class _PassingError(Exception):
    """An attempt failed in a way that the next one may not."""


def default_cache() -> Path:
    """$LENGTHSCALE_CACHE, or ~/.cache/lengthscale."""
    return Path(os.environ.get("LENGTHSCALE_CACHE") or "~/.cache/lengthscale").expanduser()


def fetch_source(source: Source, cache_dir: Path | None, console: Console | None, patience: Patience) -> Path:
    """See `fetch`."""
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
    """Its folder made, and the lock beside it held: one process at a time makes `path`, the others wait."""
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
    if size != source.size:  # nothing here puts such a file there
        raise DataError(f"{final} has {size:,} bytes, expected {source.size:,}: remove it to fetch {source.name} anew")
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
            except _PassingError as error:
                if attempt == patience.attempts:
                    raise DataError(
                        f"{source.name}: {source.url} failed {attempt} times, at last because {error}; "
                        f"{_size(part):,} of {source.size:,} bytes are in {part}, from where the next call goes on"
                    ) from error
                progress.console.print(f"{source.file}: {error}; trying again", markup=False)
                time.sleep(patience.backoff_s * 2 ** (attempt - 1))
    os.replace(part, final)


def _receive(source: Source, part: Path, timeout_s: float, report: Callable[[int], None]) -> int | None:
    """Completes the part; from where on one answer held all that came, or None where nothing was missing."""
    start = _size(part)
    if start == source.size:
        return None
    with _ask(source, part, start, timeout_s) as response:
        start = _check_answer(source, part, start, response)
        with _writing(part), open(part, "ab" if start else "wb", buffering=0) as file:
            size = start
            while size < source.size:
                report(size)
                block = _read(response, source.size - size, timeout_s)
                if not block:
                    raise _PassingError(f"the connection was closed after {size:,} of {source.size:,} bytes")
                size += len(block)
                while block:
                    block = block[file.write(block) :]
            report(size)
            os.fsync(file)  # on the disk before it gets its final name
        if response.length is None and _read(response, 1, timeout_s):  # its length was not checked
            part.unlink()
            raise DataError(f"{source.name}: {source.url} sends more than the {source.size:,} bytes expected")
    return start


@contextmanager
def _writing(part: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:  # what reading raises is a _PassingError
        raise DataError(f"{part} cannot be written: {error.strerror}; it has {_size(part):,} bytes") from error


def _ask(source: Source, part: Path, start: int, timeout_s: float) -> HTTPResponse:
    headers = {"User-Agent": "lengthscale", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    try:
        return urlopen(Request(source.url, headers=headers), timeout=timeout_s)
    except HTTPError as error:
        error.close()
        said = f"the server says {error.code} {error.reason}"
        if start and error.code == 416:  # it holds less than we do
            part.unlink()
            raise _PassingError(f"{said} to going on at byte {start:,}") from error
        if error.code in PASSING:
            raise _PassingError(said) from error
        raise DataError(f"{source.name}: {source.url}: {said}") from error
    except (OSError, HTTPException) as error:
        if isinstance(getattr(error, "reason", None), ssl.SSLCertVerificationError):
            raise DataError(f"{source.name}: {source.url} is not to be trusted: {_why(error, timeout_s)}") from error
        raise _PassingError(_why(error, timeout_s)) from error
    except ValueError as error:
        raise DataError(f"{source.name}: {source.url!r} is no address: {error}") from error


def _check_answer(source: Source, part: Path, start: int, response: HTTPResponse) -> int:
    """From where on the answer holds the file: 0 where the server ignores what was asked for."""
    if response.status == 206:
        said = response.headers.get("Content-Range", "")
        given = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", said)
        if not given or int(given[1]) != start:
            part.unlink(missing_ok=True)
            raise _PassingError(f"the server was asked for bytes from {start:,} on and gave {said!r}")
        total = int(given[2]) if given[2] != "*" else None
    else:
        start, total = 0, response.length  # None where the server does not say
    if total is not None and total != source.size:
        raise DataError(f"{source.name}: {source.url} has {total:,} bytes, expected {source.size:,}: another file")
    return start


def _read(response: HTTPResponse, most: int, timeout_s: float) -> bytes:
    try:
        return response.read1(min(BLOCK, most))
    except (OSError, HTTPException) as error:
        raise _PassingError(_why(error, timeout_s)) from error


def _verify(source: Source, part: Path, in_one_piece: bool) -> None:
    algorithm, _, expected = source.checksum.partition(":")
    with open(part, "rb") as file:
        found = hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest()
    if found == expected:
        return
    wrong = f"the {algorithm} of what came is {found}, expected {expected}"
    if not in_one_piece:
        part.unlink()
        raise _PassingError(f"{wrong} (put together from several pieces, so once more from the start)")
    bad = part.with_suffix(".bad")
    os.replace(part, bad)
    raise DataError(f"{source.name}: {source.url}: {wrong}; kept as {bad}")


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _why(error: Exception, timeout_s: float) -> str:
    reason = getattr(error, "reason", error)  # urllib wraps what the socket says
    if isinstance(reason, TimeoutError):
        return f"nothing came for {timeout_s:g} s"
    return f"{type(reason).__name__}: {reason}" if isinstance(reason, Exception) else str(reason)
