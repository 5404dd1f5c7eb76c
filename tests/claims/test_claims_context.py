"""Claims 4 and 5: their judges on losses whose truth is known."""

from dataclasses import replace

import numpy as np
import pytest

from lengthscale.bench.claims import domains, paired, real_context
from lengthscale.bench.claims.claim import FAILS, HOLDS, NOT_DECIDED
from lengthscale.bench.data import planted
from lengthscale.bench.results import intervals
from lengthscale.bench.results.estimate import Estimate
from tests.helpers.claim_records import PLACES, drawn, found, parts, record_of_places
from tests.helpers.runs import changed

# 4: real context

CONTEXTS = [64 * 4**power for power in range(8)]
FLOOR = planted.CHANCE - 0.9 * (planted.CHANCE - planted.floor())


def curve(gains, *, scatter=0.002, shuffled=0.0, contexts=CONTEXTS, **options):
    """gains: of each fourfold context. shuffled: the loss with the far context shuffled, over that given 256."""
    losses = 3.0 - np.concatenate([[0], np.cumsum(gains)])
    points: list[tuple] = [(c, None, loss, scatter) for c, loss in zip(contexts, losses, strict=True)]
    points.append((contexts[-1], "shuffled beyond 256", losses[1] + shuffled, scatter))
    return record_of_places("mamba", "code", points, **options)


def planted_record(below=0.0, at=FLOOR):
    points = [(c, None, planted.CHANCE - gain, 0.01) for c, gain in ((1, 0.0), (4, below), (16, planted.CHANCE - at))]
    return record_of_places("transformer", "planted:distance=16", points)


def context_records(*args, below=0.0, at=FLOOR, **options):
    return parts({"rate-1e-2": [curve(*args, **options)], "planted": [planted_record(below, at)]})


@pytest.mark.parametrize(
    ("records", "verdict", "largest"),
    [
        (context_records([0.05] * 7), HOLDS, 2**20),
        (context_records([0.05] * 3 + [0.0] * 4), FAILS, 4096),
        (context_records([0.05] * 3 + [0.0005] * 4, scatter=1e-4), HOLDS, 2**20),  # little, but surely
        (context_records([0.05] * 3 + [-0.2] * 4), FAILS, 4096),  # worse beyond
        (context_records([0.05] * 3 + [np.nan] * 4, shuffled=0.0), FAILS, 4096),
        (context_records([0.05] * 4 + [0.0, 0.05, 0.05]), NOT_DECIDED, 2**14),  # flat, and then better again
        (context_records([0.002] * 7, scatter=0.2), NOT_DECIDED, None),
        (context_records([0.05] * 5, contexts=CONTEXTS[:6]), NOT_DECIDED, 2**16),  # it went no farther
        (context_records([0.05] * 3 + [0.0] * 2, contexts=CONTEXTS[:6]), FAILS, 4096),
        (context_records([0.05] * 7, shuffled=-0.25), NOT_DECIDED, 2**20),  # nearly as good without the order
        (context_records([0.05] * 7, shuffled=-0.05), HOLDS, 2**20),  # of the tokens' frequencies, which are left
        (context_records([0.0] * 7, shuffled=-0.05), NOT_DECIDED, None),  # a gain that only the shuffled ones have
        (context_records([0.05] * 7, at=planted.CHANCE), NOT_DECIDED, 2**20),  # a gain that is there is not found
        (context_records([0.05] * 7, below=0.5), NOT_DECIDED, 2**20),  # one that is not there is found
        (parts({"rate-1e-2": [curve([0.05] * 7)]}), NOT_DECIDED, 2**20),  # no control
        (parts({"planted": [planted_record()]}), NOT_DECIDED, None),
    ],
)
def test_real_context(records, verdict, largest):
    findings = real_context.judge(records)
    assert findings[0].verdict == verdict, findings
    assert findings[0].estimate == (largest and Estimate(largest))
    assert all(each.decided_by for each in findings)


