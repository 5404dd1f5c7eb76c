"""Claim 2: its judge on curves whose truth is known."""

import pytest

from lengthscale.bench.claims import scaling
from lengthscale.bench.claims.claim import FAILS, HOLDS, NOT_DECIDED, REPORTED, Results
from tests.helpers.claim_records import drawn, found, record, verdict_of

ATTENTION, LINEAR, STEPS = (1024, 8192, 65_536), (1024, 8192, 16_384, 32_768, 65_536), (1024, 4096, 8192, 16_384)
CACHE = 4_000_000


def of(measure, model, lengths, power, spread):
    """Times, and FLOPs, that grow with this power of the length; 1,000 bytes a token."""
    column = "operand_bytes" if measure == "operator" else "mem_planned_bytes"
    return [
        record(
            measure, model, length, length**power, spread=spread, rows=[{column: 1000 * length, "flops": length**power}]
        )
        for length in lengths
    ]


def scaled(attention=2.0, mamba=1.0, rwkv4=1.0, steps=1.0, spread=0.002, cache=CACHE):
    found = {
        "operators": of("operator", "mamba", LINEAR, mamba, spread) + of("operator", "rwkv4", LINEAR, rwkv4, spread),
        "steps": [
            each
            for model, power in (("transformer", 1.4), ("mamba", steps), ("rwkv4", 1.0))
            for each in of("train", model, STEPS, power, spread)
        ],
        "attention": of("operator", "transformer", ATTENTION, attention, spread),
    }
    return Results(found, {name: {"cache_bytes": cache} for name in found})


@pytest.mark.parametrize(
    ("records", "verdict"),
    [
        (scaled(), HOLDS),
        (scaled(attention=1.7), FAILS),
        (scaled(attention=2.4), FAILS),  # the rule has two sides
        (scaled(mamba=1.2), FAILS),
        (scaled(rwkv4=0.8), FAILS),
        (scaled(steps=1.2), FAILS),
        (scaled(spread=0.3), NOT_DECIDED),
        (scaled(cache=10**9), NOT_DECIDED),  # everything fits into the cache
        (Results({"attention": scaled()["attention"]}), NOT_DECIDED),
    ],
)
def test_scaling(records, verdict):
    findings = scaling.judge(records)
    assert findings[0].verdict == verdict, findings
    assert all(each.decided_by for each in findings)


def test_operators_alone_can_decide():
    records = scaled()
    assert verdict_of(2, Results({name: records[name] for name in ("operators", "attention")}, records.peaks)) == HOLDS


def test_lengths_that_fit_into_the_cache_are_not_judged():
    """At 1,024 tokens a scan's operands have 1 MB, of 4 that fit; a step's, too, and at 4,096 tokens just not."""
    records = scaled()
    for part in ("operators", "steps"):  # twice as fast where the cache holds it
        records[part] = [
            record(r.cell.measure, r.cell.model, 1024, 512.0, rows=[r.row.columns()]) if r.cell.length == 1024 else r
            for r in records[part]
        ]
    findings = scaling.judge(records)
    scan = found(findings, "Mamba's scan alone, forward and gradient: exponent of the time")
    assert scan.estimate.value == pytest.approx(1, abs=0.01)
    assert scan.lengths == (8192, 65_536)
    assert scan.note == "8 MB at the shortest of 4 lengths; 1 fit into the cache"
    assert scan.verdict == HOLDS
    step = found(findings, "mamba, training step: exponent of the time")
    assert step.lengths == (4096, 16_384)


def test_a_curve_of_two_algorithms_has_no_exponent():
    records = scaled()
    records["attention"] = [
        record(
            "operator",
            "transformer",
            r.cell.length,
            r.row.number("time_median_ms"),
            rows=[r.row.columns() | {"calls": calls}],
        )
        for r, calls in zip(records["attention"], ("none", "attention_forward", "attention_forward"), strict=True)
    ]
    found = scaling.judge(records)[0]
    assert (found.estimate, found.verdict) == (None, NOT_DECIDED)
    assert found.note.startswith("not decided: attention alone")
    assert scaling.judge(records)[1].note.startswith("more than one algorithm: attention_forward, none")


def test_exact_exponents_and_what_is_said():
    findings = scaling.judge(scaled())
    work = found(findings, "attention alone, forward and gradient: exponent of FLOPs")
    assert (work.estimate.value, work.confidence, work.verdict) == (pytest.approx(2), None, HOLDS)
    assert work.lengths == (8192, 65_536)
    moved = found(findings, "attention alone, forward and gradient: exponent of the bytes")
    assert moved.estimate.value == pytest.approx(1)
    whole = found(findings, "transformer, training step: exponent of the time")
    assert whole.estimate.value == pytest.approx(1.4, abs=0.01)
    assert whole.verdict == REPORTED
    assert findings[0].says == ("Exponents of time against length: attention 2.00, Mamba's scan 1.00, RWKV's scan 1.00")
    text = drawn(2, scaled())
    assert "attention: exponent 2.00" in text
    assert "mamba: exponent 1.00" in text
