"""Losses of the same targets of a stream, compared place by place and seed by seed.

Places differ far more from each other than two contexts, or two models, differ at one place. So the interval of the
paired differences is many times narrower. The losses are a result's `place_losses` (bench/results/result.py). A longer
context may have been read at the first places only (bench/device/workloads/text.py).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lengthscale.bench.claims.claim import is_of
from lengthscale.bench.claims.family import At
from lengthscale.bench.plan.status import Status
from lengthscale.bench.results import intervals
from lengthscale.bench.results.estimate import Estimate
from lengthscale.bench.results.result import Result

FEW = 12  # places: below it Student's t, since a bootstrap of few values gives too narrow an interval


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


def losses_of(seeds: list[Result], context: int, control: str | None = None) -> np.ndarray:
    """The same of several seeds, (seeds, places); (0, 0) where one has none or other places."""
    found = [losses(result, context, control) for result in seeds]
    return np.array(found) if found and len({len(each) for each in found}) == 1 else np.zeros((0, 0))


def apart(first: np.ndarray, second: np.ndarray, compare: Callable) -> At:
    """A comparison of two mean losses on the same targets by the same seeds, (seeds, places) each.

    Its interval reaches as far as the one over seeds, by Student's t, and the one over the places that both have: it is
    about the model, and not about these weights or these places. None where a loss is missing or not finite.
    compare(first, second): such as their difference, of arrays of means.
    """
    places = min(first.shape[1], second.shape[1])
    first, second = first[:, :places], second[:, :places]
    if first.shape != second.shape or not first.size or not np.isfinite([first, second]).all():
        return lambda confidence: None
    value = float(compare(first.mean(), second.mean()))

    def of_places(mine: np.ndarray, theirs: np.ndarray, axis: int = -1) -> np.ndarray:
        return compare(np.mean(mine, axis=axis), np.mean(theirs, axis=axis))

    def at(confidence: float) -> Estimate:
        over_seeds = intervals.student(compare(first.mean(1), second.mean(1)), value, confidence)
        by = intervals.jackknife if places < FEW else intervals.paired
        over_places = by(first.mean(0), second.mean(0), of_places, confidence)
        if over_seeds.interval is None or over_places.interval is None:
            return Estimate(value)
        (low, high), (other_low, other_high) = over_seeds.interval, over_places.interval
        return Estimate(value, min(low, other_low), max(high, other_high))

    return at
