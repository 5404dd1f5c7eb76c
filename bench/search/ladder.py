"""The search of one recipe: which learning rate, then which warm-up, to try next, and which was best.

Rates lie on a ladder of half decades. A search begins in its middle, or with the rates that it is given, and goes on at
the better end until the best rate has a worse one on both sides; a best rate at the edge of what was tried says
nothing. Then it tries a shorter and a longer warm-up at that rate. A loss that is not finite is the worst.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple

RATES = (1e-6, 3e-6, 1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0)
WARMUPS = (0.1, 0.02, 0.3)  # shares of the steps; the first one while the rates are tried
FIRST = (3e-3, 1e-2)


class Trial(NamedTuple):
    """What a model is trained with."""

    rate: float
    warmup: float


Losses = Mapping[Trial, float]  # nan: it diverged


def best_of(losses: Losses) -> Trial | None:
    """The trial with the lowest loss; None where every one diverged, or none was made."""
    finite = {trial: loss for trial, loss in losses.items() if math.isfinite(loss)}
    return min(finite, key=lambda trial: finite[trial]) if finite else None


def next_trials(losses: Losses, first: Iterable[float] = FIRST) -> list[Trial]:
    """What to try next; an empty list where the search has ended. first: the rates with which it begins."""
    usual = WARMUPS[0]
    missing = [Trial(rate, usual) for rate in first if Trial(rate, usual) not in losses]
    if missing:
        return missing
    tried = {trial: loss for trial, loss in losses.items() if trial.warmup == usual}
    best = best_of(tried)
    if best is None:
        lower = [rate for rate in RATES if rate < min(trial.rate for trial in tried)]
        return [Trial(lower[-1], usual)] if lower else []
    at = RATES.index(best.rate)
    around = [Trial(rate, usual) for rate in RATES[max(0, at - 1) : at + 2]]
    missing = [trial for trial in around if trial not in losses]
    if missing:
        return missing
    return [trial for warmup in WARMUPS if (trial := Trial(best.rate, warmup)) not in losses]


def at_edge(losses: Losses) -> bool:
    """Whether the best rate has no worse one on one of its sides among those that were tried."""
    best = best_of(losses)
    rates = [trial.rate for trial in losses]
    return best is None or best.rate in (min(rates), max(rates))
