"""The learning rate of a sweep that suits a model best."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np


def best_of(losses: Mapping[float, Iterable[float]]) -> float:
    """The rate of the lowest mean. losses: of each rate one for each seed.

    Only rates that as many seeds were trained at as at any are looked at: where a seed diverged there is no mean.
    """
    kept = {rate: list(mine) for rate, mine in losses.items()}
    most = max(map(len, kept.values()))
    return min((rate for rate, mine in kept.items() if len(mine) == most), key=lambda rate: np.mean(kept[rate]))


def told(best: float, rates: Iterable[float]) -> str:
    """Such as "learning rate 0.01 of 0.003, 0.01, at the sweep's edge": there a better one may lie beyond."""
    tried = sorted(rates)
    edge = ", at the sweep's edge" if len(tried) > 1 and best in (tried[0], tried[-1]) else ""
    return f"learning rate {best:g} of {', '.join(f'{rate:g}' for rate in tried)}{edge}"
