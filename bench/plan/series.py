"""A series: cells that differ in length alone. All code that groups rows into curves groups them by this key."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from lengthscale.bench.plan.measures import MEASURES
from lengthscale.models import every_model, present_name

_MODELS = {name: number for number, name in enumerate(every_model())}


@dataclass(frozen=True)
class SeriesKey:
    """What the cells of one curve have in common."""

    measure: str
    model: str
    size: str
    method: str
    batch: int  # sequences at a time; 0 for a measure that trains on a budget, whose batch follows from the length
    dtype: str
    data: str
    seed: int
    chunk: int = 0

    def key(self) -> str:
        """The text that seeds the random numbers of its intervals: a change of it would change published intervals."""
        values = asdict(self)
        order = ("measure", "model", "size", "method", "length", "batch", "dtype", "chunk", "data", "seed")
        return " ".join(f"{name}={values.get(name, 0)}" for name in order)

    def order(self) -> tuple:
        """The sort key of tables and figures: measures and models in their own order."""
        rank = _MODELS.get(present_name(self.model), len(_MODELS))
        names = (self.model, self.method, self.size, self.dtype, self.data)
        return (list(MEASURES).index(self.measure), rank, *names, self.batch, self.chunk, self.seed)

    @property
    def in_chunks(self) -> str:
        """The chunks in which it runs, in words that follow a name, such as " in chunks of 4096"; "" for none."""
        return f" in chunks of {self.chunk}" if self.chunk else ""

    @property
    def name(self) -> str:
        """The model with its method, such as "mamba" or "mamba [native]"."""
        return model_name(self.model, self.method)


def model_name(model: str, method: str) -> str:
    """The model, followed by its method where that is not "auto", such as "mamba [native]"."""
    return model if method in ("auto", "") else f"{model} [{method}]"


def size_name(size: str) -> str:
    """The size to show: a checkpoint's size is a path, of which only the folder's name is shown."""
    return Path(size).name


def distinctions(keys: Iterable[SeriesKey]) -> dict[SeriesKey, str]:
    """For each series, what distinguishes it from others of its measure, model, method and size: "batch 8, seed 1".

    "" for a series that has no such others.
    """
    groups: dict[tuple, list[SeriesKey]] = {}
    for key in dict.fromkeys(keys):
        groups.setdefault((key.measure, key.model, key.method, key.size), []).append(key)
    words = {}
    for mine in groups.values():
        differing = [name for name in _WORDS if len({getattr(key, name) for key in mine}) > 1]
        for key in mine:
            words[key] = ", ".join(_word(key, name) for name in differing)
    return words


def _word(key: SeriesKey, name: str) -> str:
    return "whole" if name == "chunk" and key.chunk == 0 else _WORDS[name].format(getattr(key, name))


_WORDS = {"batch": "batch {}", "dtype": "{}", "data": "{}", "chunk": "in chunks of {}", "seed": "seed {}"}
