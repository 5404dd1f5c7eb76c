"""Claim 1: the T at which each model fails, on records whose truth is known."""

import math

import numpy as np
import pytest

from lengthscale.bench.claims import long_dependencies
from lengthscale.bench.claims.claim import FAILS, HOLDS, NOT_DECIDED, CellRow
from lengthscale.bench.claims.long_dependencies import CHANCE
from lengthscale.bench.plan.cell import Cell
from lengthscale.bench.results.record import Row
from tests.helpers.claim_records import drawn, found, parts, record, verdict_of

LENGTHS = (100, 200, 400, 800)
SOLVED, FAILED = 1e-3, 0.16


def learned(model, length, error, *, scatter=1e-4, seeds=3, recipe="tuned"):
    """A result of each seed: norms 10^(-lag / 100), an error around `error`."""
    for seed in range(seeds):
        known = {"learning_rate": 0.003, "recipe": recipe, "train_loss": error + scatter * seed}
        rows = [
            known | {"trained": trained, "distance": lag, "grad_norm": 10 ** (-0.01 * trained * 1.4 * lag - 2)}
            for trained in (0, 1)
            for lag in (0, 1, 2, 4, 8, 16, 32, 64)
        ]
        yield record("gradients", model, length, rows=rows, seed=1 + seed)


def failing_at(rnn, gru, lstm, lengths=LENGTHS, **options):
    """Each model solves all T below the given one, and none from there on."""
    first = {"rnn-plain": rnn, "gru-plain": gru, "lstm-plain": lstm}
    return parts(
        {
            f"T-{length}": [
                each
                for model, failure in first.items()
                for each in learned(model, length, SOLVED if length < failure else FAILED, **options)
            ]
            for length in lengths
        }
    )


NEVER = 10**6


@pytest.mark.parametrize(
    ("records", "verdict"),
    [
        (failing_at(200, NEVER, NEVER), HOLDS),
        (failing_at(200, NEVER, 800), HOLDS),  # 4 times as far
        (failing_at(200, NEVER, 400), FAILS),  # the RNN solves 100, over a quarter of where the LSTM fails
        (failing_at(400, NEVER, 400), FAILS),  # it solves 200, and an LSTM does not solve 400
        (failing_at(NEVER, NEVER, NEVER), FAILS),
        (failing_at(100, 100, 100), NOT_DECIDED),  # the RNN may solve a quarter of it, or not
        (failing_at(200, NEVER, NEVER, scatter=0.2), NOT_DECIDED),
        (failing_at(200, NEVER, NEVER, seeds=2), NOT_DECIDED),
        (failing_at(200, NEVER, NEVER, recipe="untuned"), NOT_DECIDED),  # a rate that nobody has searched
        (failing_at(200, NEVER, NEVER, lengths=(100, 200)), NOT_DECIDED),  # 400 was not measured
    ],
)
def test_long_dependencies(records, verdict):
    assert verdict_of(1, records) == verdict


def test_the_t_at_which_each_model_fails():
    records = failing_at(400, NEVER, 800)
    overall, *others = long_dependencies.judge(records)
    assert (overall.estimate.value, overall.estimate.low, overall.estimate.high) == (400, 200, 400)
    assert overall.lengths == (100, 800)
    assert overall.says == (
        "On the adding problem: plain RNN fails at 400 steps; GRU solves up to 800 steps; LSTM fails at 800 steps"
    )
    lstm = found(others, "lstm-plain: squared error on the adding problem, T=200")
    assert lstm.verdict == HOLDS
    assert lstm.estimate.value == pytest.approx(SOLVED + 1e-4)
    assert lstm.note == "learning rate 0.003 (tuned); of each seed 0.001, 0.0011, 0.0012"
    assert lstm.n == 3
    assert lstm.confidence > 0.95
    text = drawn(1, records)
    for expected in ("plain RNN", "LSTM", "always answering 1", "half of it: failed"):
        assert expected in text
    assert long_dependencies.LOST == CHANCE / 2


def test_a_model_that_solves_by_chance_of_the_seed_is_unclear():
    records = failing_at(200, NEVER, NEVER)
    others = [each for each in records["T-200"] if each.cell.model != "rnn-plain"]
    (solved, *_), (_, *failed) = learned("rnn-plain", 200, SOLVED), learned("rnn-plain", 200, FAILED)
    records["T-200"] = [*others, solved, *failed]
    overall = long_dependencies.judge(records)[0]
    assert "plain RNN fails at 400 steps; unclear at 200" in overall.says
    assert overall.estimate.low == 100


CELL = Cell("gradients", "rnn-plain", "tiny", "auto", 100, 32, "float32", 0, "adding", 0)


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
