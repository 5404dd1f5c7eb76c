"""Builds heat maps of the ratio of decoding rates (tokens/s): Mamba over each model with a cache, by context and batch.

Where one of the two models failed, the text says so.
"""

from __future__ import annotations

import math

from lengthscale.bench.analysis import text
from lengthscale.bench.figures.run import Run, caption
from lengthscale.bench.figures.spec import Axis, Figure, HeatMap, Place
from lengthscale.bench.results.csv_table import TextRow
from lengthscale.models import is_known, spec_of

FAST = "mamba"
MOST = 8.0  # the colours range from 1 / MOST to MOST


def figures(run: Run) -> list[Figure]:
    """A heat map for each model with a cache; an empty list where there is one batch size alone, or no Mamba."""
    rows = [row for row in run.cells("decode") if row.text("method") == "auto"]
    models = list(dict.fromkeys(row.text("model") for row in rows))
    if len({row.whole("batch") for row in rows}) < 2 or FAST not in models:
        return []
    slow = [name for name in models if is_known(name) and not spec_of(name).streams]
    return [_figure(run, rows, name) for name in slow]


def _figure(run: Run, rows: list[TextRow], slow: str) -> Figure:
    found = ratios(rows, slow)
    lengths = sorted({length for _, length in found})
    batches = sorted({batch for batch, _ in found}, reverse=True)
    table = [[found.get((batch, length), "") for length in lengths] for batch in batches]
    return Figure(
        title=f"Decoding: {FAST}'s tokens/s over {slow}'s",
        x=Axis("context (tokens)"),
        y=Axis("batch (sequences)"),
        heat=HeatMap(
            columns=tuple(map(text.length, lengths)),
            rows=tuple(map(str, batches)),
            values=tuple(tuple(math.nan if isinstance(each, str) else each for each in row) for row in table),
            texts=tuple(
                tuple(each if isinstance(each, str) else f"{text.number(each)}x" for each in row) for row in table
            ),
            most=MOST,
        ),
        about=caption(run, ["decode"]),
        notes=("each number: the ratio of the medians",),
        place=Place("decode", "ratio", "batch", f"decode-ratio-{slow}", file="decode_ratio"),
    )


def ratios(rows: list[TextRow], slow: str) -> dict[tuple[int, int], float | str]:
    """(batch, context) -> the ratio, or a text that says what failed, wherever both models have a row."""
    first: dict[tuple[str, int, int], TextRow] = {}
    for row in rows:
        first.setdefault((row.text("model"), row.whole("batch"), row.length), row)
    found: dict[tuple[int, int], float | str] = {}
    for (model, batch, length), row in first.items():
        other = first.get((slow, batch, length))
        if model == FAST and other is not None:
            bad = [f"{each.text('model')}\n{each.text('status')}" for each in (row, other) if not each.ok]
            ratio = row.number("tokens_per_s") / other.number("tokens_per_s")
            found[batch, length] = "\n".join(bad) if bad else ratio
    return found
