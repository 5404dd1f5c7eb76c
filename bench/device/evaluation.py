"""Held-out results of a trained model: the error of each sequence, read in chunks with the state carried.

So outputs take the memory of one chunk, whatever the length of a sequence; only a KV cache grows with it.

A causal model does not feel what stands behind a target. So sequences of several lengths are padded at their end to a
few common lengths, which have a compiled program each: compiling one for every length would take longer than scoring.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lengthscale.bench.data.synthetic import Batch
from lengthscale.bench.data.targets import largest_divisor
from lengthscale.bench.results import intervals
from lengthscale.models import streaming

CHUNK = 4_096  # positions at a time
AT_ONCE = 65_536  # positions of all sequences of one batch, if they are short
NEAR = 64  # tokens of context; what a longer one is worth is counted from here
SHARED = 4_096  # sequences up to this length share programs; longer ones are not padded
FACTOR = 8  # a sequence is padded to at most this many times its length


@dataclass(frozen=True)
class HeldOut:
    """One row of held-out results."""

    columns: dict[str, Any]
    # The mean loss of each place of a stream (data/targets.py), to 7 digits (None: not finite), so that rows can be
    # compared in pairs. Empty where a row has no places.
    place_losses: tuple[float | None, ...] = ()


def of_sequences(loss: np.ndarray, accuracy: np.ndarray | None, **columns: Any) -> HeldOut:
    """The means over sequences with their bootstrap 95% intervals, and more columns.

    loss: nats a target or a squared error, (sequences,). accuracy: (sequences,); None where there are no classes.
    columns: further columns of the row.
    """
    mean = intervals.mean(loss)
    columns |= {"loss": mean.value, "loss_low": mean.low, "loss_high": mean.high, "n_sequences": len(loss)}
    if accuracy is not None:
        mean = intervals.mean(accuracy)
        columns |= {"accuracy": mean.value, "accuracy_low": mean.low, "accuracy_high": mean.high}
    return HeldOut(columns)


def of_places(loss: np.ndarray, accuracy: np.ndarray | None, **columns: Any) -> HeldOut:
    """The same as `of_sequences`, for the means of places, (places,), which are kept."""
    kept = tuple(float(f"{value:.7g}") if np.isfinite(value) else None for value in loss)
    return replace(of_sequences(loss, accuracy, **columns), place_losses=kept)


def with_gains(found: Sequence[HeldOut]) -> list[HeldOut]:
    """The rows of a stream, each with what its context gains, in pairs, over a shorter one: the shortest, or NEAR.

    Contexts up to NEAR are compared with the shortest one, longer ones with NEAR; the first and controls with none.
    """
    by_context = {each.columns["context"]: each for each in found if "control" not in each.columns}
    shortest = min(by_context, default=0)
    rows = []
    for each in found:
        context = each.columns["context"]
        start = NEAR if context > NEAR and NEAR in by_context else shortest
        if context != start and "control" not in each.columns:
            places = min(len(each.place_losses), len(by_context[start].place_losses))
            before, after = (
                np.array(row.place_losses[:places], float)  # None becomes nan
                for row in (by_context[start], each)
            )
            gain = intervals.mean(before - after)
            known = {"gain_from": start, "gain": gain.value, "gain_low": gain.low, "gain_high": gain.high}
            each = replace(each, columns=each.columns | known)
        rows.append(each)
    return rows


def score(
    call: Callable, batch: Batch, *, regression: bool = False, rows: int | None = None
) -> tuple[np.ndarray, np.ndarray | None]:
    """(loss, accuracy) of each sequence over its scored positions, each (sequences,); accuracy: None for a regression.

    call(function, *args): function(model, *args), compiled; see learner.TrainedModel. rows: sequences at a time; None:
    as many as AT_ONCE allows.
    """
    rows = rows or max(1, AT_ONCE // batch.targets.shape[1])
    parts = []
    for start in range(0, len(batch.targets), rows):
        part = (x[start : start + rows] for x in (batch.inputs, batch.targets, batch.weights))
        parts.append(np.asarray(call(_score_numbers if regression else _score_classes, *part), np.float64))
    error, right, weight = np.concatenate(parts, axis=1)
    return error / weight, None if regression else right / weight


def score_many(
    call: Callable, batches: Sequence[Batch], *, regression: bool = False
) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
    """What `score` gives, for each of these batches, in as few programs as their lengths allow."""
    lengths = padded_lengths([batch.targets.shape[1] for batch in batches])
    rows: dict[int, int] = {}
    for batch, length in zip(batches, lengths, strict=True):
        rows[length] = math.gcd(rows.get(length, 0), len(batch.targets))
    for batch, length in zip(batches, lengths, strict=True):
        at_once = largest_divisor(rows[length], max(1, AT_ONCE // length))
        yield score(call, padded(batch, length), regression=regression, rows=at_once)


def padded_lengths(lengths: Sequence[int]) -> list[int]:
    """The length to which each of these is padded."""
    longest, found = 0, {}
    for length in sorted(set(lengths), reverse=True):
        if length > SHARED or longest > SHARED or length * FACTOR < longest:
            longest = 0
        longest = longest or length
        found[length] = longest
    return [found[length] for length in lengths]


def padded(batch: Batch, length: int) -> Batch:
    """The batch with sequences of this length: behind the old ones there are zeros, which are not scored."""
    missing = length - batch.targets.shape[1]
    parts = (batch.inputs, batch.targets, batch.weights)
    return Batch(*(np.pad(x, ((0, 0), (0, missing), *((0, 0) for _ in x.shape[2:]))) for x in parts))


def _score_classes(model, inputs, targets, weights):
    return streaming.score(model, inputs, targets, weights, chunk=CHUNK)


def _score_numbers(model, inputs, targets, weights):
    return streaming.score(model, inputs, targets, weights, error=streaming.squared_error, chunk=CHUNK)
