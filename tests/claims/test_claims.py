"""What all claims have in common: the rules of verdicts, and parts that can be run."""

import dataclasses
import importlib

import pytest

from lengthscale.bench.claims import CLAIMS, claim
from lengthscale.bench.claims.claim import FAILS, HOLDS, NOT_DECIDED, REPORTED, Minutes
from lengthscale.bench.host.request import make_request
from lengthscale.bench.plan.options import from_arguments
from lengthscale.bench.plan.run_options import OPTIONS
from lengthscale.bench.results.estimate import Estimate
from tests.helpers.claim_records import parts, record


@pytest.mark.parametrize(
    ("estimate", "verdict"),
    [
        (Estimate(1.5, 1.1, 1.9), HOLDS),
        (Estimate(1.2, 0.9, 1.5), NOT_DECIDED),
        (Estimate(2.5, 2.0, 3.0), FAILS),
        (Estimate(0.5, 0.1, 1.0), FAILS),
        (Estimate(1.5), NOT_DECIDED),
        (None, NOT_DECIDED),
    ],
)
def test_an_interval_decides_as_a_whole(estimate, verdict):
    assert claim.verdict_within(estimate, 1.0, 2.0) == verdict


def test_one_sided_rules():
    assert claim.verdict_below(Estimate(0.15, 0.1, 0.2), 0.3) == HOLDS
    assert claim.verdict_below(Estimate(0.35, 0.3, 0.4), 0.3) == FAILS
    assert claim.verdict_above(Estimate(0.45, 0.4, 0.5), 0.3) == HOLDS
    assert claim.verdict_above(Estimate(0.35, 0.2, 0.4), 0.3) == NOT_DECIDED
    assert claim.all_of([HOLDS, HOLDS]) == HOLDS
    assert claim.all_of([HOLDS, NOT_DECIDED]) == NOT_DECIDED
    assert claim.all_of([NOT_DECIDED, FAILS]) == FAILS
    assert claim.all_of([]) == NOT_DECIDED


def test_what_the_minutes_allow():
    levels = {0.0: "least", 3.0: "more", 8.0: "most"}
    assert [claim.affordable(levels, minutes) for minutes in (0, 2.9, 3, 7, 100)] == [
        *("least", "least", "more", "more", "most")
    ]
    assert claim.affordable({5.0: "only"}, 1) == "only"


def of(number, least, whole):
    return dataclasses.replace(CLAIMS[1], number=number, minutes=Minutes(least, whole))


def test_the_budget_goes_to_what_it_can_decide():
    claims = [of(1, 4, 20), of(2, 5, 15), of(3, 15, 25)]
    assert claim.shared(claims, 60) == {1: 20, 2: 15, 3: 25}  # all that they can use
    assert claim.shared(claims, 42) == {1: 12, 2: 10, 3: 20}  # half of what each could use in addition
    assert claim.shared(claims, 9) == {1: 4, 2: 5}  # the third has none, not too little
    assert claim.shared(claims, 22) == pytest.approx({1: 4 + 13 * 16 / 26, 2: 5 + 13 * 10 / 26})
    assert claim.shared(claims, 2) == {1: 2}  # too small for any: the cheapest has it
    assert claim.shared([of(1, 4, 4)], 9) == {1: 4}


def test_twenty_minutes_decide_what_they_can_and_120_all():
    claims = list(CLAIMS.values())
    assert {2, 3, 7} <= claim.shared(claims, 20).keys()
    given = claim.shared(claims, 120)
    assert given.keys() == CLAIMS.keys()
    assert all(given[number] >= each.minutes.least for number, each in CLAIMS.items())
    assert sum(each.minutes.whole for each in claims) == 120


@pytest.mark.parametrize("number", CLAIMS)
def test_every_claim_says_what_was_published(number):
    assert CLAIMS[number].published.endswith(")")


@pytest.mark.parametrize("number", CLAIMS)
def test_parts_are_runs_that_their_models_can_do(number):
    module = importlib.import_module(CLAIMS[number].judge.__module__)
    for minutes in (0.1, *getattr(module, "LEVELS", ())):
        for part in CLAIMS[number].parts(minutes):
            request = make_request(from_arguments(OPTIONS, part.arguments))
            assert request.cells
            assert not request.unsupported
        names = [part.name for part in CLAIMS[number].parts(minutes)]
        assert len(set(names)) == len(names)


@pytest.mark.parametrize("number", CLAIMS)
def test_nothing_measured_decides_nothing(number):
    names = [part.name for part in CLAIMS[number].parts(1.0)]
    failed = {name: [record("train", "rnn", 64, status="timeout")] for name in names}
    for records in ({}, {name: [] for name in names}, failed):
        findings = CLAIMS[number].judge(parts(records))
        assert findings
        assert {each.verdict for each in findings} <= {NOT_DECIDED, REPORTED}
        assert findings[0].verdict == NOT_DECIDED
        assert {each.estimate for each in findings} == {None}
