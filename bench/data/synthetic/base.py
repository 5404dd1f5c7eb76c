"""What a synthetic task is: a family of labelled sequences of any length, drawn from a seeded generator."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import Field, asdict, dataclass, field, fields
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float, Int

from lengthscale.bench.data.errors import DataError
from lengthscale.models import Interface

PARTS = ("train", "held_out")
MOST_TOKENS = 2**31 - 1  # what int32 holds


@dataclass(frozen=True, eq=False)
class Batch:
    """Labelled sequences. A position with weight 0 is not scored; its target is 0 and says nothing.

    A loss is sum(weights * loss) / sum(weights), over cross-entropies of classes or squared errors of numbers.
    """

    inputs: Int[np.ndarray, "B T"] | Float[np.ndarray, "B T F"]  # int32 tokens or float32 features
    targets: Int[np.ndarray, "B T"] | Float[np.ndarray, "B T"]  # int32 classes or float32 numbers
    weights: Float[np.ndarray, "B T"]  # float32: 1 where a position is scored, 0 elsewhere


def generator(seed: int, part: str = "train") -> np.random.Generator:
    """The stream of random numbers that a part of a task's data is drawn from, batch after batch, without an end.

    The parts are children of one SeedSequence with different spawn keys: numpy's own way to streams that are
    independent for equal and for neighbouring seeds. Raises DataError for another part or a negative seed.
    """
    if part not in PARTS:
        raise DataError(f"part must be one of {', '.join(PARTS)}, got {part!r}")
    if seed < 0:
        raise DataError(f"seed must be at least 0, got {seed}")
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(PARTS.index(part),)))


def number(default: int | float, *, low: float, high: float = MOST_TOKENS) -> Any:
    """A parameter between low and high, both allowed; whole where its default is."""
    return field(default=default, metadata={"low": low, "high": high})


def choice(default: str, *others: str) -> Any:
    """A parameter that is one of a few words."""
    return field(default=default, metadata={"choices": (default, *others)})


@dataclass(frozen=True)
class Task:
    """A task with its difficulty, which is its fields; `str(task)` is the text that `parse_task` reads.

    Raises DataError on parameters it cannot have, a line for each.
    """

    name: ClassVar[str]
    about: ClassVar[str]
    regression: ClassVar[bool] = False  # numbers and squared errors instead of classes and cross-entropies

    def __post_init__(self):
        mistakes = [mistake for each in fields(self) for mistake in _check(self.name, each, getattr(self, each.name))]
        mistakes = mistakes or list(self._conflicts())
        if mistakes:
            raise DataError("\n".join(mistakes))

    def __str__(self) -> str:
        changed = [f"{each.name}={getattr(self, each.name)}" for each in fields(self) if self._is_changed(each)]
        return f"{self.name}:{','.join(changed)}" if changed else self.name

    @property
    def parameters(self) -> dict[str, int | float | str]:
        """The difficulty, by name."""
        return asdict(self)

    @property
    def interface(self) -> Interface:
        """What a model of this task takes and gives."""
        raise NotImplementedError

    @property
    def min_length(self) -> int:
        """The shortest sequence that holds the task."""
        raise NotImplementedError

    def batch(self, rng: np.random.Generator, batch: int, length: int) -> Batch:
        """`batch` new sequences of `length` steps; advances rng.

        Raises DataError where the length cannot hold the task, or there is nothing to draw.
        """
        self._check_length(length)
        if batch < 1:
            raise DataError(f"batch must be at least 1, got {batch}")
        return self._draw(rng, batch, length)

    def chance_loss(self, length: int) -> float:
        """The loss of the best model that knows where in the sequence it is, but remembers no input."""
        self._check_length(length)
        return self._chance(length)[0]

    def chance_accuracy(self, length: int) -> float | None:
        """The accuracy of that model; None for a regression."""
        self._check_length(length)
        return self._chance(length)[1]

    def _check_length(self, length: int) -> None:
        if length < self.min_length:
            raise DataError(f"{self} needs a length of at least {self.min_length}, got {length}")

    def _draw(self, rng: np.random.Generator, batch: int, length: int) -> Batch:
        raise NotImplementedError

    def _chance(self, length: int) -> tuple[float, float | None]:
        raise NotImplementedError

    def _conflicts(self) -> Iterator[str]:
        """What is wrong between parameters that are right by themselves."""
        yield from ()

    def _is_changed(self, each: Field) -> bool:
        return getattr(self, each.name) != each.default


def guess(classes: int) -> tuple[float, float]:
    """Loss and accuracy where each of so many classes is equally likely."""
    return math.log(classes), 1 / classes


def zeros(batch: int, length: int) -> Int[np.ndarray, "B T"]:
    return np.zeros((batch, length), np.int32)


def last(batch: int, length: int, steps: int = 1) -> Float[np.ndarray, "B T"]:
    """Weights that score only the last steps."""
    weights = np.zeros((batch, length), np.float32)
    weights[:, length - steps :] = 1
    return weights


def distinct(rng: np.random.Generator, below: int, count: int, batch: int) -> Int[np.ndarray, "B count"]:
    """In each row `count` different numbers below `below`, every ordered choice equally likely."""
    return race(rng.random((batch, below)), count)


def race(times: Float[np.ndarray, "B N"], count: int) -> Int[np.ndarray, "B count"]:
    """In each row who comes in first, second ... count-th.

    Of exponential times with rates p this draws from p without replacement (Efraimidis & Spirakis 2006).
    """
    first = np.argpartition(times, count - 1, axis=1)[:, :count]
    return np.take_along_axis(first, np.argsort(np.take_along_axis(times, first, axis=1), axis=1), axis=1)


def _check(task: str, each: Field, value: Any) -> Iterator[str]:
    name = f"{task}: {each.name}"
    if "choices" in each.metadata:
        if value not in each.metadata["choices"]:
            yield f"{name} must be one of {', '.join(each.metadata['choices'])}, got {value!r}"
        return
    whole = isinstance(each.default, int)
    allowed = (int, np.integer) if whole else (int, float, np.integer, np.floating)
    low, high = each.metadata["low"], each.metadata["high"]
    if not isinstance(value, allowed) or isinstance(value, bool):
        yield f"{name} must be a {'whole ' if whole else ''}number, got {value!r}"
    elif not low <= value <= high:
        most = f"at least {low}" if high == MOST_TOKENS else f"from {low} to {high}"
        yield f"{name} must be {most}, got {value}"