def test_what_a_fourfold_context_buys():
    findings = real_context.judge(context_records([0.05] * 3 + [0.0] * 4, places={2**18: 5, 2**20: 2}))
    step = found(findings, "mamba on code: loss given 4,096 tokens less that given 1,024")
    assert step.estimate.value == pytest.approx(-0.05)
    assert step.estimate.low == pytest.approx(-0.05 - 1.96 * 0.002 * 2**0.5 / PLACES**0.5, abs=3e-4)
    assert (step.verdict, step.lengths, step.note) == (HOLDS, (1024, 4096), "40 places")
    assert found(findings, "mamba on code: loss given 65,536").verdict == FAILS
    assert found(findings, "mamba on code: loss given 262,144").note == "5 places"
    last = found(findings, "mamba on code: loss given 1,048,576")
    assert (last.estimate.low, last.verdict) == (None, NOT_DECIDED)  # two places carry no interval


def test_failing_controls_are_named():
    findings = real_context.judge(context_records([0.05] * 7, shuffled=-0.25, at=planted.CHANCE))
    shuffled = found(findings, "control: loss given 1,048,576 tokens shuffled beyond 256, less")
    assert shuffled.estimate.value == pytest.approx(-0.25)
    assert shuffled.note.startswith("in order -0.3 ")
    assert shuffled.verdict == FAILS
    note = findings[0].note
    assert f"failed: {shuffled.measured}" in note
    assert "failed: control: transformer on a repeat planted at 16 tokens: gain from 4 to 16 tokens" in note
    assert "undecided" not in note
    texts = drawn(4, context_records([0.05] * 3 + [0.0] * 4))
    for expected in ("mamba: better", "mamba: flat, worse, or not decided", "control: shuffled beyond 256", "trained"):
        assert expected in texts


def test_how_far_the_budget_went_is_said():
    findings = real_context.judge(context_records([0.05] * 5, contexts=CONTEXTS[:6]))
    assert "the budget reached contexts of 65,536 tokens" in findings[0].note
    assert findings[0].lengths[1] == 65_536


# 5: domains


def domain_records(gaps, *, seeds=3, scatter=0.01, of_seed=0.001):
    """gaps: {domain: {other: the other's loss over Mamba's}}; of_seed: how much seeds differ."""
    records = {}
    for data, others in gaps.items():
        mine = records[f"{data}-1e-2"] = []
        for seed in range(seeds):
            for model, gap in {"mamba": 0.0, **others}.items():
                shift = of_seed * (seed - 1) * (model == "mamba")
                points = [(28, None, 2.5, scatter), (448, None, 2.0 + gap + shift, scatter)]
                mine.append(record_of_places(model, data, points, seed=seed))
    return parts(records)


BEHIND = dict.fromkeys(domains.OTHERS, 0.1)
LEADS = dict.fromkeys(domains.DOMAINS, BEHIND)


@pytest.mark.parametrize(
    ("records", "verdict"),
    [
        (domain_records(LEADS), HOLDS),
        (domain_records({**LEADS, "audio": {**BEHIND, "s4d": -0.1}}), FAILS),
        (domain_records({**LEADS, "audio": {**BEHIND, "s4d": 0.0}}), NOT_DECIDED),
        (domain_records({"text": BEHIND, "audio": BEHIND}), NOT_DECIDED),  # a domain is missing
        (domain_records({**LEADS, "audio": {"gru": 0.1, "s4d": 0.1}}), NOT_DECIDED),  # a model is
        (domain_records(LEADS, seeds=2), NOT_DECIDED),
        (domain_records(LEADS, scatter=2.0), NOT_DECIDED),
        (domain_records(LEADS, of_seed=0.2), NOT_DECIDED),  # as large as what chance in the weights makes
    ],
)
def test_domains(records, verdict):
    findings = domains.judge(records)
    assert findings[0].verdict == verdict, findings
    assert len(findings) == 1 + 3 + 3 * len(domains.OTHERS)


