"""What a checkpoint's table is made of."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lengthscale.models import Interface


class CheckpointError(ValueError):
    """What is wrong with which checkpoint, and what was expected."""


@dataclass(frozen=True)
class Config:
    """A config.json, read with errors that name the key."""

    values: Mapping[str, Any]
    where: str = "config"

    def get(self, key: str, default=None):
        """None where the key is missing or null and there is no default."""
        value = self.values.get(key)
        return default if value is None else value

    def size(self, key: str, default: int | None = None) -> int:
        value = self.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise CheckpointError(f"{self.where}: {key!r} must be a positive whole number, got {value!r}")
        return value

    def number(self, key: str, default: float) -> float:
        value = self.get(key, default)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise CheckpointError(f"{self.where}: {key!r} must be a number, got {value!r}")
        return float(value)

    def only(self, key: str, *supported) -> None:
        """Refuse an option that our model does not have; the first of `supported` is what a missing key means."""
        value = self.get(key, supported[0])
        if value not in supported:
            known = " or ".join(map(repr, supported))
            raise CheckpointError(f"{self.where}: {key!r} is {value!r}; only {known} is supported")


@dataclass(frozen=True)
class Entry:
    """One of our parameters: `convert` of each of their tensors, side by side along the last axis."""

    ours: str
    theirs: dict[str, tuple[int, ...]]  # tensor -> the shape that is expected
    convert: Callable[[Any], Any] = lambda array: array


Entries = Iterator[Entry]


@dataclass(frozen=True)
class Architecture:
    """model: the key of MODELS of which a checkpoint is another size. prefix: of the tensors that are not the head's.

    renamed: older names of tensors, as regular expressions. unused: tensors that are left where they are.
    """

    model: Callable[[Config], str]
    make: Callable[[Config], Callable]  # -> the model as a function of interface, method and rngs
    outside: Callable[[Config], Entries]  # of the blocks
    block: Callable[[Config, int], Entries]
    n_blocks: Callable[[Config], int]
    interface: Callable[[Config], Interface]
    prefix: str
    heads: tuple[str, ...]
    longest: Callable[[Config], int | None] = lambda config: None  # sequence; None: any
    only_length: Callable[[Config], int | None] = lambda config: None  # the one there is; None: any
    renamed: tuple[tuple[str, str], ...] = ()
    unused: str = r"(?!)"


def vector(ours: str, theirs: str, width: int) -> Entry:
    """The entry of a parameter that is stored as it is, (width,)."""
    return Entry(ours, {theirs: (width,)})


def norm(ours: str, theirs: str, width: int, *, bias: bool = True) -> Entries:
    """The entries of a norm; ours, theirs: the prefixes of its parameters."""
    yield vector(f"{ours}.scale", f"{theirs}.weight", width)
    if bias:
        yield vector(f"{ours}.bias", f"{theirs}.bias", width)


def linear(ours: str, theirs: Mapping[str, int], inputs: int, *, bias: bool = True) -> Entries:
    """torch's (outputs, inputs) of one or more, with their numbers of outputs, under one (inputs, outputs) of ours."""
    shapes = {f"{name}.weight": (outputs, inputs) for name, outputs in theirs.items()}
    yield Entry(f"{ours}.kernel", shapes, lambda array: array.T)
    if bias:
        yield Entry(f"{ours}.bias", {f"{name}.bias": (outputs,) for name, outputs in theirs.items()})


def untied_head(config: Config, theirs: str, width: int, *, default: bool) -> Entries:
    """The head, where it is not the embedding; default: of tie_word_embeddings."""
    if not tied(config, default=default):
        yield from linear("head", {theirs: config.size("vocab_size")}, width, bias=False)


def tied(config: Config, *, default: bool) -> bool:
    """Whether the head is the embedding, transposed."""
    return bool(config.get("tie_word_embeddings", default))
