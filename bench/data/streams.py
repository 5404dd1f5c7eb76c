"""Streams of tokens with a train and a held-out part: text, code, or the bytes of any file."""

from __future__ import annotations

import gzip
import hashlib
import os
import stat
import sysconfig
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from lengthscale.bench.data.errors import DataError

EMBEDDED = Path(__file__).parent / "files"
HELD_OUT = 0.1  # the last tenth, by position
MAX_TOKENS = 1 << 30  # of a longer source the first tokens are used, and the stream's note says so
_BLOCK = 1 << 24
_GZIP = b"\x1f\x8b"


@dataclass(frozen=True, eq=False)
class Stream:
    """One long sequence of tokens 0 ... vocab - 1.

    version: a hash of the content; results are compared only where it is equal. note: what a user should know about the
    tokens, or empty. split: (the end of the training part, the start of the held-out part); None: both are where the
    last tenth starts. scored: the positions, in order, of the only targets on which the stream is evaluated; None: any.
    """

    name: str
    tokens: np.ndarray  # (N,) uint8 or uint16, read-only
    vocab: int
    version: str
    note: str = ""
    split: tuple[int, int] | None = None
    scored: np.ndarray | None = None  # (P,)

    def __post_init__(self) -> None:
        self.tokens.flags.writeable = False  # the arrays are shared by all that load them
        if self.scored is not None:
            self.scored.flags.writeable = False

    @property
    def train(self) -> np.ndarray:
        """The tokens to train on."""
        return self.tokens[: self.split[0] if self.split else self._last_tenth]

    @property
    def held_out(self) -> np.ndarray:
        """The tokens to evaluate on."""
        return self.tokens[self._held_out_start :]

    @property
    def held_out_scored(self) -> np.ndarray | None:
        """The positions in the held-out part of the targets that `scored` names."""
        if self.scored is None:
            return None
        first, end = np.searchsorted(self.scored, (self._held_out_start, len(self.tokens)))
        return self.scored[first:end] - self._held_out_start

    @property
    def _held_out_start(self) -> int:
        return self.split[1] if self.split else self._last_tenth

    @property
    def _last_tenth(self) -> int:
        return len(self.tokens) - int(len(self.tokens) * HELD_OUT)


def windows(tokens: np.ndarray, batch: int, length: int) -> np.ndarray:
    """Windows spread evenly over the stream, (batch, length) int32. Raises DataError where it is shorter than one."""
    starts = spread_starts(tokens, batch, length)
    return np.stack([tokens[start : start + length] for start in starts]).astype(np.int32)


def spread_starts(tokens: np.ndarray, batch: int, length: int) -> np.ndarray:
    """The starts of those windows, (batch,). Raises DataError where the stream is shorter than one."""
    return np.linspace(0, _last_start(tokens, length), batch).astype(int)


def random_windows(tokens: np.ndarray, batch: int, length: int, rng: np.random.Generator) -> np.ndarray:
    """Windows from random places in the stream, (batch, length) int32. Raises DataError as `windows`."""
    starts = rng.integers(0, _last_start(tokens, length) + 1, batch)
    return np.stack([tokens[start : start + length] for start in starts]).astype(np.int32)


def _last_start(tokens: np.ndarray, length: int) -> int:
    if length > len(tokens):
        raise DataError(f"a window of {length} tokens does not fit into a stream of {len(tokens)}")
    return len(tokens) - length


def text() -> Stream:
    """Shakespeare's plays, as bytes."""
    return from_bytes("text", str(EMBEDDED / "tinyshakespeare.txt"))


def code() -> Stream:
    """The sources of this Python's standard library without its tests, in the order of their paths.

    The version is the hash of a manifest with each file's path, size and content hash. Raises DataError where this
    Python has no sources.
    """
    root = Path(sysconfig.get_paths()["stdlib"])
    skip = {"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__"}
    manifest, content = hashlib.sha256(), []
    for path in sorted(root.rglob("*.py")):
        inside = path.relative_to(root)
        if skip.isdisjoint(inside.parts):
            with reading(str(path)):
                source = path.read_bytes()
            manifest.update(f"{inside.as_posix()} {len(source)} {hashlib.sha256(source).hexdigest()}\n".encode())
            content.append(source)
    if not content:
        raise DataError(f"data 'code': this Python has no sources of its standard library (in {str(root)!r})")
    return Stream("code", np.frombuffer(b"\n".join(content), np.uint8), 256, manifest.hexdigest()[:12])


def from_bytes(name: str, path: str) -> Stream:
    """The bytes of any file as tokens. The file is mapped and not read, so it may be larger than the memory.

    name: of the stream. Raises DataError where the file cannot be read.
    """
    size = check_file(path)
    with reading(path):
        tokens = np.memmap(expand(path), np.uint8, mode="r", shape=(min(size, MAX_TOKENS),))
    notes = [f"only the first {MAX_TOKENS:,} of its {size:,} bytes are used"] if size > MAX_TOKENS else []
    if tokens[:2].tobytes() == _GZIP:
        notes.append("it is compressed, and its tokens are the compressed bytes")
    return Stream(name, tokens, 256, version(tokens), "; ".join(notes))


def version(*arrays: np.ndarray) -> str:
    """A hash of the arrays' content, 12 hexadecimal digits."""
    digest = hashlib.sha256()
    for flat in (array.reshape(-1) for array in arrays):
        for start in range(0, len(flat), _BLOCK):
            digest.update(flat[start : start + _BLOCK].tobytes())
    return digest.hexdigest()[:12]


def expand(path: str) -> Path:
    """The path with ~ expanded to the home folder."""
    return Path(os.path.expanduser(path))


def check_file(path: str) -> int:
    """The size in bytes of a regular file. Raises DataError where there is none, or it is empty."""
    with reading(path):
        status = expand(path).stat()
    if stat.S_ISDIR(status.st_mode):
        raise DataError(f"data {path!r} is a folder; a file was expected")
    if not stat.S_ISREG(status.st_mode):
        raise DataError(f"data {path!r} is a pipe or a device; a file was expected")
    if status.st_size == 0:
        raise DataError(f"data file {path!r} is empty")
    return status.st_size


def open_unzipped(path: str) -> IO[bytes] | gzip.GzipFile:
    """The file, opened for reading. A gzipped file, whatever its name, is unpacked while it is read."""
    with expand(path).open("rb") as file:
        zipped = file.read(2) == _GZIP
    return gzip.open(expand(path), "rb") if zipped else expand(path).open("rb")


@contextmanager
def reading(path: str) -> Iterator[None]:
    """Turn the errors of reading a file into a DataError that names it."""
    try:
        yield
    except EOFError as error:
        raise DataError(f"data file {path!r} is truncated: its gzip stream ends before its end mark") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"data file {path!r} is corrupt: its gzip stream cannot be unpacked ({error})") from error
    except OSError as error:
        raise DataError(f"data {path!r} cannot be read: {error.strerror or error}") from error
