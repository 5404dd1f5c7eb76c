"""Bootstrap intervals: as wide as theory says, and honest of too few values."""

import numpy as np
import pytest

from lengthscale.bench.results import intervals
from lengthscale.bench.results.estimate import Estimate


def test_the_interval_of_a_median():
    values = np.random.default_rng(0).normal(100, 5, 400)
    found = intervals.median(values)
    assert found.value == np.median(values)
    assert found.interval
    low, high = found.interval
    assert low < found.value < high
    assert high - low < 3  # about 2 x 1.96 x 1.25 x 5 / sqrt(400) = 1.2
    assert intervals.median(np.array([1.0, 2.0])) == Estimate(1.5)
    assert intervals.median(np.array([2.0, 2.0, 2.0])) == Estimate(2.0, 2.0, 2.0)
    assert intervals.median(np.array([1.0, 2.0, np.inf])) == Estimate(2.0)


def test_intervals_hold_the_truth_in_95_of_100():
    """Of medians and means of 40 normal values, and of ratios of paired rounds whose drift cancels."""
    rng = np.random.default_rng(1)
    held = {"median": 0, "mean": 0, "ratio": 0}
    for _ in range(200):
        drift = rng.lognormal(0, 0.3, 40)
        ours, theirs = (drift * x * rng.lognormal(0, 0.02, 40) for x in (1.0, 1.5))
        flat = rng.normal(10, 1, 40)
        truths = {"median": (intervals.median(flat), 10.0), "mean": (intervals.mean(flat), 10.0)}
        truths["ratio"] = intervals.ratio(theirs, ours), 1.5
        for name, (found, truth) in truths.items():
            assert found.interval
            held[name] += found.interval[0] <= truth <= found.interval[1]
    assert all(0.9 <= held[name] / 200 <= 0.99 for name in ("median", "mean")), held
    assert held["ratio"] >= 0.95 * 200, held  # on the safe side: the same rounds are the middle ones of both


def test_rounds_that_only_one_of_two_has_do_not_count():
    found = intervals.ratio(np.array([2.0, 2.0, 2.0, 50.0]), np.array([1.0, 1.0, 1.0]))
    assert found == Estimate(2.0, 2.0, 2.0)
    assert intervals.ratio(np.ones(9), np.ones(2)) == Estimate(1.0)


def test_the_mean_of_few_values():
    assert intervals.mean_of_few(np.zeros(0)) is None
    assert intervals.mean_of_few(np.array([1.0, 3.0])) == Estimate(2.0)
    found = intervals.mean_of_few(np.array([1.0, 2.0, 3.0]))
    # t(0.975, 2 degrees of freedom) = 4.30265; the standard error is 1 / sqrt(3).
    assert (found.low, found.high) == pytest.approx((2 - 2.48414, 2 + 2.48414), abs=1e-5)
