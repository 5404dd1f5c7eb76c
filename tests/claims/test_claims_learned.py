"""Claims 6 and 8: their judges on records whose truth is known."""

import math
from dataclasses import replace

import numpy as np
import pytest

from lengthscale.bench.claims import discretisation, small_data
from lengthscale.bench.claims.claim import FAILS, HOLDS, NOT_DECIDED
from lengthscale.bench.plan.status import Status
from lengthscale.models.catalogue import FORMER_NAMES
from tests.helpers.claim_records import drawn, parts, record, verdict_of

# 6: small data


def classified(gap, *, vit=0.5, images=(100, 500, 2000, 4000), seeds=3, scatter=0.001, rate=3e-3, flops=(0.9, 1.0)):
    """ViT's accuracy is `vit` on all sets, ResNet's gap(n) above it, both a little off by the seed."""
    found = {}
    for n in images:
        found[f"images-{n}-rate-{rate}"] = part = []
        for model, ahead, cost in (("resnet", gap(n), flops[0]), ("vit", 0.0, flops[1])):
            for seed in range(seeds):
                accuracy = vit + ahead + scatter * seed * (1 if model == "vit" else (-1) ** seed)
                row = {"accuracy": accuracy, "learning_rate": rate, "flops": cost * 1e8, "steps": 1000}
                each = record("quality", model, 16, rows=[row], seed=seed)
                part.append(replace(each, cell=replace(each.cell, data=f"mnist:images={n}")))
    return parts(found)


def shrinking(n):
    return 0.2 - 0.1 * math.log10(n / 100)


@pytest.mark.parametrize(
    ("records", "verdict"),
    [
        (classified(shrinking), HOLDS),
        (classified(shrinking, images=(100, 4000)), HOLDS),
        (classified(lambda n: 0.2), FAILS),  # ahead by exactly as much on all sets, for each seed
        (classified(lambda n: 0.1 + 0.1 * math.log10(n / 100)), FAILS),  # ahead, and more so with more images
        (classified(lambda n: -0.2 - 0.1 * math.log10(n / 100)), FAILS),  # behind
        (classified(shrinking, scatter=0.2), NOT_DECIDED),
        (classified(shrinking, seeds=2), NOT_DECIDED),
        (classified(shrinking, images=(100,)), NOT_DECIDED),  # no slope of one set
        (classified(shrinking, flops=(2.0, 1.0)), NOT_DECIDED),  # compute is not matched
    ],
)
def test_small_data(records, verdict):
    assert verdict_of(6, records) == verdict


def test_the_gap_its_slope_and_their_intervals():
    """Seeds 0, 1, 2 are off by 0, -2 and 0 tenths of a point: a mean of -1/15, a standard deviation of sqrt(1/75)."""
    overall, first, *_, last, slope = small_data.judge(classified(shrinking))
    half = 4.3027 * math.sqrt(1 / 75) / math.sqrt(3)
    assert first.measured == "accuracy of ResNet less that of ViT, trained on 100 images, 3 seeds"
    assert first.estimate.value == pytest.approx(20 - 1 / 15)
    assert first.estimate.interval == pytest.approx((20 - 1 / 15 - half, 20 - 1 / 15 + half), abs=1e-4)
    assert last.estimate.value == pytest.approx(100 * shrinking(4000) - 1 / 15)
    assert slope.estimate.value == pytest.approx(-10)
    assert slope.estimate.interval == pytest.approx((-10, -10))  # the seeds are off by as much at each
    assert overall.estimate == first.estimate
    assert overall.note.startswith("ResNet had 0.90 of ViT's FLOPs, in 1.0")
    text = drawn(6, classified(shrinking))
    assert "ResNet: 70.0% on 100, 54.0% on 4000" in text
    assert "ViT: 50.1% on 100, 50.1% on 4000" in text


def test_the_learning_rate_is_each_models_best_at_each_number_of_images():
    records = classified(shrinking, scatter=0.0)
    records |= classified(lambda n: 0.0, vit=0.6, images=(100,), rate=1e-3, scatter=0.0)
    records |= classified(lambda n: 0.0, vit=0.99, images=(100,), rate=1e-2, scatter=0.0, seeds=1)  # others diverged
    first = small_data.judge(parts(records))[1]
    assert first.estimate.value == pytest.approx(70 - 60)
    rates = "of 0.001, 0.003, 0.01"
    assert first.note == f"resnet 70.0% at learning rate 0.003 {rates}, vit 60.0% at learning rate 0.001 {rates}"


