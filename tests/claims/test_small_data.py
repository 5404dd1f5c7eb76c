"""Claim 6: its judge on accuracies whose truth is known."""

import math
from dataclasses import replace

import numpy as np
import pytest

from lengthscale.bench.claims import small_data
from lengthscale.bench.claims.claim import FAILS, HOLDS, NOT_DECIDED
from lengthscale.bench.plan.status import Status
from tests.helpers.claim_records import drawn, parts, record, verdict_of

ALL = small_data.IMAGES
HELD_OUT = 10_000


def odds(value):
    """The accuracy of these log-odds."""
    return 1 / (1 + math.exp(-value))


def classified(lead, *, images=ALL, seeds=5, scatter=0.001, recipe="tuned", flops=(0.9, 1.0), held_out=HELD_OUT):
    """ViT's log-odds grow with the images; ResNet's are lead(n) above them, both a little off by the seed."""
    found = {}
    for n in images:
        vit = math.log10(n / 100)
        found[f"images-{n}"] = part = []
        for model, ahead, cost in (("resnet", lead(n), flops[0]), ("vit", 0.0, flops[1])):
            for seed in range(1, seeds + 1):
                accuracy = odds(vit + ahead + scatter * seed * (1 if model == "vit" else (-1) ** seed))
                row = {"accuracy": accuracy, "n_sequences": held_out, "learning_rate": 3e-3, "recipe": recipe}
                curve = {"seen_tokens": 1, "learning_rate": 3e-3, "recipe": recipe}
                rows = [each | {"flops": cost * 1e8, "steps": 1000} for each in (row, curve)]
                each = record("quality", model, 16, rows=rows, seed=seed)
                part.append(replace(each, cell=replace(each.cell, data=f"mnist:images={n}")))
    return parts(found)


def shrinking(n):
    return 1.0 - 0.5 * math.log10(n / 100)


@pytest.mark.parametrize(
    ("records", "verdict"),
    [
        (classified(shrinking), HOLDS),
        (classified(lambda n: 0.5, scatter=0.05), NOT_DECIDED),  # ahead by as much on all sets
        (classified(lambda n: 0.5 + 0.3 * math.log10(n / 100)), FAILS),  # ahead, and more so with more images
        (classified(lambda n: -0.5 - 0.1 * math.log10(n / 100)), FAILS),  # behind
        (classified(shrinking, scatter=0.8), NOT_DECIDED),
        (classified(shrinking, held_out=300), NOT_DECIDED),  # what 300 images tell
        (classified(shrinking, seeds=2), NOT_DECIDED),
        (classified(shrinking, recipe="untuned"), NOT_DECIDED),
        (classified(shrinking, images=(100, 3500)), NOT_DECIDED),  # two numbers of images are missing
        (classified(shrinking, flops=(2.0, 1.0)), NOT_DECIDED),  # compute is not matched
    ],
)
def test_small_data(records, verdict):
    assert verdict_of(6, records) == verdict


def test_points_that_shrink_while_log_odds_grow_are_a_lead_that_grows():
    """The audit's numbers: 20.5 points at first, 12.9 at last; in log-odds 0.83 and 1.73."""
    accuracies = {100: (0.5, 0.705), 500: (0.62, 0.80), 2000: (0.73, 0.88), 3500: (0.81, 0.939)}
    records = classified(lambda n: math.log(accuracies[n][1] / (1 - accuracies[n][1])) - math.log10(n / 100))
    for n, (vit, _) in accuracies.items():
        for place, each in enumerate(records[f"images-{n}"]):
            if each.cell.model == "vit":
                rows = [row.columns() | ({"accuracy": vit} if row.accuracy else {}) for row in each.rows]
                one = record("quality", "vit", 16, rows=rows, seed=each.cell.seed)
                records[f"images-{n}"][place] = replace(one, cell=each.cell)
    overall = small_data.judge(records)[0]
    assert overall.verdict == FAILS
    assert overall.says.startswith("A CNN's lead over a ViT grows from 0.87 log-odds on 100 images to 1.2")


def test_the_lead_its_slope_and_their_intervals():
    overall, first, *_, last, slope = small_data.judge(classified(shrinking, scatter=0.0))
    assert first.measured == "log-odds of ResNet's accuracy less ViT's, trained on 100 images"
    assert first.estimate.value == pytest.approx(1.0, abs=5e-3)  # half an image is added to both
    assert last.estimate.value == pytest.approx(shrinking(3500), abs=5e-3)
    assert slope.estimate.value == pytest.approx(-0.5, abs=5e-3)
    assert overall.estimate == first.estimate
    assert overall.note.startswith("ResNet had 0.90 of ViT's FLOPs, in 1.0")
    assert first.note == "ResNet 73.1%, learning rate 0.003 (tuned); ViT 50.0%, learning rate 0.003 (tuned)"
    text = drawn(6, classified(shrinking))
    assert "ResNet: 73.1% right after 100 images" in text


def test_all_right_has_finite_log_odds():
    (part,) = classified(shrinking, images=(100,), held_out=1000).values()
    (row,) = (row for row in small_data.rows_of(part[:1]) if row.row.accuracy is not None)
    right = row._replace(row=record("quality", "vit", 16, rows=[row.row.columns() | {"accuracy": 1.0}]).row)
    assert small_data.log_odds(right) == pytest.approx(math.log(1000.5 / 0.5))


def test_a_seed_that_one_model_lacks_is_in_no_pair():
    records = classified(shrinking)
    part = records["images-100"]
    part[0] = replace(part[0], status=Status.NAN, rows=())
    findings = small_data.judge(records)
    assert findings[1].n == 4
    assert len(small_data.slopes_of(small_data.leads(records))) == 4


def test_an_interval_covers_the_choice_of_held_out_images():
    """Whoever trains is right on a share of all images; the log-odds of one test set scatter about that."""
    rng, share, total = np.random.default_rng(0), 0.9, 1000
    scores = rng.binomial(total, share, 4000) / total
    scatter = np.var([np.log(score / (1 - score)) for score in scores])
    (part,) = classified(lambda n: math.log(9), images=(100,), held_out=total).values()
    rows = [row for row in small_data.rows_of(part, model="resnet") if row.row.accuracy is not None]
    assert small_data.variance(rows) == pytest.approx(scatter, rel=0.1)
    _, lead, _ = small_data.judge(parts({"images-100": part}))
    assert lead.estimate.interval is not None
    low, high = lead.estimate.interval
    error = (small_data.variance(rows) + 4 / total) ** 0.5  # ViT is right on half of them
    assert (high - low) / 2 == pytest.approx(2.776 * error, rel=0.05)


def test_an_undecided_slope_is_no_change():
    said = small_data.judge(classified(lambda n: 0.5, scatter=0.05))[0].says
    assert said.startswith("A CNN's lead over a ViT is 0.")
    assert small_data.judge(classified(shrinking))[0].says.startswith("A CNN's lead over a ViT shrinks from 1.00")
