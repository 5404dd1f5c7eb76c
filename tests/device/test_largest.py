"""The search for the largest size that fits, on plans whose memory is known exactly."""

import math
import random

import pytest

from lengthscale.bench.device.largest import How, Ladder, Plan, find_largest

GRAIN = 1024
LENGTHS = Ladder(lambda n: GRAIN * n, 16384)


class Planner:
    """Plans of known memory; it holds the sizes that it was asked for."""

    def __init__(self, planned_bytes, input_bytes=lambda size: 0):
        self.asked = []
        self._planned, self._inputs = planned_bytes, input_bytes

    def __call__(self, size):
        self.asked.append(size)
        return Plan(self._planned(size), self._inputs(size))


def test_an_exact_polynomial_is_answered_exactly_with_five_plans():
    for seed in range(300):
        rng = random.Random(seed)
        a, b, c = rng.uniform(0, 1e7), 10 ** rng.uniform(1, 5), 10 ** rng.uniform(-6, 1) * (seed % 2)
        limit = int(10 ** rng.uniform(7, 11))
        planner = Planner(lambda x, a=a, b=b, c=c: a + b * x + c * x * x)
        found = find_largest(planner, limit, LENGTHS)
        assert len(planner.asked) == len(set(planner.asked)) <= 5
        if found.how == How.PLANNED:
            assert found.too_large == found.size + GRAIN
            assert planner(found.size).planned_bytes == found.planned_bytes <= limit
            assert planner(found.too_large).planned_bytes > limit
        elif found.how == How.TOO_SMALL:
            assert planner(GRAIN).planned_bytes > limit
        else:
            assert found.how == How.OVER_CAP
            assert planner(GRAIN * LENGTHS.last).planned_bytes <= limit


def test_a_known_answer():
    """1,000 + 10 L + L^2 / 1,000 = 10^6 at L = 26,968: 26 steps of 1,024 are 26,624."""
    planner = Planner(lambda x: 1000 + 10 * x + x * x / 1000)
    found = find_largest(planner, 10**6, LENGTHS)
    assert (found.how, found.size, found.too_large) == ("planned", 26 * GRAIN, 27 * GRAIN)
    assert found.planned_bytes == 1000 + 10 * 26624 + 26624**2 / 1000
    assert planner.asked[:2] == [2 * GRAIN, 8 * GRAIN]


@pytest.mark.parametrize(
    ("planned", "inputs", "how", "size"),
    [
        (lambda x: 5e6, lambda x: 0, "not limited by memory", None),
        (lambda x: 5e6 + 8 * x, lambda x: 4 * x, "not limited by memory", None),  # the inputs and a copy of them
        (lambda x: 5e6 + 20 * x, lambda x: 4 * x, "over the cap", 2**24),
        (lambda x: 5e6 + 1000 * min(x, 65536), lambda x: 4, "not limited by memory", None),  # a window
        (lambda x: 1e10, lambda x: 0, "does not fit", None),
    ],
)
def test_what_has_no_largest_size(planned, inputs, how, size):
    planner = Planner(planned, inputs)
    found = find_largest(planner, 10**9, LENGTHS)
    assert (found.how, found.size) == (how, size)
    assert found.too_large == (GRAIN if how == "does not fit" else None)
    assert len(planner.asked) <= 4


def test_a_plan_predicts_no_more_than_64_times_its_size():
    planner = Planner(lambda x: 5e6 + 20 * x)
    assert find_largest(planner, 10**9, LENGTHS).how == How.OVER_CAP
    assert planner.asked == [2 * GRAIN, 8 * GRAIN, 2**24 // 64]


def test_a_step_that_the_polynomial_does_not_know_costs_plans_and_not_the_answer():
    planner = Planner(lambda x: 1e7 + (1000 * x if x < 1e5 else 3000 * x))
    found = find_largest(planner, 4 * 10**9, LENGTHS)
    assert (found.size, found.too_large) == (1298 * GRAIN, 1299 * GRAIN)
    assert len(planner.asked) <= 8


def test_what_the_compiler_refuses_does_not_fit():
    planner = Planner(lambda x: 1e7 + 1000 * x if x < 90_000 else math.inf)
    found = find_largest(planner, 10**9, LENGTHS)
    assert (found.size, found.too_large) == (87 * GRAIN, 88 * GRAIN)
    assert len(planner.asked) <= 16


def test_noisy_plans_are_bounds_all_the_same():
    """A noise of 1% leaves no exact answer; the one that is given fits, and one at most 0.4% larger does not."""
    for seed in range(50):
        planner = Planner(lambda x, s=seed: (1e7 + 14_500 * x) * (1 + 0.01 * (random.Random(x + s).random() - 0.5)))
        found = find_largest(planner, 17 * 10**9, LENGTHS)
        assert found.size
        assert found.too_large
        assert planner(found.size).planned_bytes <= 17e9 < planner(found.too_large).planned_bytes
        assert GRAIN <= found.too_large - found.size <= found.size / 256
        assert len(planner.asked) <= 25


def test_a_ladder_of_one_step():
    one = Ladder(lambda n: 196, 1)
    assert find_largest(Planner(lambda x: 5), 10, one) == find_largest(Planner(lambda x: 5.0), 10, one)
    assert find_largest(Planner(lambda x: 5), 10, one).size == 196
    assert find_largest(Planner(lambda x: 50), 10, one).how == How.TOO_SMALL


def test_squares():
    squares = Ladder(lambda n: (8 * n) ** 2, 512)
    found = find_largest(Planner(lambda x: 100 + 3 * x * x), 10**9, squares)
    assert found.size == 16384  # (8 * 16)^2: 3 x^2 = 8.1e8; (8 * 17)^2 has 1.03e9
    assert found.too_large == 18496
