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


def _slope(logs: np.ndarray) -> np.ndarray:
    return logs @ np.array([-0.3, -0.1, 0.1, 0.3])


@pytest.mark.parametrize("confidence", [0.95, 0.995])
@pytest.mark.parametrize("count", [5, 10, 22])
def test_an_interval_over_replicates_holds_the_truth(count, confidence):
    """A fifth of all processes is a third slower; the slope over four lengths is 0."""
    rng = np.random.default_rng(2)
    held, widths, of_means = 0, [], []
    for _ in range(200):
        logs = 0.02 * rng.standard_normal((count, 4)) + 0.3 * (rng.random((count, 4)) < 0.2)
        value = float(_slope(np.median(logs, axis=0)))
        low, high = intervals.of_medians(logs, _slope, value, confidence).interval or (1.0, 0.0)
        held += low <= 0 <= high
        widths.append(high - low)
        of_mean = intervals.student(_slope(logs), value, confidence)
        of_means.append((of_mean.high or 0.0) - (of_mean.low or 0.0))
    assert held >= (confidence - 0.02) * 200
    ratio = np.median(widths) / np.median(of_means)
    assert ratio == 1 if count < intervals.ENOUGH else ratio < 1.3
    if (count, confidence) == (22, 0.95):
        assert 0.2 < ratio < 0.6


def test_an_interval_over_replicates_reaches_to_its_value():
    logs = np.random.default_rng(0).normal(0, 1, (12, 4))
    found = intervals.of_medians(logs, _slope, 9.0)
    assert (found.value, found.high) == (9.0, 9.0)
    assert found.low is not None
    assert found.low < 1
    logs[0, 0] = np.inf
    assert intervals.of_medians(logs, _slope, 9.0) == Estimate(9.0)
    assert intervals.of_medians(np.ones((12, 1)), lambda medians: medians[..., 0], 1.0) == Estimate(1.0, 1.0, 1.0)


def test_the_median_of_many_replicates_does_not_see_a_slow_one():
    values = [*np.linspace(0.99, 1.01, 14), 5.0]
    found = intervals.of_replicates(values)
    assert found.interval is not None
    assert 0.99 <= found.interval[0] < found.value < found.interval[1] <= 1.01


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
