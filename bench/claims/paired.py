"""Losses of the same windows of a stream, compared window by window.

Windows differ far more from each other than two contexts, or two models, differ on one window. So the interval of the
paired differences is many times narrower. The raw losses are a result's `window_losses` (bench/results/result.py). A
longer context may have been read for the first windows only (bench/device/workloads/text.py).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lengthscale.bench.claims import learning_rates
from lengthscale.bench.claims.claim import Results, is_of
from lengthscale.bench.plan.status import Status
from lengthscale.bench.results import intervals
from lengthscale.bench.results.estimate import Estimate
from lengthscale.bench.results.result import Result

FEW = 12  # windows: below it Student's t, since a bootstrap of few values gives too narrow an interval


class Difference(NamedTuple):
    """The difference of two mean losses on the same windows, nats a token; None where one is missing or not finite."""

    estimate: Estimate | None = None
    windows: int = 0


def with_losses(part: list[Result], **cell) -> list[Result]:
    """The results that are ok and have raw losses, and whose cell has these values."""
    good = [result for result in part if result.status == Status.OK and result.window_losses]
    return [result for result in good if is_of(result, **cell)]


def losses(result: Result, context: int, control: str | None = None) -> np.ndarray:
    """The loss of each window at a context, (windows,).

    It is nan where a loss is not finite, and empty where the result has no such row.
    """
    for row, mine in zip(result.rows, result.window_losses or (), strict=True):
        if (row.context, row.control) == (context, control):
            return np.array([np.nan if value is None else value for value in mine])
    return np.zeros(0)


def mean_losses(results: list[Result], context: int, control: str | None = None) -> np.ndarray:
    """The loss of each window, (windows,), averaged over results on the same windows, such as several seeds."""
    found = [losses(result, context, control) for result in results]
    return np.mean(found, axis=0) if found and len({len(each) for each in found}) == 1 else np.zeros(0)


def difference(of: np.ndarray, to: np.ndarray) -> Difference:
    """The mean of `of - to`, (windows,) each, over the windows that both have."""
    windows = min(len(of), len(to))
    apart = of[:windows] - to[:windows]
    if not windows or not np.isfinite(apart).all():
        return Difference(None, windows)
    return Difference(intervals.mean_of_few(apart) if windows < FEW else intervals.mean(apart), windows)


def best_rate(parts: Results, **cell) -> tuple[list[Result], str]:
    """(the results of these cells at their best learning rate, one for each seed; a note on that rate).

    The best rate has the lowest mean training loss. Hardly any token was trained on twice, so that is nearly a held-out
    loss, and the held-out windows take no part in the choice.
    """
    rates: dict[float, list[Result]] = {}
    for result in with_losses(parts.together(), **cell):
        rates.setdefault(result.row.number("learning_rate"), []).append(result)
    if not rates:
        return [], "no trained model"
    losses = {rate: [result.row.number("train_loss") for result in mine] for rate, mine in rates.items()}
    best = learning_rates.best_of(losses)
    return sorted(rates[best], key=lambda result: result.cell.seed), learning_rates.note_on(best, rates)
