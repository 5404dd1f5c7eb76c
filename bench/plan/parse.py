"""Parsers of options: each turns text into a value, or raises ValueError that says what was expected and given.

The messages do not name the option: `options.parse` puts its name before them. Several lines are several mistakes.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from lengthscale.bench.plan.cell import parse_lengths
from lengthscale.models import MODELS, unknown
from lengthscale.models.names import read_models

LARGEST_SEED = 2**32 - 1  # jax keeps 32 bits of a seed: a larger one would repeat the parameters of a smaller one
MOST_SECONDS = 2_000_000  # poll() takes at most 2^31 milliseconds
_UNITS = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}


def lengths(text: str) -> tuple[int, ...]:
    """Lengths from "256,1k,4k" or "512:64k:x2"."""
    return tuple(parse_lengths(text))


def chunks(text: str) -> tuple[int, ...]:
    """Lengths of chunks from "4k" or "0,4k"; 0 is the whole sequence at once."""
    parts = [part.strip() for part in text.split(",")]
    found = [[0] if part == "0" else parse_lengths(part) for part in parts]
    return tuple(dict.fromkeys(length for each in found for length in each))


def positive_integer(text: str) -> int:
    """A whole number of 1 or more."""
    value = int(text) if _is_whole(text.strip()) else 0
    if value < 1:
        raise ValueError(f"expected a positive whole number, got {text!r}")
    return value


def several(text: str) -> int:
    """A whole number of 2 or more."""
    value = int(text) if _is_whole(text.strip()) else 0
    if value < 2:
        raise ValueError(f"expected a whole number of 2 or more, got {text!r}")
    return value


def positive_number(text: str) -> float:
    """A finite number over 0."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"expected a positive number, got {text!r}")
    return value


def share(text: str) -> float:
    """A number over 0 and below 1."""
    value = positive_number(text)
    if value >= 1:
        raise ValueError(f"expected a share below 1, got {text!r}")
    return value


def seconds(text: str) -> float:
    """Seconds of a deadline, at most MOST_SECONDS: the operating system cannot wait longer."""
    value = positive_number(text)
    if value > MOST_SECONDS:
        raise ValueError(f"expected at most {MOST_SECONDS:,} seconds, got {text!r}")
    return value


def name_or_path(text: str) -> str:
    """A name of data, or a path. Empty text is refused: it comes from a shell variable that was not set."""
    if not text:
        raise ValueError("expected a name or a path, got ''")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"expected a path in UTF-8, as its rows are written, got {text!r}") from None
    return text


def path(text: str) -> Path:
    """A path, with ~ expanded to the home folder: a shell does not expand it in --out=~/runs."""
    return Path(os.path.expanduser(name_or_path(text)))


def paths(text: str) -> list[Path]:
    """Paths with commas. One whose name has commas is one path, if it exists."""
    whole = path(text)
    return [whole] if whole.exists() else [path(part) for part in text.split(",")]


def seeds(text: str) -> tuple[int, ...]:
    """Seeds from "0" or "0,1,2"."""
    parts = [part.strip() for part in text.split(",")]
    if not all(_is_whole(part) and int(part) <= LARGEST_SEED for part in parts):
        raise ValueError(f"expected whole numbers from 0 to {LARGEST_SEED} with commas, such as 0,1,2, got {text!r}")
    return tuple(dict.fromkeys(int(part) for part in parts))


def size_in_bytes(text: str) -> int:
    """Bytes from "6g" or "500m"."""
    match = re.fullmatch(r"(\d{1,20}(?:\.\d+)?)([kmgt]?)(?:i?b)?", text.strip().lower())
    value = int(float(match[1]) * _UNITS[match[2]]) if match else 0
    if value < 1:
        raise ValueError(f"expected a size in bytes, such as 6g or 500m, got {text!r}")
    return value


@dataclass(frozen=True)
class Shard:
    """Part i of the n parts of a sweep."""

    number: int
    of: int

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"


def shard(text: str) -> Shard:
    """A shard from "1/4"."""
    number, _, of = text.partition("/")
    if not (_is_whole(number) and _is_whole(of) and 1 <= int(number) <= int(of)):
        raise ValueError(f"expected i/n with 1 <= i <= n, such as 1/4, got {text!r}")
    return Shard(int(number), int(of))


def one_of(kind: str, known: Collection[str]) -> Callable[[str], str]:
    """The parser of an option whose value is one known name. kind: what the name is of, for messages."""

    def parse(text: str) -> str:
        if text not in known:
            raise ValueError(unknown(kind, text, known))
        return text

    return parse


def some_of(kind: str, known: Collection[str]) -> Callable[[str], tuple[str, ...]]:
    """The parser of an option whose value is known names with commas; a repeated name counts once. kind: as above."""

    def parse(text: str) -> tuple[str, ...]:
        names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
        if not names:
            raise ValueError(f"no {kind} given (known: {', '.join(known)})")
        if mistakes := [unknown(kind, name, known) for name in names if name not in known]:
            raise ValueError("\n".join(mistakes))
        return names

    return parse


def models(text: str) -> tuple[str, ...]:
    """Models with commas; a repeated model counts once. "s4d:rule=bilinear,dt=small,mamba" is two models."""
    names, mistakes = read_models(text)
    if mistakes:
        raise ValueError("\n".join(mistakes))
    if not names:
        raise ValueError(f"no model given (known: {', '.join(MODELS)})")
    return tuple(dict.fromkeys(names))


def _is_whole(text: str) -> bool:
    """Whether the text is a whole number from 0 on. At most 20 digits: int() refuses texts of thousands of digits."""
    return text.isascii() and text.isdigit() and len(text) <= 20
