"""Bootstrap intervals: as wide as theory says, and honest of too few values."""

import numpy as np

from lengthscale.bench.results import intervals


def test_the_interval_of_a_median():
    values = np.random.default_rng(0).normal(100, 5, 400)
    low, high = intervals.of_median(values)
    assert low is not None
    assert high is not None
    assert low < np.median(values) < high
    assert high - low < 3  # about 2 x 1.96 x 1.25 x 5 / sqrt(400) = 1.2
    assert intervals.of_median(np.array([1.0, 2.0])) == (None, None)
    assert intervals.of_median(np.array([2.0, 2.0, 2.0])) == (2.0, 2.0)


def test_intervals_hold_the_truth_in_95_of_100():
    """Of medians and means of 40 normal values, and of ratios of paired rounds whose drift cancels."""
    rng = np.random.default_rng(1)
    held = {"median": 0, "mean": 0, "ratio": 0}
    for _ in range(200):
        drift = rng.lognormal(0, 0.3, 40)
        ours, theirs = (drift * x * rng.lognormal(0, 0.02, 40) for x in (1.0, 1.5))
        flat = rng.normal(10, 1, 40)
        truths = {"median": (intervals.of_median(flat), 10.0), "mean": (intervals.of_mean(flat), 10.0)}
        truths["ratio"] = intervals.of_ratio(theirs, ours), 1.5
        for name, ((low, high), truth) in truths.items():
            assert low is not None
            assert high is not None
            held[name] += low <= truth <= high
    assert all(0.9 <= held[name] / 200 <= 0.99 for name in ("median", "mean")), held
    assert held["ratio"] >= 0.95 * 200, held  # on the safe side: the same rounds are the middle ones of both


def test_rounds_that_only_one_of_two_has_do_not_count():
    low, high = intervals.of_ratio(np.array([2.0, 2.0, 2.0, 50.0]), np.array([1.0, 1.0, 1.0]))
    assert (low, high) == (2.0, 2.0)
    assert intervals.of_ratio(np.ones(9), np.ones(2)) == (None, None)
