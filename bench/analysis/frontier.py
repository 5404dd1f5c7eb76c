"""The frontier in sentences: the longest sequences that fit into a memory, for each mode, of all models."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from lengthscale.bench.analysis import text
from lengthscale.bench.plan.series import SeriesKey, size_name
from lengthscale.bench.results.codec import table_of_results
from lengthscale.bench.results.csv_table import TextRow
from lengthscale.bench.results.result import Result

MODES = {"forward": "prefill", "train": "training", "decode": "decoding"}
# How an answer is known; bench/device/largest.py says what they mean.
CONFIRMED, UNLIMITED, OVER_CAP = "confirmed", "not limited by memory", "over the cap"
TOO_SMALL, DEADLINE = "does not fit", "deadline"


@dataclass(frozen=True)
class Group:
    """What the cells of one sentence have in common."""

    mode: str
    size: str
    dtype: str
    batch: int


def longest(rows: Iterable[TextRow]) -> list[TextRow]:
    """A row for each mode of each model, whole and in chunks: the first of those that differ in the cell's length."""
    first: dict[tuple[SeriesKey, str, str], TextRow] = {}
    for row in rows:
        if row.ok and row.text("longest_how"):
            first.setdefault((replace(row.series("frontier"), chunk=0), *_kind(row)), row)
    return list(first.values())


def _kind(row: TextRow) -> tuple[str, str]:
    """The mode, and the chunk that it runs in."""
    mode = row.text("mode")
    return mode, "" if mode == "decode" else row.text("chunk")


def name_of(row: TextRow) -> str:
    """The model with its method, and the chunks that it runs in."""
    series = row.series("frontier")
    return series.name if row.text("mode") == "decode" else f"{series.name}{series.in_chunks}"


def sentences(rows: Iterable[TextRow]) -> list[str]:
    """A sentence for each mode, size, dtype and batch; an empty list where there is no frontier. rows: of its CSV."""
    groups: dict[Group, list[TextRow]] = {}
    for row in longest(rows):
        group = Group(row.text("mode"), size_name(row.text("size")), row.text("dtype"), row.whole("batch"))
        groups.setdefault(group, []).append(row)
    return [_sentence(group, mine) for group, mine in groups.items()]


def sentences_of(results: Iterable[Result]) -> list[str]:
    """The sentences on the results of a run."""
    mine = [result for result in results if result.cell.measure == "frontier"]
    return sentences(table_of_results(mine).text_rows()) if mine else []


def _sentence(group: Group, rows: list[TextRow]) -> str:
    """The sentence of one mode, such as "In 24 GiB (small, float32, batch 1), prefill fits: mamba 1.9M tokens."."""
    found = [f"{name_of(row)} {length_of(row)}" for row in rows]
    where = f"In {limits(rows)} ({group.size}, {group.dtype}, batch {group.batch})"
    return f"{where}, the longest sequences of {MODES.get(group.mode, group.mode)} are: {', '.join(found)}."


def length_of(row: TextRow) -> str:
    """The longest sequence of a row in words, such as "61k tokens (planned)"."""
    how = row.text("longest_how")
    if how == UNLIMITED:
        return "any length"
    if how == DEADLINE:
        return "not found before the deadline"
    if how == TOO_SMALL:
        return f"none, {text.rounded_length(row.number('too_long_tokens'))} tokens do not fit"
    tokens = f"{text.rounded_length(row.number('longest_tokens'))} tokens"
    if how == OVER_CAP:
        return f"{tokens} or more"
    return tokens if how == CONFIRMED else f"{tokens} ({how})"


def limits(rows: list[TextRow]) -> str:
    """The memory limit of the rows; where it depended on what was free, from the least to the most."""
    every = [row.number("memory_limit_bytes") for row in rows]
    return " to ".join(dict.fromkeys(text.memory(limit) for limit in (min(every), max(every))))
