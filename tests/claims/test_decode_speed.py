"""Claim 3: its judge on times whose truth is known."""

import math

import pytest

from lengthscale.bench.claims import decode_speed
from lengthscale.bench.claims.claim import FAILS, HOLDS, NOT_DECIDED, REPORTED, Results
from tests.helpers.claim_records import drawn, found, parts, record, verdict_of

BATCHES, PROMPTS, CONTEXTS = (1, 8, 32), (512, 2048), (1024, 16_384)


def generated(ratio, spread=0.002):
    """Mamba makes most tokens a second at batch 32, the Transformers at batch 8; there Mamba is `ratio` as fast."""
    made = {}
    for batch in BATCHES:
        made[f"generate-{batch}"] = [
            record("generate", model, length, ms, spread=spread, batch=batch)
            for length in PROMPTS
            for model, ms in (
                ("mamba", 10 * batch**0.8),
                ("transformer", 10 * 32**0.8 / 32 * ratio * max(batch, batch**2 / 8)),
                ("transformer++", 10 * 32**0.8 / 32 * max(batch, batch**2 / 8)),
            )
        ]
    return made


def decoded(spread=0.002):
    """A Transformer's token takes 1 ms and nearly 1 more for each 1,024 tokens of cache; Mamba's 1 ms."""
    made = {}
    for batch in BATCHES:
        part = made[f"decode-{batch}"] = []
        for length in CONTEXTS:
            state = {"state_bytes": 6000 * batch}
            part.append(record("decode", "mamba", length, spread=spread, rows=[state], batch=batch))
            for slow, size in (("transformer", 16), ("transformer++", 4)):
                ms, cache = 1 + size / 16.5 * length / 1024, {"state_bytes": size * length * batch}
                status = "ok" if batch * length <= 8 * 16_384 else "skipped"
                part.append(record("decode", slow, length, ms, spread=spread, status=status, rows=[cache], batch=batch))
    return made


@pytest.mark.parametrize(
    ("records", "verdict"),
    [
        (generated(5.0), HOLDS),
        (generated(2.0), FAILS),
        (generated(21.0), FAILS),  # the rule has two sides
        (generated(4.0, spread=0.1), NOT_DECIDED),
        (decoded(), NOT_DECIDED),  # decoding alone is not the paper's place
    ],
)
def test_decode_speed(records, verdict):
    assert verdict_of(3, records) == verdict


def test_the_ratio_at_each_models_own_batch():
    overall, grouped, *_ = decode_speed.judge(parts(generated(5.0)))
    assert overall.measured == (
        "mamba over transformer (multi-head): tokens/s, prompt 2,048 and 128 new tokens, each at its best batch"
    )
    assert overall.estimate.value == pytest.approx(5, rel=0.01)
    speed = 32 * 128 / (10 * 32**0.8) * 1e3
    mine, theirs = overall.note.split("; ")
    assert mine.endswith("tokens/s at batch 32, the largest tried")
    assert float(mine.split()[1].replace(",", "")) == pytest.approx(speed, rel=0.01)
    assert theirs.endswith("tokens/s at batch 8") or theirs.endswith("tokens/s at batch 1")
    assert overall.lengths == (2048, 2048)
    assert overall.n == 3
    assert grouped.estimate.value == pytest.approx(1, rel=0.01)
    assert grouped.verdict == REPORTED


def test_the_context_at_which_decoding_passes_five_times():
    """By a straight line between logarithms."""
    findings = decode_speed.judge(parts(generated(5.0) | decoded()))
    passing = found(findings, "mamba over transformer (multi-head): context at which decoding passes 5x, batch 1")
    low, high = 1 + 16 / 16.5, 1 + 16 * 16 / 16.5
    truth = 1024 * 16 ** (math.log(5 / low) / math.log(high / low))
    assert passing.estimate.value == pytest.approx(truth, rel=0.01)
    low_end, high_end = passing.estimate.interval or (0, 0)
    assert low_end < truth < high_end
    assert passing.note == "2x at 1,024, 17x at 16,384"
    grouped = found(
        findings, "mamba over transformer++ (grouped queries): context at which decoding passes 5x, batch 8"
    )
    assert grouped.estimate is None  # 1.25 to 5, less a little
    assert "decodes 2 to 17 times as fast" in findings[0].says


def test_what_the_paper_predicts():
    """(1000 parameters of 4 bytes + the state) / 10 GB/s."""
    records = parts(decoded())
    places = decode_speed.places(records, "decode", "transformer")
    assert [(place.length, place.batch) for place in places] == [
        *((1024, 1), (1024, 8), (16_384, 1), (1024, 32), (16_384, 8))
    ]
    first = places[0]
    assert first.predicted == pytest.approx((4000 + 16 * 1024) / (4000 + 6000))
    assert decode_speed.predicted_ms(first.fast, records) == pytest.approx(10_000 / 1e10 * 1e3)
    assert decode_speed.predicted_ms(first.fast, Results(records)) is None
    finding = next(each for each in decode_speed.judge(records) if "measured over predicted" in each.measured)
    assert finding.estimate.value == pytest.approx((1 + 16 / 16.5) / first.predicted, rel=0.01)
    assert finding.verdict == REPORTED
    texts = drawn(3, generated(5.0) | decoded())
    assert "multi-head: 2x" in texts
    assert "multi-head: skipped" in texts
