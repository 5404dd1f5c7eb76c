"""Held-out figures of a trained model: the error of each sequence, read in chunks with the state carried.

So a sequence of any length is evaluated in the memory of one chunk, of its outputs at least; a KV cache still grows.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lengthscale.bench.data.synthetic import Batch
from lengthscale.bench.results import intervals
from lengthscale.models import streaming

WINDOW_LOSSES = "window_losses"  # beside a row's columns: what bench/device/measures/quality.py puts into the record
CHUNK = 4_096  # positions at a time
AT_ONCE = 65_536  # positions of all sequences that are evaluated side by side, if they are short


def figures(loss: np.ndarray, accuracy: np.ndarray | None) -> dict:
    """The mean over sequences and its bootstrap 95% interval; accuracy is None where there are no classes."""
    low, high = intervals.of_mean(loss)
    row = {"loss": float(loss.mean()), "loss_low": low, "loss_high": high, "n_sequences": len(loss)}
    if accuracy is not None:
        low, high = intervals.of_mean(accuracy)
        row |= {"accuracy": float(accuracy.mean()), "accuracy_low": low, "accuracy_high": high}
    return row


def figures_of_windows(loss: np.ndarray, accuracy: np.ndarray | None) -> dict:
    """As figures, and each window's loss to 7 digits (None: not finite), so that rows can be compared in pairs."""
    kept = [float(f"{value:.7g}") if np.isfinite(value) else None for value in loss]
    return figures(loss, accuracy) | {WINDOW_LOSSES: kept}


def score(call: Callable, batch: Batch, *, regression: bool = False) -> tuple[np.ndarray, np.ndarray | None]:
    """(loss, accuracy) of each sequence over the positions that count; accuracy is None for a regression.

    call(function, *args): function(model, *args), compiled; see lengthscale.bench.device.learner.TrainedModel.
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
