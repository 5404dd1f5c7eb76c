"""A cell: one measurement's identity. A grid of cells is a sweep."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields

from lengthscale.bench.plan.measures import MEASURES
from lengthscale.bench.plan.series import SeriesKey, model_name

WHOLE_UP_TO = 16_384  # longer sequences run in chunks of CHUNK where the model's state carries gradients
CHUNK = 4_096


@dataclass(frozen=True)
class Cell:
    """What is measured; two cells with one key are the same measurement."""

    measure: str
    model: str
    size: str
    method: str
    length: int
    batch: int
    dtype: str
    chunk: int  # tokens at a time, the state carried; 0: the whole sequence at once
    data: str
    seed: int

    def key(self) -> str:
        return " ".join(f"{name}={value}" for name, value in asdict(self).items())

    def series(self) -> SeriesKey:
        """What it has in common with the other cells of its curve."""
        batch = 0 if MEASURES[self.measure].learns else self.batch
        return SeriesKey(self.measure, self.model, self.size, self.method, batch, self.dtype, self.data, self.seed)

    def label(self) -> str:
        """Such as "mamba [native] quality text L=1024 seed=1"."""
        data = f" {self.data}" if MEASURES[self.measure].learns else ""
        seed = f" seed={self.seed}" if self.seed else ""
        return f"{model_name(self.model, self.method)} {self.measure}{data} L={self.length}{seed}"


IDENTITY = tuple(field.name for field in fields(Cell))


def grid(
    *,
    measure: str,
    models: Iterable[str],
    lengths: Iterable[int],
    size: str,
    methods: Iterable[str],
    batch: int,
    dtype: str,
    data: Mapping[str, str],
    seeds: Iterable[int],
    streams: Iterable[str],
    step_tokens: int,
) -> list[Cell]:
    """Cells of one measure, short ones first, so that they foretell the long ones.

    data: each model's. streams: the models that may run in chunks. step_tokens: for measures that learn, the tokens of
    one step: the batch becomes step_tokens / length, so that every length learns from the same tokens in as many steps.
    """
    cells = []
    for length, model, method, seed in itertools.product(sorted(set(lengths)), models, methods, seeds):
        in_chunks = measure in ("forward", "train") and length > WHOLE_UP_TO and model in streams
        cells.append(
            Cell(
                measure=measure,
                model=model,
                size=size,
                method=method,
                length=length,
                batch=max(batch, step_tokens // length) if MEASURES[measure].learns else batch,
                dtype=dtype,
                chunk=CHUNK if in_chunks and length % CHUNK == 0 else 0,
                data=data[model],
                seed=seed,
            )
        )
    return cells


_NUMBER = re.compile(r"(\d+)([km]?)", re.IGNORECASE)


def parse_lengths(text: str) -> list[int]:
    """Lengths from "256,1k,4k" or "512:64k:x2" (from, to, factor), k = 1024, m = 1024 x 1024.

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
