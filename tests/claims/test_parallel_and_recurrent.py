"""Claim 7: its judge on agreements, paths and times whose truth is known."""

from dataclasses import replace

import pytest

from lengthscale.bench.claims import parallel_and_recurrent
from lengthscale.bench.claims.claim import FAILS, HOLDS, NOT_DECIDED, REPORTED
from lengthscale.bench.plan.status import Status
from tests.helpers.claim_records import drawn, found, parts, record, verdict_of

CONTEXTS = (1024, 4096, 16_384, 65_536)


def agreeing(difference=1e-6):
    rows = [{"max_difference": difference, "largest_logit": 5.0}]
    lengths = (256, 1024)
    return {"agreement": [record("agreement", "rwkv4", length, rows=rows, method="associative") for length in lengths]}


def paths(of_rwkv=lambda length: 300 + 20 * length.bit_length()):
    def of(model, depth):
        rows = ([{"mode": "forward", "depth": 1}, {"mode": "train", "depth": depth(length)}] for length in CONTEXTS)
        return [record("depth", model, length, rows=each) for length, each in zip(CONTEXTS, rows, strict=True)]

    return {"depth": of("rwkv4", of_rwkv), "depth-rnn": of("rnn", lambda length: 8 * length)}


def faster(rwkv=1.8, cores=2, scatter=0.01):
    def rows(speedup, seed):
        return [{"cores": cores, "speedup": speedup + scatter * (seed - 1)}]

    models = {"rwkv4": rwkv, "rnn": 1.1}
    return {
        "speedup": [
            record("speedup", model, 4096, rows=rows(mine, seed), seed=seed)
            for model, mine in models.items()
            for seed in range(3)
        ]
    }


def decoded(rwkv=1.0, attention=5.0, spread=0.002):
    costs = {"rwkv4": rwkv, "transformer": attention, "mamba": 1.0}
    return {
        "decode": [
            record("decode", model, length, 1 + (last - 1) * (length > 16_384), spread=spread)
            for model, last in costs.items()
            for length in CONTEXTS
        ]
    }


def everything(**changes):
    return parts(agreeing() | paths() | faster() | decoded() | changes)


@pytest.mark.parametrize(
    ("records", "verdict"),
    [
        (everything(), HOLDS),
        (everything(**agreeing(1e-3)), FAILS),
        (everything(**paths(lambda length: length - 1)), HOLDS),  # less than one operation a token
        (everything(**paths(lambda length: length)), FAILS),  # one for each, as where they are read in turn
        (everything(**faster(1.2)), FAILS),
        (everything(**faster(1.5)), NOT_DECIDED),
        (everything(**faster(1.0, cores=1)), NOT_DECIDED),  # one core tells nothing
        (everything(**decoded(rwkv=1.1)), FAILS),  # flat is within 5%
        (everything(**decoded(rwkv=0.9)), FAILS),
        (everything(**decoded(attention=0.8)), FAILS),
        (everything(**decoded(spread=0.2)), NOT_DECIDED),
        (everything(**{"depth": []}), NOT_DECIDED),
    ],
)
def test_parallel_and_recurrent(records, verdict):
    assert verdict_of(7, records) == verdict


def test_what_was_found():
    findings = parallel_and_recurrent.judge(everything())
    overall = findings[0]
    assert overall.measured == "rwkv4: time of a token at a context of 65,536 over that at 1,024"
    assert overall.estimate.value == pytest.approx(1, abs=0.01)
    assert overall.says == (
        "RWKV-4 trains along a path of 640 operations at 64k tokens, 1.8x as fast on all cores as on one, "
        "and a token takes 1.00x as long at 64k as at 1k"
    )
    path = found(findings, "rwkv4 (associative scan): operations on the critical path")
    assert (path.estimate.value, path.verdict, path.note) == (640, HOLDS, "0.0098 a token; 520 at 1,024")
    recurrent = found(findings, "rnn: operations on the critical path")
    assert recurrent.estimate.value == 8 * 65_536
    assert recurrent.verdict == REPORTED
    better = found(findings, "time of a Transformer's token over RWKV-4's")
    assert better.estimate.value == pytest.approx(5, rel=0.01)
    text = drawn(7, everything())
    assert "transformer: 1 ms at 1024" in text
    assert "rwkv4, associative scan" in text


def test_logits_that_are_no_numbers_disagree():
    records = everything()
    records["agreement"] = [
        replace(each, status=Status.NAN, message="the logits' largest difference is nan")
        for each in records["agreement"]
    ]
    findings = parallel_and_recurrent.judge(records)
    assert findings[0].verdict == FAILS
    assert findings[1].note == "the logits' largest difference is nan"
