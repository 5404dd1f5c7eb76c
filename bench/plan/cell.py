"""A cell: the identity of one measurement. A grid of cells is a sweep."""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, fields

from lengthscale.bench.plan.measures import MEASURES
from lengthscale.bench.plan.series import SeriesKey, model_name

CHUNKED = (
    "forward",
    "train",
    "generate",
    "frontier",
    "depth",
    "speedup",
)  # measures that can read a sequence in chunks
READING = (
    "forward",
    "train",
    "generate",
    "speedup",
)  # measures that read `length` tokens of the data, without a budget


@dataclass(frozen=True)
class Cell:
    """The identity of one measurement; cells with equal keys are the same measurement."""

    measure: str
    model: str
    size: str
    method: str
    length: int
    batch: int
    dtype: str
    chunk: int  # tokens at a time, the state carried: another algorithm, so another series; 0: the whole at once
    data: str
    seed: int

    def key(self) -> str:
        """All fields as text, as suite.json lists cells."""
        return " ".join(f"{name}={value}" for name, value in asdict(self).items())

    def series(self) -> SeriesKey:
        """The key of its series: what it has in common with the other cells of its curve."""
        batch = 0 if MEASURES[self.measure].trains else self.batch
        names = (self.measure, self.model, self.size, self.method)
        return SeriesKey(*names, batch, self.dtype, self.data, self.seed, self.chunk)

    def order(self) -> tuple:
        """The sort key of tables: series by series, short lengths first."""
        return *self.series().order(), self.length, self.batch

    def label(self) -> str:
        """The cell in a few words, such as "mamba [native] quality text L=1024 seed=1"."""
        data = f" {self.data}" if MEASURES[self.measure].trains else ""
        seed = f" seed={self.seed}" if self.seed else ""
        chunk = f" chunk={self.chunk}" if self.chunk else ""
        return f"{model_name(self.model, self.method)} {self.measure}{data} L={self.length}{chunk}{seed}"


IDENTITY = tuple(field.name for field in fields(Cell))


@dataclass(frozen=True)
class Grid:
    """Cells of one measure: every combination of a length, a model, a method, a chunk and a seed."""

    measure: str
    lengths: Sequence[int]
    data: Mapping[str, Sequence[str]]  # by model; each makes its own cells
    streams: Collection[str]  # the models that may run in chunks
    methods: Sequence[str]
    chunks: Sequence[int]  # of the measures in CHUNKED; models that cannot run in chunks, and other measures, have 0
    seeds: Sequence[int]
    size: str
    dtype: str
    batch: int
    # For measures that train on a budget, the tokens of one step: the batch becomes step_tokens / length, so that every
    # length trains on the same number of tokens in the same number of steps.
    step_tokens: int

    def cells(self) -> list[Cell]:
        """The cells, short ones first, since they predict the cost of the long ones."""
        pairs = [(model, data) for model, mine in self.data.items() for data in mine]
        places = itertools.product(sorted(set(self.lengths)), pairs, self.methods, self.chunks, self.seeds)
        return list(dict.fromkeys(self._cell(*place) for place in places))

    def _cell(self, length: int, pair: tuple[str, str], method: str, chunk: int, seed: int) -> Cell:
        model, data = pair
        trains = MEASURES[self.measure].trains
        return Cell(
            measure=self.measure,
            model=model,
            size=self.size,
            method=method,
            length=length,
            batch=max(self.batch, self.step_tokens // length) if trains else self.batch,
            dtype=self.dtype,
            chunk=chunk if self.measure in CHUNKED and model in self.streams else 0,
            data=data,
            seed=seed,
        )


_NUMBER = re.compile(r"(\d+)([km]?)", re.IGNORECASE)


def parse_lengths(text: str) -> list[int]:
    """Lengths in tokens from "256,1k,4k" or "512:64k:x2" (from, to, factor), k = 1024, m = 1024 x 1024.

    Raises ValueError that says what was wrong and what is expected.
    """
    lengths = []
    for part in text.split(","):
        pieces = part.strip().split(":")
        if len(pieces) == 1:
            lengths.append(_length(pieces[0]))
        elif len(pieces) == 3 and re.fullmatch(r"x\d+", pieces[2]) and int(pieces[2][1:]) >= 2:
            first, last, factor = _length(pieces[0]), _length(pieces[1]), int(pieces[2][1:])
            if last < first:
                raise ValueError(f"length range {part!r} ends before it starts")
            while first <= last:
                lengths.append(first)
                first *= factor
        else:
            raise ValueError(f"length {part!r} is neither a number nor FROM:TO:xFACTOR, such as 512:64k:x2")
    return sorted(set(lengths))


def _length(text: str) -> int:
    match = _NUMBER.fullmatch(text.strip())
    value = int(match[1]) * {"": 1, "k": 1024, "m": 1024**2}[match[2].lower()] if match else 0
    if value < 1:
        raise ValueError(f"length {text!r} is not a positive whole number (k and m are allowed: 64k, 1m)")
    return value