def test_a_seed_that_one_model_lacks_is_in_no_pair():
    records = classified(shrinking, seeds=4)
    part = records["images-100-rate-0.003"]
    part[0] = replace(part[0], status=Status.NAN, rows=())
    findings = small_data.judge(records)
    assert findings[1].measured.endswith("100 images, 3 seeds")
    assert len(small_data.slopes_of(small_data.gaps(records))) == 3


# 8: discretisation

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


def trained(gap=0.01, *, spread=0.1, noise=0.001, seeds=5, doubled=0.7, kept=0.2, starts=("1e-3", "1e-1")):
    """Losses that a seed moves by `spread`, by both rules alike, and `gap` between the rules."""
    found = []
    for start in starts:
        for rank, model in enumerate(discretisation.STARTS[start]):
            for seed in range(seeds):
                loss = 1 + gap * rank + spread * (seed % 3 - 1) + noise * (seed % 2) * rank
                cases = ((1.0, 1.0, 0.8), (0.5, 1.0, kept), (0.5, 2.0, doubled + 0.01 * seed))
                rows = [
                    {"rate": rate, "dt_factor": factor, "accuracy": accuracy, "loss": loss / rate}
                    | {"dt_p10": 0.9e-3, "dt_median": 1e-3, "dt_p90": 1.1e-3}
                    for rate, factor, accuracy in cases
                ]
                found.append(record("resampling", model, 144, rows=rows, seed=seed))
    return found


def both(steps, losses):
    return parts({"errors": steps, "trained": losses})


@pytest.mark.parametrize(
    ("records", "verdict"),
    [
        (both(stepped(), trained()), HOLDS),
        (both(stepped(), trained(starts=tuple(discretisation.STARTS))), HOLDS),
        (both(stepped(order=2.0), trained()), FAILS),
        (both(stepped(zoh=1e-9), trained()), FAILS),
        (both(stepped(), trained(gap=0.5)), FAILS),
        (both(stepped(), trained(gap=-0.5)), FAILS),
        (both(stepped(), trained(noise=0.4)), NOT_DECIDED),
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
    overall, order, exact, *ramps = discretisation.judge(both(stepped(), trained()))[:5]
    assert (order.estimate.value, *order.estimate.interval) == pytest.approx((3, 3, 3))
    assert (exact.estimate.value, exact.verdict) == (1e-15, HOLDS)
    assert [ramp.estimate.value for ramp in ramps] == pytest.approx([2, 2])
    assert overall.measured.startswith(
        "order in dt of the bilinear transform's error in a step (loss gap at dt=1e-3 +0.0"
    )
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
    gap = discretisation.judge(both(stepped(), trained(noise=0.0)))[5]
    assert gap.measured == "loss by bilinear less that by zero-order hold, dt starting at 1e-3, 5 seeds"
    assert (gap.estimate.value, *gap.estimate.interval) == pytest.approx((0.01, 0.01, 0.01))
    spread = math.sqrt(2 * np.var([-0.1, 0, 0.1, -0.1, 0], ddof=1))
    assert gap.note == f"two seeds differ by {spread:.3g} at losses of 0.985; after training dt is 0.0009 to 0.0011"
    drawn_seeds = np.random.default_rng(0).normal(0, 0.3, (4000, 2))
    assert discretisation.between_seeds(drawn_seeds) == pytest.approx(0.3 * math.sqrt(2), rel=0.02)
    text = drawn(8, both(stepped(), trained()))
    assert "bilinear: the state, order 3.00" in text
    assert "zero-order hold: the state bilinear" not in text
    assert "loss gap, dt from 1e-3: +0.010" in text


@pytest.mark.parametrize(("doubled", "verdict"), [(0.7, HOLDS), (0.05, FAILS), (0.18, NOT_DECIDED)])
def test_what_doubling_dt_is_worth(doubled, verdict):
    rates = discretisation.judge(both(stepped(), trained(doubled=doubled, seeds=5)))[-4:]
    assert {each.verdict for each in rates} == {verdict}
    assert rates[0].measured.startswith("zero-order hold, dt starting at 1e-3: accuracy that doubling dt")
    assert rates[0].estimate.value == pytest.approx(100 * (doubled + 0.02 - 0.2))
    assert rates[0].note == f"80.0% as trained, 20.0% with dt as it was, {100 * doubled + 2:.1f}% with 2 dt"
