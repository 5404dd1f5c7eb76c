"""Claims 1, 2, 3 and 7: their judges on records whose truth is known."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from lengthscale.bench.claims import decode_speed, long_dependencies, parallel_and_recurrent, scaling
from lengthscale.bench.claims.claim import FAILS, HOLDS, NOT_DECIDED, CellRow, Results
from lengthscale.bench.plan.cell import Cell
from lengthscale.bench.plan.status import Status
from lengthscale.bench.results.record import Row
from tests.helpers.claim_records import drawn, parts, record, verdict_of

# 1: long dependencies


def learned(model, *, error, decades, seeds=3, rate=0.003, scatter=0.0):
    """Results after training: norms 10^(decades x lag), a loss around `error` for each seed."""
    found = []
    for seed in range(seeds):
        known = {"learning_rate": rate, "train_loss": error + scatter * seed}
        rows = [
            known | {"trained": trained, "distance": lag, "grad_norm": 10 ** (decades * trained * 1.4 * lag - 2)}
            for trained in (0, 1)
            for lag in (0, 1, 2, 4, 8, 16, 32, 64)
        ]
        found.append(record("gradients", model, 100, rows=rows, seed=seed))
    return found


CELL = Cell("gradients", "rnn-plain", "tiny", "auto", 100, 32, "float32", 0, "adding", 0)


def of_all(rnn, gru, lstm):
    return parts(
        {"rate-3e-3": learned("rnn-plain", **rnn) + learned("gru-plain", **gru) + learned("lstm-plain", **lstm)}
    )


LOST: dict[str, Any]
KEPT: dict[str, Any]
LOST, KEPT = {"error": 0.16, "decades": -0.3, "scatter": 0.001}, {"error": 3e-4, "decades": -0.001, "scatter": 1e-4}


@pytest.mark.parametrize(
    ("records", "verdict"),
    [
        (of_all(LOST, KEPT, KEPT), HOLDS),
        (of_all(KEPT, KEPT, KEPT), FAILS),  # a plain RNN that learns it
        (of_all(LOST, KEPT, LOST), FAILS),
        (of_all(LOST, KEPT, {**KEPT, "scatter": 0.01}), NOT_DECIDED),
        (of_all(LOST, KEPT, {**KEPT, "seeds": 2}), NOT_DECIDED),
    ],
)
def test_long_dependencies(records, verdict):
    assert verdict_of(1, records) == verdict


def test_the_learning_rate_is_each_models_best():
    records = of_all(LOST, KEPT, KEPT) | {
        "rate-1e-3": learned("rnn-plain", **LOST, rate=1e-3)
        + learned("gru-plain", error=0.1, decades=-0.001, rate=1e-3),
        "rate-1e-1": learned("gru-plain", error=1e-6, decades=0, rate=0.1, seeds=1),  # the others diverged
    }
    findings = long_dependencies.judge(parts(records))
    (gru,) = (each for each in findings if each.measured.startswith("gru-plain: squared"))
    assert gru.estimate.value == pytest.approx(4e-4)  # 3, 4 and 5 e-4
    assert gru.note == "learning rate 0.003 of 0.001, 0.003, 0.1"
    half = 4.3027 * 1e-4 / math.sqrt(3)  # Student's t of 2 degrees of freedom
    assert gru.estimate.interval == pytest.approx((4e-4 - half, 4e-4 + half), rel=1e-4)
    assert "gru-plain: squared error 0.0004" in drawn(1, records)


def test_the_slope_of_gradients_that_vanish_below_float32():
    rows = [
        CellRow(CELL, Row(distance=lag, grad_norm=10 ** (-0.2 * middle) if lag < 32 else 0.0))
        for lag, middle in ((0, 0), (1, 1), (2, 2.5), (4, 5.5), (8, 11.5), (16, 23.5), (32, 47.5), (64, 81.5))
    ]
    assert [long_dependencies.lag_of(row) for row in rows] == [0, 1, 2.5, 5.5, 11.5, 23.5, 47.5, 81.5]
    last = (47.5, math.log10(1.1e-19))
    known = np.array([(middle, -0.2 * middle) for middle in (0, 1, 2.5, 5.5, 11.5, 23.5)] + [last])
    covariance = np.cov(known.T)
    assert long_dependencies.slope_of(rows) == pytest.approx(covariance[0, 1] / covariance[0, 0])
    assert long_dependencies.slope_of(rows[:6]) == pytest.approx(-0.2)
    assert long_dependencies.slope_of(rows[-3:]) is None  # two points


# 2: scaling

LENGTHS = (256, 1024, 4096, 16_384)


def curve(model, cost, measure="train", lengths=LENGTHS, **options):
    return [
        record(measure, model, length, cost(length), rows=[{"mem_peak_bytes": length}], **options) for length in lengths
    ]


def quadratic(length):
    return 2 + 1e-2 * length + 1e-5 * length**2


def scaled(mamba=lambda length: 0.03 * length, lengths=LENGTHS, spread=0.002):
    linear = {"mamba": mamba, "rwkv4": lambda length: 0.02 * length}
    return parts(
        {
            measure: curve("transformer", quadratic, measure, lengths, spread=spread)
            + [each for model, cost in linear.items() for each in curve(model, cost, measure, lengths, spread=spread)]
            for measure in ("forward", "train")
        }
    )


@pytest.mark.parametrize(
    ("records", "verdict"),
    [
        (scaled(), HOLDS),
        (scaled(mamba=quadratic), FAILS),
        (scaled(spread=0.1), NOT_DECIDED),
        (scaled(lengths=LENGTHS[1:]), NOT_DECIDED),  # too few for a fit
    ],
)
def test_scaling(records, verdict):
    assert verdict_of(2, records) == verdict


def test_attentions_own_exponent_is_free_of_the_linear_part():
    def own(cost):
        (found,) = (c for c in scaling.curves_of(curve("transformer", cost, spread=0.0)) if c.quantity == "time_ms")
        return scaling.own_part(found)

    square, less = (own(lambda length, power=power: length + 1e-5 * length**power).exponent for power in (2, 1.5))
    assert (square.value, square.low, square.high) == pytest.approx((2, 2, 2))
    assert (less.value, less.low, less.high) == pytest.approx((1.5, 1.5, 1.5))
    assert own(quadratic).lengths == (1024, 16_384)
    assert own(lambda length: length**0.9).exponent is None  # there is no such part
    assert scaling.own_part(None) == scaling.OwnPart()


def test_the_crossover_is_found():
    findings = scaling.judge(scaled())
    (crossing,) = (
        each for each in findings if each.measured == "train: length from which mamba is cheaper than transformer"
    )
    truth = 1885.6  # the root of 2 + 0.01 L + 1e-5 L^2 = 0.03 L
    assert crossing.verdict == HOLDS
    assert crossing.estimate.value == pytest.approx(truth, rel=0.05)
    assert f"mamba: exponent 1.00, cheaper than transformer from {crossing.estimate.value:,.0f}" in drawn(2, scaled())


# 3: decoding


def decoded(ratio, spread=0.002):
    """A step takes a Transformer `ratio` times as long at the largest cache, and as long as Mamba at the smallest."""
    found = {}
    for batch in (1, 8, 32):
        part = found[f"batch-{batch}"] = []
        for length in (1024, 16_384):
            fits = batch * length <= 8 * 16_384
            share = (length * batch - 1024) / (8 * 16_384 - 1024)
            state = {"state_bytes": 6000 * batch}
            part.append(record("decode", "mamba", length, spread=spread, rows=[state], batch=batch))
            for slow, size in (("transformer", 16), ("transformer++", 4)):
                ms, cache = 1 + (ratio - 1) * share, {"state_bytes": size * length * batch}
                status = "ok" if fits else "skipped"
                part.append(record("decode", slow, length, ms, spread=spread, status=status, rows=[cache], batch=batch))
    return parts(found)


@pytest.mark.parametrize(
    ("records", "verdict"),
    [(decoded(5.0), HOLDS), (decoded(2.0), FAILS), (decoded(4.0, spread=0.3), NOT_DECIDED)],
)
def test_decode_speed(records, verdict):
    assert verdict_of(3, records) == verdict
    first = decode_speed.judge(records)[0]
    assert first.measured.endswith("tokens/s at a context of 16384, batch 8")
    assert first.lengths == (16_384, 16_384)


def test_the_ratio_at_each_models_own_batch():
    """Mamba makes 32 tokens in a step of 1 ms, the Transformer 8 in one of 5 ms."""
    findings = decode_speed.judge(decoded(5.0))
    own = next(each for each in findings if "largest batch" in each.measured)
    assert own.measured.endswith("context 16384: 32 and 8")
    assert own.estimate.value == pytest.approx(20, rel=0.01)
    assert own.note == "larger batches than 32 were not tried"


def test_what_the_paper_foretells():
    """(1000 parameters of 4 bytes + the state) / 10 GB/s."""
    records = decoded(5.0)
    places = decode_speed.places(records, "transformer")
    assert [(place.length, place.batch) for place in places] == [
        *((1024, 1), (1024, 8), (16_384, 1), (1024, 32), (16_384, 8))
    ]
    first = places[0]
    assert first.predicted == pytest.approx((4000 + 16 * 1024) / (4000 + 6000))
    assert decode_speed.predicted_ms(first.fast, records) == pytest.approx(10_000 / 1e10 * 1e3)
    assert decode_speed.predicted_ms(first.fast, Results(records)) is None
    finding = next(each for each in decode_speed.judge(decoded(5.0)) if "measured over predicted" in each.measured)
    assert finding.estimate.value == pytest.approx(1 / first.predicted, rel=0.01)
    assert finding.verdict == FAILS
    texts = drawn(3, decoded(5.0))
    assert "transformer: 5x (predicted 4" in texts
    assert "transformer: skipped" in texts


# 7: parallel and recurrent


def both_forms(difference, rwkv=1.0, attention=(1.2, 5.0), spread=0.002):
    rows = [{"max_difference": difference, "largest_logit": 5.0}]
    costs = {"rwkv4": (1.0, 1.0, rwkv), "transformer": (1.0, *attention), "mamba": (1.0, 1.0, 1.0)}
    return parts(
        {
            "agreement": [
                record("agreement", "rwkv4", length, rows=rows, method="associative") for length in (256, 1024)
            ],
            "decode": [
                record("decode", model, length, ms, spread=spread)
                for model, times in costs.items()
                for length, ms in zip((1024, 16_384, 65_536), times, strict=True)
            ],
        }
    )


@pytest.mark.parametrize(
    ("records", "verdict"),
    [
        (both_forms(1e-6), HOLDS),
        (both_forms(1e-3), FAILS),
        (both_forms(1e-6, rwkv=1.5), FAILS),
        (both_forms(1e-6, attention=(5.0, 5.0)), NOT_DECIDED),  # it may have stopped growing
        (both_forms(1e-6, attention=(5.0, 4.0)), FAILS),
        (both_forms(1e-6, spread=0.4), NOT_DECIDED),
    ],
)
def test_parallel_and_recurrent(records, verdict):
    assert verdict_of(7, records) == verdict


def test_the_ratio_of_times_and_its_interval():
    findings = parallel_and_recurrent.judge(both_forms(1e-6))
    grown = findings[3]
    assert grown.estimate.value == pytest.approx(5, rel=0.005)
    assert grown.estimate.interval == pytest.approx((5, 5), rel=0.02)
    assert grown.lengths == (1024, 65_536)
    assert "transformer: 1 ms at 1024, 5.01 ms at 65536" in drawn(7, both_forms(1e-6))


def test_logits_that_are_no_numbers_disagree():
    records = both_forms(1e-6)
    agreement = records["agreement"]
    agreement[0] = replace(agreement[0], status=Status.NAN, message="the logits' largest difference is nan")
    assert verdict_of(7, records) == FAILS
