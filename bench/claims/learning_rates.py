"""The best learning rate of a search for a model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np


def best_of(losses: Mapping[float, Iterable[float]]) -> float:
    """The rate with the lowest mean loss. losses: rate -> one loss for each seed.

    Only the rates with the most seeds count: where a seed diverged, the mean would leave it out.
    """
    kept = {rate: list(mine) for rate, mine in losses.items()}
    most = max(map(len, kept.values()))
    return min((rate for rate, mine in kept.items() if len(mine) == most), key=lambda rate: np.mean(kept[rate]))


def note_on(best: float, rates: Iterable[float]) -> str:
    """Such as "learning rate 0.01 of 0.003, 0.01, at the sweep's edge": a better rate may lie beyond the edge."""
    tried = sorted(rates)
    edge = ", at the sweep's edge" if len(tried) > 1 and best in (tried[0], tried[-1]) else ""
    return f"learning rate {best:g} of {', '.join(f'{rate:g}' for rate in tried)}{edge}"