def test_the_table_of_differences():
    records = domain_records({**LEADS, "audio": {"transformer": 0.3, "gru": 0.2, "s4d": -0.1}})
    findings = domains.judge(records)
    verdicts = {each.measured.split(" ")[0]: each.verdict for each in findings[1:4]}
    assert verdicts == {"language": HOLDS, "audio": FAILS, "genomics": HOLDS}
    assert findings[0].estimate.value == pytest.approx(0.1)
    assert findings[0].measured.startswith("audio (audio): loss of mamba less that of the best other, s4d")
    assert findings[0].note.startswith("language holds, audio fails, genomics holds")
    ahead = found(findings, "audio: loss of mamba less that of gru, 3 seeds, 40 places")
    assert (ahead.estimate.value, ahead.verdict) == (pytest.approx(-0.2), HOLDS)
    assert ahead.lengths == (448, 448)
    assert ahead.estimate.interval
    low, high = ahead.estimate.interval
    assert high - low >= 2 * 4.30 * 0.001 / 3**0.5 * 0.99  # Student's t over seeds 0.001 apart
    texts = drawn(5, records)
    for expected in ("s4d +0.100", "gru -0.200", "audio"):
        assert expected in texts.replace("\N{MINUS SIGN}", "-")


def test_each_model_has_its_best_rate():
    records = domain_records(LEADS)
    diverged = record_of_places("mamba", "text", [(448, None, 9.0, 0.0)], rate=0.03, train_loss=9.0)
    better = [
        record_of_places("gru", "text", [(448, None, 1.0, 0.01)], seed=seed, rate=0.003, train_loss=1.0)
        for seed in range(3)
    ]
    one_seed = record_of_places(
        "s4d", "text", [(448, None, 0.5, 0.01)], rate=0.003, train_loss=0.5
    )  # as few as say nothing
    records["text-other"] = [diverged, *better, one_seed]
    findings = domains.judge(records)
    gru = found(findings, "text: loss of mamba less that of gru")
    assert gru.estimate.value == pytest.approx(1.0)
    assert "gru: learning rate 0.003 of 0.003, 0.01, at the sweep's edge" in gru.note
    assert found(findings, "text: loss of mamba less that of s4d").estimate.value == pytest.approx(-0.1)


def without_losses(result):
    return replace(result, replicates=tuple(changed(each, place_losses=None) for each in result.replicates))


def test_records_without_raw_losses_are_no_evidence():
    """Such as those of before they were kept."""
    records = context_records([0.05] * 7)
    records["rate-1e-2"] = [without_losses(each) for each in records["rate-1e-2"]]
    assert real_context.judge(records)[0].verdict == NOT_DECIDED


# Pairs


def test_pairs_are_surer_than_windows_apart():
    one = record_of_places("mamba", "text", [(64, None, 2.0, 0.02), (256, None, 1.9, 0.02)])
    near, far = paired.losses(one, 64), paired.losses(one, 256)
    apart = paired.difference(far, near).estimate
    assert apart.value == pytest.approx(-0.1)
    alone = intervals.mean(far)
    assert apart.interval
    assert alone.interval
    assert apart.interval[0] < -0.1 < apart.interval[1]
    widths = np.diff([alone.interval, apart.interval])
    assert widths[0] > 8 * widths[1]  # windows differ by 0.5, what context buys by 0.03


def test_pairs_are_of_the_windows_that_both_have():
    of, to = np.array([1.0, 2.0, 4.0]), np.array([0.5, 1.5, 3.5, 100.0])
    assert paired.difference(of, to) == (Estimate(0.5, 0.5, 0.5), 3)
    assert paired.difference(of[:2], to) == (Estimate(0.5), 2)
    assert paired.difference(np.array([1.0, np.nan, 2.0]), to) == (None, 3)
    assert paired.difference(np.zeros(0), to) == (None, 0)
    few = paired.difference(np.array([1.0, 2.0, 3.0]), np.zeros(3)).estimate
    assert (few.low, few.high) == pytest.approx((2 - 4.3027 / 3**0.5, 2 + 4.3027 / 3**0.5), rel=1e-4)
