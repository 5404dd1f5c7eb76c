"""Text as bytes: the embedded Shakespeare, the standard library's sources on this machine, or any file. No jax here."""

from __future__ import annotations

import hashlib
import sysconfig
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import numpy as np

from bench.tasks.errors import DataError

VOCAB = 256
HELD_OUT = 0.1  # the last tenth, by position
KNOWN = ("text", "code")


@dataclass(frozen=True)
class Text:
    """A stream of bytes. `version` is a hash of the content, so that figures are compared only where it is equal."""

    name: str
    tokens: np.ndarray  # uint8
    version: str

    @property
    def train(self) -> np.ndarray:
        return self.tokens[: self._split]

    @property
    def held_out(self) -> np.ndarray:
        return self.tokens[self._split :]

    @property
    def _split(self) -> int:
        return len(self.tokens) - int(len(self.tokens) * HELD_OUT)


def load(name: str) -> Text:
    """`text`, `code` or a file's path. Raises DataError where there is no such data, or it is empty or unreadable."""
    if name == "text":
        return _from_bytes(name, (Path(__file__).parent / "data" / "tinyshakespeare.txt").read_bytes())
    if name == "code":
        return _standard_library()
    path = Path(name).expanduser()
    if not path.is_file():
        close = get_close_matches(name, KNOWN, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise DataError(f"data {name!r} is neither {' nor '.join(map(repr, KNOWN))} nor a file{hint}")
    try:
        if path.stat().st_size == 0:
            raise DataError(f"data file {name!r} is empty")
        tokens = np.memmap(path, np.uint8, mode="r")
    except OSError as error:
        raise DataError(f"data file {name!r} cannot be read: {error.strerror}") from error
    return Text(name, tokens, _version(tokens))


def _from_bytes(name: str, content: bytes) -> Text:
    tokens = np.frombuffer(content, np.uint8)
    return Text(name, tokens, _version(tokens))


def _version(tokens: np.ndarray) -> str:
    digest = hashlib.sha256()
    for start in range(0, len(tokens), 1 << 24):
        digest.update(tokens[start : start + (1 << 24)].tobytes())
    return digest.hexdigest()[:12]


def _standard_library() -> Text:
    """All of this Python's own sources but its tests, in the order of their paths.

    The version is the hash of the manifest: each file's path, size and content hash.
    """
    root = Path(sysconfig.get_paths()["stdlib"])
    skip = {"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__"}
    manifest, content = hashlib.sha256(), []
    for path in sorted(root.rglob("*.py")):
        inside = path.relative_to(root)
        if skip.isdisjoint(inside.parts):
            source = path.read_bytes()
            manifest.update(f"{inside.as_posix()} {len(source)} {hashlib.sha256(source).hexdigest()}\n".encode())
            content.append(source)
    if not content:
        raise DataError(f"data 'code': this Python came without its standard library's sources (in {root})")
    return Text("code", np.frombuffer(b"\n".join(content), np.uint8), manifest.hexdigest()[:12])


def windows(tokens: np.ndarray, batch: int, length: int) -> np.ndarray:
    """(batch, length) windows spread evenly over the stream."""
    last = len(tokens) - length
    starts = np.linspace(0, last, batch).astype(int) if batch > 1 else [0]
    return np.stack([tokens[start : start + length] for start in starts]).astype(np.int32)


def random_windows(tokens: np.ndarray, batch: int, length: int, rng: np.random.Generator) -> np.ndarray:
    """(batch, length) windows from anywhere in the stream."""
    starts = rng.integers(0, len(tokens) - length + 1, batch)
    return np.stack([tokens[start : start + length] for start in starts]).astype(np.int32)
