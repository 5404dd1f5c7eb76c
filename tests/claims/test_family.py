"""Questions that are answered together: of all verdicts of a family at most 5% are wrong."""

import numpy as np
import pytest

from lengthscale.bench.claims.claim import FAILS, HOLDS, NOT_DECIDED, REPORTED, verdict_below
from lengthscale.bench.claims.family import INFINITY, Question, against, alone, answered, exactly, mean_of
from lengthscale.bench.results.estimate import Estimate


def question(at, bounds=(-INFINITY, 0.0), **about):
    return Question("it", at, bounds, "below 0", **about)


def normal(value, error=1.0):
    """An estimate whose interval is that of a normal distribution."""
    from scipy import stats

    def at(confidence):
        half = float(stats.norm.ppf((1 + confidence) / 2)) * error
        return Estimate(value, value - half, value + half)

    return at


def test_holm_asks_those_left_again():
    """Two-sided quantiles: 1.96 at 0.05, 2.24 at 0.05 / 2, 2.39 at 0.05 / 3."""
    verdicts = [each.verdict for each in answered([question(normal(z)) for z in (-2.5, -2.3, -2.0)])]
    assert verdicts == [HOLDS] * 3
    # The first is decided at 0.05 / 3; of the others none is at 0.05 / 2, though one is over 1.96.
    found = answered([question(normal(z)) for z in (-2.5, -2.1, 1.0)])
    assert [each.verdict for each in found] == [HOLDS, NOT_DECIDED, NOT_DECIDED]
    assert [each.confidence for each in found] == pytest.approx([1 - 0.05 / 3, 0.975, 0.975])
    assert found[1].estimate.high == pytest.approx(-2.1 + 2.2414, abs=1e-4)
    assert answered([question(normal(-2.1))])[0].verdict == HOLDS  # alone it is decided
    assert answered([question(normal(2.5))])[0].verdict == FAILS


def test_what_is_exact_or_missing_does_not_count():
    exact, missing = question(exactly(-1.0)), question(exactly(None))
    few = question(lambda confidence: Estimate(-1.0))  # without an interval
    found = answered([question(normal(-2.0)), exact, missing, few])
    assert [each.verdict for each in found] == [HOLDS, HOLDS, NOT_DECIDED, NOT_DECIDED]
    assert [each.confidence for each in found] == [0.95, None, None, None]
    assert found[2].estimate is None
    assert answered([]) == []


def test_what_could_have_been_seen_is_said():
    """(1.96 + 0.84) standard errors, as in any table of powers."""
    (found,) = answered([question(normal(-0.5, error=2.0), unit="points", note="so", n=7)])
    assert found.note == "so; 5.6 points from the bound would have been seen with a power of 80%"
    assert found.n == 7
    (found,) = answered([question(normal(-9.0))])
    assert found.note == ""


def test_a_question_may_have_a_rule_of_its_own():
    (found,) = answered([question(normal(5.0), decide=lambda estimate: HOLDS if estimate.low > 1 else NOT_DECIDED)])
    assert found.verdict == HOLDS


def test_what_is_only_to_be_read_decides_nothing():
    (found,) = alone([question(normal(-9.0), note="so")])
    assert (found.verdict, found.confidence, found.note) == (REPORTED, 0.95, "so")


def test_what_does_not_hold_is_said():
    assert against(answered([question(normal(z)) for z in (-9.0, 9.0, 0.0)])) == "fails: it; not decided: it"


def test_the_error_of_a_family():
    """12 means of 3 seeds, all exactly at the bound: any verdict is a wrong one."""
    rng = np.random.default_rng(0)
    families, wrong, uncorrected = 400, 0, 0
    for _ in range(families):
        asked = [question(mean_of(values)) for values in rng.normal(0, 1, (12, 3))]
        wrong += any(each.verdict != NOT_DECIDED for each in answered(asked))
        uncorrected += any(verdict_below(each.estimate, 0.0) != NOT_DECIDED for each in alone(asked))
    assert 0.02 < wrong / families < 0.08
    assert uncorrected / families > 0.35
