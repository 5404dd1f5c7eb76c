"""What the learning rate of a result is worth: a verdict on a model needs one that a search has found for it."""

from __future__ import annotations

from collections.abc import Iterable

from lengthscale.bench.claims.family import At
from lengthscale.bench.plan.recipes import TUNED
from lengthscale.bench.results.estimate import Estimate
from lengthscale.bench.results.record import Row


def note_on(rows: Iterable[Row]) -> str:
    """Such as "learning rate 0.01 (tuned)", of rows of one model."""
    found = dict.fromkeys((row.number("learning_rate"), row.recipe) for row in rows)
    return ", ".join(f"learning rate {rate:g} ({recipe})" for rate, recipe in found)


def decisive(at: At, rows: Iterable[Row]) -> At:
    """The estimates without intervals, which decide nothing, where a row's learning rate was not searched to its end.

    A model that fails at a rate which nobody has chosen for it, or at the edge of those tried, has not failed.
    """
    if all(row.recipe == TUNED for row in rows):
        return at

    def undecided(confidence: float) -> Estimate | None:
        estimate = at(confidence)
        return None if estimate is None else Estimate(estimate.value)

    return undecided
