"""Held-out results of a trained model: the error of each sequence, read in chunks with the state carried.

So outputs take the memory of one chunk, whatever the length of a sequence; only a KV cache grows with it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lengthscale.bench.data.synthetic import Batch
from lengthscale.bench.results import intervals
from lengthscale.models import streaming

CHUNK = 4_096  # positions at a time
AT_ONCE = 65_536  # positions of all sequences of one batch, if they are short


@dataclass(frozen=True)
class HeldOut:
    """One row of held-out results."""

    columns: dict[str, Any]
    # The loss of each window of a stream, to 7 digits (None: not finite), so that rows can be compared in pairs.
    window_losses: tuple[float | None, ...] | None = None


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


def of_windows(loss: np.ndarray, accuracy: np.ndarray | None, **columns: Any) -> HeldOut:
    """The same as `of_sequences`, and the loss of each window."""
    kept = tuple(float(f"{value:.7g}") if np.isfinite(value) else None for value in loss)
    return replace(of_sequences(loss, accuracy, **columns), window_losses=kept)


def score(call: Callable, batch: Batch, *, regression: bool = False) -> tuple[np.ndarray, np.ndarray | None]:
    """(loss, accuracy) of each sequence over its scored positions, each (sequences,); accuracy: None for a regression.

    call(function, *args): function(model, *args), compiled; see learner.TrainedModel.
    """
    rows = max(1, AT_ONCE // batch.targets.shape[1])
    parts = []
    for start in range(0, len(batch.targets), rows):
        part = (x[start : start + rows] for x in (batch.inputs, batch.targets, batch.weights))
        parts.append(np.asarray(call(_score_numbers if regression else _score_classes, *part), np.float64))
    error, right, weight = np.concatenate(parts, axis=1)
    return error / weight, None if regression else right / weight


def _score_classes(model, inputs, targets, weights):
    return streaming.score(model, inputs, targets, weights, chunk=CHUNK)


def _score_numbers(model, inputs, targets, weights):
    return streaming.score(model, inputs, targets, weights, error=streaming.squared_error, chunk=CHUNK)
