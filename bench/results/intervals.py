"""How sure a figure is: 95% intervals, by bootstrap (Efron and Tibshirani 1993) but for `of_few`.

Each is (low, high), or (None, None) for fewer than 3 values, which cannot carry one, or where one is not finite.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import stats

Interval = tuple[float | None, float | None]
RESAMPLES = 2000


def of_median(values: np.ndarray) -> Interval:
    return _bootstrap((values,), np.median)


def of_mean(values: np.ndarray) -> Interval:
    return _bootstrap((values,), np.mean)


def of_few(values: np.ndarray) -> Interval:
    """Of the mean of a few normal values, by Student's t: a bootstrap of 3 seeds would hold it in 75 of 100."""
    if len(values) < 3 or not np.isfinite(values).all():
        return None, None
    half = stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / len(values) ** 0.5
    return float(np.mean(values) - half), float(np.mean(values) + half)


def of_ratio(values: np.ndarray, to: np.ndarray) -> Interval:
    """Of the ratio of two medians whose values come from the same rounds, which are drawn as a whole."""
    rounds = min(len(values), len(to))
    return _bootstrap((values[:rounds], to[:rounds]), _ratio, paired=True)


def of_ratio_apart(values: np.ndarray, to: np.ndarray) -> Interval:
    """Of the ratio of two medians whose values have nothing to do with each other."""
    return _bootstrap((values, to), _ratio) if len(to) >= 3 else (None, None)


def _ratio(values: np.ndarray, to: np.ndarray, axis: int = -1) -> np.ndarray:
    return np.median(values, axis=axis) / np.median(to, axis=axis)


def _bootstrap(samples: tuple[np.ndarray, ...], statistic: Callable, paired: bool = False) -> Interval:
    if len(samples[0]) < 3 or not all(np.isfinite(values).all() for values in samples):
        return None, None
    if all(np.ptp(values) == 0 for values in samples):  # scipy warns of what has no spread
        exact = float(statistic(*samples))
        return exact, exact
    result = stats.bootstrap(
        samples,
        statistic,
        paired=paired,
        vectorized=True,
        method="percentile",
        n_resamples=RESAMPLES,
        batch=200,
        rng=np.random.default_rng(0),
    )
    return float(result.confidence_interval.low), float(result.confidence_interval.high)
