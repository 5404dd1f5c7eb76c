"""95% confidence intervals, by the bootstrap (Efron and Tibshirani 1993) except for `of_few`.

Each function gives (low, high), or (None, None) for fewer than 3 values or where a value is not finite.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import stats

Interval = tuple[float | None, float | None]
RESAMPLES = 2000


def of_median(values: np.ndarray) -> Interval:
    """The interval of the median of independent values."""
    return _bootstrap((values,), np.median)


def of_mean(values: np.ndarray) -> Interval:
    """The interval of the mean of independent values."""
    return _bootstrap((values,), np.mean)


def of_few(values: np.ndarray) -> Interval:
    """The interval of the mean of a few normal values, by Student's t.

    A bootstrap interval of 3 values would contain the mean in 75 of 100 cases instead of 95.
    """
    if len(values) < 3 or not np.isfinite(values).all():
        return None, None
    half = stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / len(values) ** 0.5
    return float(np.mean(values) - half), float(np.mean(values) + half)


def of_ratio(values: np.ndarray, to: np.ndarray) -> Interval:
    """The interval of median(values) / median(to), both sampled in the same rounds, which are drawn as a whole."""
    rounds = min(len(values), len(to))
    return _bootstrap((values[:rounds], to[:rounds]), _ratio, paired=True)


def of_ratio_apart(values: np.ndarray, to: np.ndarray) -> Interval:
    """The interval of median(values) / median(to), of independent samples."""
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
