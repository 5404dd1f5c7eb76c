"""The base of synthetic tasks: a task is a family of labelled sequences of any length, drawn from a generator."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import Field, asdict, dataclass, field, fields, replace
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float, Int

from lengthscale.bench.data.errors import DataError
from lengthscale.models import Interface

PARTS = ("train", "held_out")
MOST_FOLD = 4  # items vary from a 16th to 16 times their number
MOST_TOKENS = 2**31 - 1  # what int32 holds


@dataclass(frozen=True, eq=False)
class Batch:
    """Labelled sequences. A position with weight 0 is not scored, and its target is 0.

    A loss is sum(weights * loss) / sum(weights), over cross-entropies of classes or squared errors of numbers.
    """

    inputs: Int[np.ndarray, "B T"] | Float[np.ndarray, "B T F"]  # int32 tokens or float32 features
    targets: Int[np.ndarray, "B T"] | Float[np.ndarray, "B T"]  # int32 classes or float32 numbers
    weights: Float[np.ndarray, "B T"]  # float32: 1 where a position is scored, 0 elsewhere


def generator(seed: int, part: str = "train") -> np.random.Generator:
    """The random generator of one part of a task's data, from which batches are drawn without an end.

    The parts are children of one SeedSequence with different spawn keys, numpy's method for streams that are
    independent for equal and for neighbouring seeds. part: one of PARTS. Raises DataError for another part or a
    negative seed.
    """
    if part not in PARTS:
        raise DataError(f"part must be one of {', '.join(PARTS)}, got {part!r}")
    if seed < 0:
        raise DataError(f"seed must be at least 0, got {seed}")
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(PARTS.index(part),)))


def number(default: int | float, *, low: float, high: float = MOST_TOKENS) -> Any:
    """A field for a number from low to high, both included; for a whole number if the default is one."""
    return field(default=default, metadata={"low": low, "high": high})


def choice(default: str, *others: str) -> Any:
    """A field for one of a few words."""
    return field(default=default, metadata={"choices": (default, *others)})


@dataclass(frozen=True)
class Task:
    """A task; its fields are its difficulty, and `str(task)` is the text that `parse_task` reads.

    Raises DataError for values that the fields cannot have, a line for each.
    """

    name: ClassVar[str]
    about: ClassVar[str]
    heading: ClassVar[str]  # a few plain words, with names of fields in braces
    regression: ClassVar[bool] = False  # numbers and squared errors instead of classes and cross-entropies
    items: ClassVar[str] = ""  # the field that says how much there is to remember; "": it cannot be varied

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
        """The values of the fields, by name."""
        return asdict(self)

    @property
    def title(self) -> str:
        """The task in a few plain words, such as "recall of 4 pairs"."""
        return self.heading.format(**self.parameters)

    @property
    def interface(self) -> Interface:
        """The inputs and outputs of a model of this task."""
        raise NotImplementedError

    @property
    def min_length(self) -> int:
        """The shortest length of the task, in steps."""
        raise NotImplementedError

    def batch(self, rng: np.random.Generator, batch: int, length: int) -> Batch:
        """`batch` new sequences of `length` steps. They advance rng.

        Raises DataError where the length is too short for the task, or batch is below 1.
        """
        self._check_length(length)
        if batch < 1:
            raise DataError(f"batch must be at least 1, got {batch}")
        return self._draw(rng, batch, length)

    def chance_loss(self, length: int) -> float:
        """The loss of the best model that knows its position in the sequence but remembers no input."""
        self._check_length(length)
        return self._chance(length)[0]

    def chance_accuracy(self, length: int) -> float | None:
        """The accuracy of that model; None for a regression."""
        self._check_length(length)
        return self._chance(length)[1]

    def with_items(self, length: int) -> Iterator[tuple[int, Task]]:
        """(number, task) with several numbers of items to remember, this task's among them, at this length."""
        for power in range(-MOST_FOLD, MOST_FOLD + 1) if self.items else ():
            number = int(getattr(self, self.items) * 2.0**power)
            if number >= 1:
                try:
                    task = replace(self, **{self.items: number})
                except DataError:  # more than its vocabulary has
                    continue
                if task.min_length <= length:
                    yield number, task

    def _check_length(self, length: int) -> None:
        if length < self.min_length:
            raise DataError(f"{self} needs a length of at least {self.min_length}, got {length}")

    def _draw(self, rng: np.random.Generator, batch: int, length: int) -> Batch:
        raise NotImplementedError

    def _chance(self, length: int) -> tuple[float, float | None]:
        raise NotImplementedError

    def _conflicts(self) -> Iterator[str]:
        """Mistakes between parameters that are each right by themselves."""
        yield from ()

    def _is_changed(self, each: Field) -> bool:
        return getattr(self, each.name) != each.default


def guess(classes: int) -> tuple[float, float]:
    """(loss in nats, accuracy) of a guess among classes that are equally likely."""
    return math.log(classes), 1 / classes


def zeros(batch: int, length: int) -> Int[np.ndarray, "B T"]:
    """Zeros as int32, for inputs and targets."""
    return np.zeros((batch, length), np.int32)


def last(batch: int, length: int, steps: int = 1) -> Float[np.ndarray, "B T"]:
    """Weights that score only the last `steps` steps."""
    weights = np.zeros((batch, length), np.float32)
    weights[:, length - steps :] = 1
    return weights


def distinct(rng: np.random.Generator, below: int, count: int, batch: int) -> Int[np.ndarray, "B count"]:
    """`count` different numbers from 0 to below - 1 in each row; every ordered choice is equally likely."""
    return race(rng.random((batch, below)), count)


def race(times: Float[np.ndarray, "B N"], count: int) -> Int[np.ndarray, "B count"]:
    """The places of the smallest, second smallest ... count-th smallest time in each row.

    With exponential times of rates p this draws from p without replacement (Efraimidis & Spirakis 2006).
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
