"""Losses of the same targets of a stream, compared place by place.

Places differ far more from each other than two contexts, or two models, differ at one place. So the interval of the
paired differences is many times narrower. The losses are a result's `place_losses` (bench/results/result.py). A longer
context may have been read at the first places only (bench/device/workloads/text.py).
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

FEW = 12  # places: below it Student's t, since a bootstrap of few values gives too narrow an interval


class Difference(NamedTuple):
    """The difference of two mean losses on the same targets, nats a token; None where one is missing or not finite."""

    estimate: Estimate | None = None
    places: int = 0


def with_losses(part: list[Result], **cell) -> list[Result]:
    """The results that are ok and have raw losses, and whose cell has these values."""
    good = [result for result in part if result.status == Status.OK and result.place_losses]
    return [result for result in good if is_of(result, **cell)]


def losses(result: Result, context: int, control: str | None = None) -> np.ndarray:
    """The mean loss of each place at a context, (places,).

    It is nan where a loss is not finite, and empty where the result has no such row.
    """
    for row, mine in zip(result.rows, result.place_losses or (), strict=True):
        if (row.context, row.control) == (context, control):
            return np.array([np.nan if value is None else value for value in mine])
    return np.zeros(0)


def mean_losses(results: list[Result], context: int, control: str | None = None) -> np.ndarray:
    """The mean loss of each place, (places,), averaged over results on the same targets, such as several seeds."""
    found = [losses(result, context, control) for result in results]
    return np.mean(found, axis=0) if found and len({len(each) for each in found}) == 1 else np.zeros(0)


def difference(of: np.ndarray, to: np.ndarray) -> Difference:
    """The mean of `of - to`, (places,) each, over the places that both have."""
    places = min(len(of), len(to))
    apart = of[:places] - to[:places]
    if not places or not np.isfinite(apart).all():
        return Difference(None, places)
    return Difference(intervals.mean_of_few(apart) if places < FEW else intervals.mean(apart), places)


def best_rate(parts: Results, **cell) -> tuple[list[Result], str]:
    """(the results of these cells at their best learning rate, one for each seed; a note on that rate).

    The best rate has the lowest mean training loss. Hardly any token was trained on twice, so that is nearly a held-out
    loss, and the held-out targets take no part in the choice.
    """
    rates: dict[float, list[Result]] = {}
    for result in with_losses(parts.together(), **cell):
        rates.setdefault(result.row.number("learning_rate"), []).append(result)
    if not rates:
        return [], "no trained model"
    losses = {rate: [result.row.number("train_loss") for result in mine] for rate, mine in rates.items()}
    best = learning_rates.best_of(losses)
    return sorted(rates[best], key=lambda result: result.cell.seed), learning_rates.note_on(best, rates)
