"""Estimates from samples: a median, a mean or a ratio with its interval, of 95% where nothing else is said.

The intervals are by bootstrap (Efron and Tibshirani 1993), but for `jackknife`, `mean_of_few`, and for fewer than
`ENOUGH` replicates. There is no interval where there are fewer than 3 values, or where one is not finite. All but
`mean_of_few` need at least one value.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from scipy import stats

from lengthscale.bench.results.estimate import Estimate

FEWEST = 3  # values that an interval needs
CONFIDENCE = 0.95
RESAMPLES = 2000
ENOUGH = 10  # replicates from which on a bootstrap of medians covers as often as it says, up to 99.5% (simulated)


def median(values: np.ndarray) -> Estimate:
    """The median of values, (n,)."""
    return _bootstrap((values,), np.median)


def of_replicates(values: Sequence[float]) -> Estimate:
    """The median of replicates' positive values, with its interval by `of_medians` on their logarithms."""
    middle = float(np.median(values))
    if min(values) <= 0:
        return Estimate(middle)
    logs = of_medians(np.log(values)[:, None], lambda medians: medians[..., 0], math.log(middle))
    if logs.low is None or logs.high is None:
        return Estimate(middle)
    return Estimate(middle, min(middle, math.exp(logs.low)), max(middle, math.exp(logs.high)))


def of_medians(values: np.ndarray, statistic: Callable, value: float, confidence: float = CONFIDENCE) -> Estimate:
    """A statistic of the medians of what each replicate measured, with its interval.

    Of few replicates it is that of the mean of what each of them gives, by Student's t. From ENOUGH on, whole
    replicates are drawn again and their medians taken: where a fifth of all processes is slowed down, that interval is
    half as wide, since medians do not see these.

    values: (replicates, quantities). statistic: (..., quantities) -> (...). value: that of the medians of all there
    are; the interval reaches to it.
    """
    if len(values) < ENOUGH:
        return student(statistic(values), value, confidence)

    def of_columns(*columns: np.ndarray, axis: int = -1) -> np.ndarray:
        return statistic(np.stack([np.median(column, axis=axis) for column in columns], axis=-1))

    return _reaching(_bootstrap(tuple(values.T), of_columns, paired=True, confidence=confidence), value)


def student(values: Sequence[float] | np.ndarray, value: float, confidence: float = CONFIDENCE) -> Estimate:
    """A value with the interval of the mean of what each replicate gives, (n,), by Student's t.

    A bootstrap's interval of 3 values would cover in 75% of all cases and not in 95%. The value is that of the medians;
    where it is outside of the interval of the mean, the interval reaches to it.
    """
    found = mean_of_few(np.asarray(values, float), confidence)
    return Estimate(value) if found is None else _reaching(found, value)


def _reaching(found: Estimate, value: float) -> Estimate:
    """This value with an interval that reaches to it."""
    if found.low is None or found.high is None:
        return Estimate(value)
    return Estimate(value, min(found.low, value), max(found.high, value))


def mean(values: np.ndarray, confidence: float = CONFIDENCE) -> Estimate:
    """The mean of values, (n,)."""
    return _bootstrap((values,), np.mean, confidence=confidence)


def paired(first: np.ndarray, second: np.ndarray, statistic: Callable, confidence: float = CONFIDENCE) -> Estimate:
    """A statistic of pairs, (n,) and (n,): the bootstrap draws whole pairs.

    statistic(first, second, axis): vectorized, as numpy's functions are.
    """
    return _bootstrap((first, second), statistic, paired=True, confidence=confidence)


def jackknife(first: np.ndarray, second: np.ndarray, statistic: Callable, confidence: float = CONFIDENCE) -> Estimate:
    """A smooth statistic(first, second) of a few pairs, (n,) and (n,), with its interval by Student's t.

    It is that of the mean of the n pseudo-values n s - (n - 1) s_i, where s_i is the statistic without the i-th pair
    (Tukey 1958). A bootstrap of few pairs would draw too small variances. It needs one value or more without each pair.
    """
    count, value = len(first), float(statistic(first, second))
    without = np.array([statistic(np.delete(first, i), np.delete(second, i)) for i in range(count)])
    return student(count * value - (count - 1) * without, value, confidence)


def mean_of_few(values: np.ndarray, confidence: float = CONFIDENCE, common: float = 0.0) -> Estimate | None:
    """The mean of a few normal values, (n,), with its interval by Student's t; None of no values.

    A bootstrap's interval of 3 seeds would cover the mean in 75% of all cases and not in 95%. common: the variance of
    an error that all values share, such as that of the images on which all of them are scored.
    """
    if not len(values):
        return None
    middle = float(np.mean(values))
    if len(values) < FEWEST or not np.isfinite(values).all():
        return Estimate(middle)
    error = (np.var(values, ddof=1) / len(values) + common) ** 0.5
    half = float(stats.t.ppf((1 + confidence) / 2, len(values) - 1) * error)
    return Estimate(middle, middle - half, middle + half)


def ratio(values: np.ndarray, to: np.ndarray) -> Estimate:
    """The median of values, (n,), over the median of `to`, (m,), where the i-th of both are of the same round.

    The bootstrap draws whole rounds; rounds that only one of the two has do not count for the interval.
    """
    rounds = min(len(values), len(to))
    found = paired(values[:rounds], to[:rounds], _ratio)
    return replace(found, value=float(_ratio(values, to)))


def _ratio(values: np.ndarray, to: np.ndarray, axis: int = -1) -> np.ndarray:
    return np.median(values, axis=axis) / np.median(to, axis=axis)


def _bootstrap(
    samples: tuple[np.ndarray, ...], statistic: Callable, paired: bool = False, confidence: float = CONFIDENCE
) -> Estimate:
    value = float(statistic(*samples))
    if min(map(len, samples)) < FEWEST or not all(np.isfinite(values).all() for values in samples):
        return Estimate(value)
    if all(np.ptp(values) == 0 for values in samples):  # scipy warns of what has no spread
        return Estimate(value, value, value)
    result = stats.bootstrap(
        samples,
        statistic,
        paired=paired,
        confidence_level=confidence,
        vectorized=True,
        method="percentile",
        n_resamples=RESAMPLES,
        batch=200,
        rng=np.random.default_rng(0),
    )
    return Estimate(value, float(result.confidence_interval.low), float(result.confidence_interval.high))
