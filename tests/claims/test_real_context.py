"""Claim 4: its judge on losses whose truth is known."""

import numpy as np
import pytest

from lengthscale.bench.claims import real_context
from lengthscale.bench.claims.claim import FAILS, HOLDS, NOT_DECIDED
from lengthscale.bench.data import keyed
from tests.helpers.claim_records import drawn, found, parts, record_of_places

CONTEXTS = [4**power for power in range(11)]
SHORT, LONG = real_context.LENGTHS
NO_GAIN = [0.0] * 10


def trained_at(length, gains, *, scatter=0.002, shuffled=0.0, **options):
    """Results of 3 seeds. gains: of each fourfold context; shuffled: the loss so, over that given 256."""
    longest = length if length == SHORT else CONTEXTS[-1]
    losses = 5.0 - np.concatenate([[0], np.cumsum(gains)])
    points: list[tuple] = [(c, None, loss, scatter) for c, loss in zip(CONTEXTS, losses, strict=True) if c <= longest]
    points.append((points[-1][0], "shuffled beyond 256", losses[4] + shuffled, scatter))
    return [record_of_places("mamba", "code", points, seed=seed, length=length, **options) for seed in (1, 2, 3)]


def control(length, share=0.98):
    """Results of 3 seeds that find this share of the possible gain, between a quarter of the length and all of it."""
    loss = keyed.CHANCE
    points = [(length // 4, None, loss, 0.01), (length, None, loss * (1 - share), 0.01)]
    data = f"keyed:distance={length}"
    return [record_of_places("mamba", data, points, seed=seed, length=length) for seed in (1, 2, 3)]


def records(gains, *, powers=(0.98, 0.98), **options):
    real = {f"real-{length}": trained_at(length, gains, **options) for length in (SHORT, LONG)}
    controls = {
        f"control-{length}": control(length, share) for length, share in zip((SHORT, LONG), powers, strict=True)
    }
    return parts(controls | real)


RISING = [0.05] * 10
FLAT_FROM_4K = [0.05] * 5 + NO_GAIN[5:]


@pytest.mark.parametrize(
    ("given", "verdict", "largest"),
    [
        (records(RISING), HOLDS, 2**20),
        (records(FLAT_FROM_4K), FAILS, 1024),
        (records([0.05] * 5 + [-0.2] * 5), FAILS, 1024),  # worse beyond
        (records(FLAT_FROM_4K, powers=(0.98, 0.1)), NOT_DECIDED, 1024),  # no power where it is flat
        (records(FLAT_FROM_4K, powers=(0.98, 0.8)), FAILS, 1024),
        (records([0.05] * 7 + [0.0] * 3), NOT_DECIDED, 2**14),  # flat where nobody has looked for power
        (records([0.05] * 3 + [0.0] + [0.05] * 6), NOT_DECIDED, 64),  # flat, and then better again
        (records([0.05] * 3 + [0.0005] * 7, scatter=1e-5), HOLDS, 2**20),  # little, but surely
        (records([0.002] * 10, scatter=0.2), NOT_DECIDED, None),
        (records(FLAT_FROM_4K, recipe="nearest"), NOT_DECIDED, None),
        (records(RISING, shuffled=-0.25), NOT_DECIDED, 2**20),  # nearly as good without the order
        (parts({f"real-{length}": trained_at(length, FLAT_FROM_4K) for length in (SHORT, LONG)}), NOT_DECIDED, 1024),
        (parts({"control-1024": control(SHORT)}), NOT_DECIDED, None),
    ],
)
def test_real_context(given, verdict, largest):
    findings = real_context.judge(given)
    assert findings[0].verdict == verdict, findings
    assert (findings[0].estimate.value if findings[0].estimate else None) == largest
    assert all(each.decided_by for each in findings)


def test_each_context_is_read_by_the_model_that_was_trained_for_it():
    given = records(FLAT_FROM_4K, places={2**18: 12, 2**20: 3})
    findings = real_context.judge(given)
    step = found(findings, "mamba trained at 1,024 on code: loss given 1,024 tokens less that given 256")
    assert step.estimate.value == pytest.approx(-0.05, abs=0.01)
    assert (step.verdict, step.lengths, step.n) == (HOLDS, (256, 1024), 3)
    assert step.note == "40 places; learning rate 0.01 (tuned)"
    flat = found(findings, "mamba trained at 16,384 on code: loss given 4,096 tokens less that given 1,024")
    assert flat.verdict == FAILS
    beyond = found(findings, "mamba trained at 16,384 on code: loss given 65,536 tokens")
    assert (beyond.verdict, "without" in beyond.note or "no power" in beyond.note) == (NOT_DECIDED, True)
    last = found(findings, "mamba trained at 16,384 on code: loss given 1,048,576 tokens")
    assert last.note.startswith("3 places")


def test_the_control_is_a_share_of_the_possible_gain():
    findings = real_context.judge(records(FLAT_FROM_4K, powers=(0.98, 0.1)))
    short, long = (each for each in findings if each.measured.startswith("control: mamba trained at"))
    assert short.estimate.value == pytest.approx(0.98, abs=0.06)
    assert (short.verdict, long.verdict) == (HOLDS, FAILS)
    assert findings[0].note == "no power at 16,384 tokens"
    assert findings[0].says == ("A tiny Mamba gets better up to 1,024 tokens; it has power to find a gain at 1,024")
    texts = drawn(4, records(FLAT_FROM_4K))
    for expected in ("mamba: better", "mamba: flat, worse, or not decided", "trained lengths"):
        assert expected in texts
