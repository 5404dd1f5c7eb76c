"""Claim 8: its judge on errors and losses whose truth is known."""

import math
from dataclasses import replace

import numpy as np
import pytest

from lengthscale.bench.claims import discretisation
from lengthscale.bench.claims.claim import FAILS, HOLDS, NOT_DECIDED, REPORTED
from lengthscale.bench.results import intervals
from lengthscale.models.catalogue import FORMER_NAMES
from tests.helpers.claim_records import drawn, parts, record, verdict_of

STARTS = tuple(discretisation.STARTS)
STEPS = [10**exponent for exponent in np.linspace(-5, -1, 17)]


def stepped(order=3.0, zoh=1e-15):
    """Errors of a known order, and of nothing simple where dt |A| is large, as they are."""
    found = []
    for model in (discretisation.ZOH, discretisation.BILINEAR):
        errors = [zoh if model == "s4d" else 1e4 * dt**order if dt < 3e-3 else 1.0 for dt in STEPS]
        rows = [
            {"dt": dt, "largest_z": 97 * dt, "transition_error": e, "held_error": e / 10, "ramp_error": dt**2 / 2}
            for dt, e in zip(STEPS, errors, strict=True)
        ]
        found.append(record("discretisation", model, 144, rows=rows))
    return found


def trained(gap=0.01, *, spread=0.1, noise=0.001, seeds=8, doubled=0.7, starts=STARTS, recipe="tuned"):
    """Losses that a seed moves by `spread`, by both rules alike, and `gap` between the rules."""
    found = []
    for start in starts:
        for rank, model in enumerate(discretisation.STARTS[start]):
            for seed in range(seeds):
                loss = 1 + gap * rank + spread * (seed % 3 - 1) + noise * (seed % 2) * rank
                cases = ((1.0, 1.0, 0.8), (0.5, 1.0, 0.2), (0.5, 2.0, doubled + 0.01 * seed))
                rows = [
                    {"rate": rate, "dt_factor": factor, "accuracy": accuracy, "loss": loss / rate}
                    | {"dt_p10": 0.9e-3, "dt_median": 1e-3, "dt_p90": 1.1e-3, "learning_rate": 0.01, "recipe": recipe}
                    for rate, factor, accuracy in cases
                ]
                found.append(record("resampling", model, 144, rows=rows, seed=seed))
    return found


def both(steps, losses):
    return parts({"errors": steps, "trained-0": losses})


@pytest.mark.parametrize(
    ("records", "verdict"),
    [
        (both(stepped(), trained()), HOLDS),
        (both(stepped(order=2.0), trained()), FAILS),
        (both(stepped(zoh=1e-9), trained()), FAILS),
        (both(stepped(), trained(gap=0.5)), FAILS),
        (both(stepped(), trained(gap=-0.5)), FAILS),
        (both(stepped(), trained(noise=0.6)), NOT_DECIDED),
        (both(stepped(), trained(recipe="untuned")), NOT_DECIDED),
        (both(stepped(), trained(seeds=2)), NOT_DECIDED),
        (both(stepped(), trained(starts=("1e-3",))), NOT_DECIDED),
        (both(stepped(), trained(doubled=0.1)), HOLDS),  # what doubling dt is worth decides nothing here
        (both([], trained()), NOT_DECIDED),
        (both(stepped(), []), NOT_DECIDED),
    ],
)
def test_discretisation(records, verdict):
    assert verdict_of(8, records) == verdict


def test_the_order_is_fitted_where_dt_is_small():
    overall, order, exact = discretisation.judge(both(stepped(), trained()))[:3]
    assert order.estimate.value == pytest.approx(3)
    assert (exact.estimate.value, exact.verdict) == (1e-15, HOLDS)
    ramps = [each for each in discretisation.judge(both(stepped(), trained())) if "rises" in each.measured]
    assert [ramp.estimate.value for ramp in ramps] == pytest.approx([2, 2])
    assert overall.says.startswith("Bilinear is of order 3.00 in dt; its loss less that by zero-order hold")
    rows = [row.columns() for row in stepped()[1].rows[:2]]
    few = [record("discretisation", discretisation.BILINEAR, 144, rows=rows)]
    assert discretisation.judge(both(few, []))[1].estimate is None


def test_records_with_former_names_are_judged_alike():
    now = both(stepped(), trained())
    former = {present: name for name, present in FORMER_NAMES.items()}
    then = parts(
        {
            part: [replace(each, cell=replace(each.cell, model=former.get(each.cell.model, "s4d"))) for each in records]
            for part, records in now.items()
        }
    )
    assert then != now
    assert discretisation.judge(then) == discretisation.judge(now)


def test_the_gap_of_a_seed_against_that_of_two_seeds():
    (gap,) = (
        each
        for each in discretisation.judge(both(stepped(), trained(noise=0.0)))[1:]
        if each.measured == "loss by bilinear less that by zero-order hold, dt starting at 1e-3"
    )
    spread = math.sqrt(2 * np.var([-0.1, 0, 0.1, -0.1, 0, 0.1, -0.1, 0], ddof=1))
    assert gap.estimate.value == pytest.approx(0.01 / spread)
    assert gap.note.startswith(f"+0.01 [+0.01, +0.01] nats, where two seeds differ by {spread:.3g}, at losses of 0.9")
    assert gap.note.endswith("learning rate 0.01 (tuned); after training dt is 0.0009 to 0.0011")
    assert (gap.unit, gap.n) == ("differences of two seeds", 8)
    text = drawn(8, both(stepped(), trained()))
    assert "bilinear: the state, order 3.00" in text
    assert "zero-order hold: the state bilinear" not in text


def test_the_interval_of_a_gap_covers_the_scatter_of_the_difference_of_two_seeds():
    """The truth is 0.5: pairs of losses whose scatter is 0.1 by either rule and that have half of it in common."""
    rng = np.random.default_rng(0)
    truth, inside, rounds = 0.5, 0, 400
    for _ in range(rounds):
        common, own = rng.normal(0, 0.1 / 2**0.5, (3, 16))[:1], rng.normal(0, 0.1 / 2**0.5, (2, 16))
        zoh, bilinear = common[0] + own[0], common[0] + own[1] + truth * 0.1 * 2**0.5
        found = intervals.jackknife(zoh, bilinear, discretisation.in_seeds)
        low, high = found.interval or (math.inf, math.inf)
        inside += low <= truth <= high
    assert 0.91 < inside / rounds < 0.98


@pytest.mark.parametrize("doubled", [0.7, 0.05])
def test_what_doubling_dt_is_worth(doubled):
    rates = discretisation.judge(both(stepped(), trained(doubled=doubled)))[-4:]
    assert {each.verdict for each in rates} == {REPORTED}
    assert rates[0].measured.startswith("zero-order hold, dt starting at 1e-3: accuracy that doubling dt")
    assert rates[0].estimate.value == pytest.approx(100 * (doubled + 0.035 - 0.2))
    assert rates[0].note == f"80.0% as trained, 20.0% with dt as it was, {100 * doubled + 3.5:.1f}% with 2 dt"


def test_a_start_whose_losses_scatter_more_has_more_seeds():
    _, *trained = discretisation.parts(15)
    options = [dict(zip(part.arguments[::2], part.arguments[1::2], strict=True)) for part in trained]
    assert [each["--models"] for each in options] == [",".join(models) for models in discretisation.STARTS.values()]
    seeds = [[int(seed) for seed in each["--seed"].split(",")] for each in options]
    assert [len(each) for each in seeds] == [8, 12, 40]
    assert min(map(min, seeds)) > 16  # those of the pilot take no part
