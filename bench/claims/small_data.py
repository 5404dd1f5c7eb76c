"""Claim 6: a ViT needs much data; a CNN's inductive bias wins on little.

The estimate is ResNet's held-out accuracy less ViT's, for each seed, on 1,000 digits of MNIST (16 x 16 pixels) after
training on 100 to 4,000. Both train for the same number of steps and images a step, and their sizes are such that a
step takes the same FLOPs within a tenth (models/resnet.py): compute is matched in FLOPs. It is not matched in time,
since convolutions run further from a CPU's peak than matrix products, nor in parameters, of which ResNet has half.
For every number of images each model has its best learning rate.
"""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from lengthscale.bench.analysis import fit
from lengthscale.bench.claims import learning_rates
from lengthscale.bench.claims.claim import (
    NOT_DECIDED,
    CellRow,
    Claim,
    Finding,
    Part,
    Results,
    affordable,
    all_of,
    rows_of,
    verdict_above,
    verdict_below,
)
from lengthscale.bench.figures.spec import IN_LEGEND, Axis, DrawnCurve, Ends, Figure
from lengthscale.bench.results import intervals

CNN, VIT = "resnet", "vit"
LENGTH, BATCH = 16, 32  # patches of 4 x 4 pixels; images a step
LENGTHS = (LENGTH, LENGTH)
IMAGES = (100, 500, 2000, 4000)
FEW = 500  # up to here the CNN has to be ahead
MATCHED = 1.25  # of FLOPs, either way
RULE = f"accuracy of ResNet less that of ViT, in points, at up to {FEW} images: above 0"
SLOPE_RULE = "slope of that difference on log10 of the number of images, in points a decade: below 0"

# minutes -> (training steps, numbers of images, the ends first, learning rates, the likeliest first, seeds)
LEVELS = {
    0.0: (1000, (100, 4000), ("3e-3",), 3),
    5.0: (1000, (100, 4000, 500, 2000), ("3e-3",), 3),
    12.0: (1000, (100, 4000, 500, 2000), ("3e-3",), 5),
    20.0: (1000, (100, 4000, 500, 2000), ("3e-3", "1e-3"), 5),
    60.0: (3000, (100, 4000, 500, 2000), ("3e-3", "1e-3", "1e-2"), 5),
}

Accuracies = dict[int, dict[int, float]]  # number of images -> seed -> accuracy in percent


def parts(minutes: float) -> list[Part]:
    """One run for each number of images and learning rate."""
    steps, images, rates, seeds = affordable(LEVELS, minutes)
    tokens = LENGTH * BATCH
    arguments = f"--suite quick --measures quality --models {CNN},{VIT} --size tiny --lengths {LENGTH} --timeout 600"
    arguments += f" --step-tokens {tokens} --train-tokens {tokens * steps} --seed {','.join(map(str, range(seeds)))}"
    return [
        Part(f"images-{n}-rate-{rate}", (*arguments.split(), "--data", f"mnist:images={n}", "--learning-rate", rate))
        for rate in rates
        for n in images
    ]


def images_of(row: CellRow) -> int:
    """The number of images that the row's model was trained on."""
    return int(row.cell.data.rpartition("=")[2])


def accuracies(results: Results, model: str) -> tuple[Accuracies, dict[int, str]]:
    """(the accuracies at the best learning rate, a note on that rate), both for each number of images.

    The best rate has the highest mean accuracy on the held-out images: slightly optimistic, for both models alike.
    """
    found: dict[int, dict[float, dict[int, float]]] = defaultdict(lambda: defaultdict(dict))
    for row in rows_of(results.together(), model=model):
        found[images_of(row)][row.number("learning_rate")][row.cell.seed] = 100 * row.number("accuracy")
    best, notes = {}, {}
    for n, rates in sorted(found.items()):
        rate = learning_rates.best_of({rate: [-each for each in seeds.values()] for rate, seeds in rates.items()})
        best[n] = rates[rate]
        notes[n] = f"{model} {np.mean(list(best[n].values())):.1f}% at learning rate {rate:g}"
        notes[n] += f" of {', '.join(f'{rate:g}' for rate in sorted(rates))}" if len(rates) > 1 else ""
    return best, notes


def gaps(results: Results) -> dict[int, dict[int, float]]:
    """Points of accuracy that the CNN is ahead, for each number of images and each seed that both models have."""
    cnn, vit = (accuracies(results, model)[0] for model in (CNN, VIT))
    both = {n: sorted(set(cnn[n]) & set(vit[n])) for n in sorted(set(cnn) & set(vit))}
    return {n: {seed: cnn[n][seed] - vit[n][seed] for seed in seeds} for n, seeds in both.items() if seeds}


def judge(results: Results) -> list[Finding]:
    """Claim 6's findings: the difference for each number of images, and its slope."""
    ahead = gaps(results)
    notes = [accuracies(results, model)[1] for model in (CNN, VIT)]
    numbers = sorted({*ahead, IMAGES[0], IMAGES[-1]})
    at_each = []
    for n in numbers:
        values = np.array(list(ahead.get(n, {}).values()))
        difference = intervals.mean_of_few(values)
        what = f"accuracy of ResNet less that of ViT, trained on {n} images, {len(values)} seeds"
        note = ", ".join(each[n] for each in notes if n in each)
        at_each.append(Finding(what, difference, "points", verdict_above(difference, 0.0), RULE, LENGTHS, note))
    decline = intervals.mean_of_few(np.array(slopes_of(ahead)))
    what = f"slope of the difference of accuracies on log10 of the images, {len(ahead)} numbers of them"
    slope = Finding(what, decline, "points a decade", verdict_below(decline, 0.0), SLOPE_RULE, LENGTHS)
    few = [finding for n, finding in zip(numbers, at_each, strict=True) if n <= FEW]
    matched, note = _compute(results)
    verdict = all_of(each.verdict for each in (*few, slope)) if matched else NOT_DECIDED
    first, last = at_each[0].estimate, at_each[-1].estimate
    most = f"; {last.value:.1f} on {IMAGES[-1]}" if last else ""
    what = f"points of accuracy that ResNet is ahead of ViT, trained on {IMAGES[0]} images{most}"
    rule = f"{RULE}; {SLOPE_RULE}; FLOPs matched within {MATCHED:g}x"
    return [Finding(what, first, "points", verdict, rule, LENGTHS, note), *at_each, slope]


def slopes_of(ahead: dict[int, dict[int, float]]) -> list[float]:
    """The slope for each seed that has all numbers of images, least squares: points a decade of images.

    It is empty for a single number of images.
    """
    if len(ahead) < 2:
        return []
    seeds = sorted(set.intersection(*(set(each) for each in ahead.values())))
    decades = np.log10(list(ahead))
    return [float(fit.slope(decades, np.array([each[seed] for each in ahead.values()]))) for seed in seeds]


def _compute(results: Results) -> tuple[bool, str]:
    """(whether both models had the same FLOPs within MATCHED, a note on the ratios of FLOPs and of time)."""
    rows = {model: rows_of(results.together(), model=model) for model in (CNN, VIT)}
    if not all(rows.values()):
        return False, ""
    flops, ms = (
        [np.median([row.number(column) * row.number("steps") for row in rows[model]]) for model in (CNN, VIT)]
        for column in ("flops", "time_median_ms")
    )
    ratio = flops[0] / flops[1]
    note = f"ResNet had {ratio:.2f} of ViT's FLOPs, in {ms[0] / ms[1]:.2f} of its time"
    note += "; intervals are of seeds, of the same images for all"
    return 1 / MATCHED < ratio < MATCHED, note


def figure(results: Results) -> Figure:
    """Accuracy against the number of images; the band holds all seeds."""
    curves = []
    for model, name in ((CNN, "ResNet"), (VIT, "ViT")):
        found, _ = accuracies(results, model)
        if not found:
            continue
        values = [list(seeds.values()) for seeds in found.values()]
        means = [float(np.mean(seeds)) for seeds in values]
        said = f"{name}: {means[0]:.1f}% on {min(found)}, {means[-1]:.1f}% on {max(found)}"
        band = Ends(tuple(map(min, values)), tuple(map(max, values)))
        curves.append(DrawnCurve(model, said, tuple(found), tuple(means), spread=band))
    shown = sorted({int(images) for curve in curves for images in curve.x})
    return Figure(
        "",
        x=Axis("images to train on", "log", ticks=tuple((images, f"{images:,}") for images in shown)),
        y=Axis("accuracy on held-out images (%)"),
        curves=tuple(curves),
        names=IN_LEGEND,
    )


CLAIM = Claim(
    6, "small_data", "A ViT needs much data; a CNN's inductive bias wins on little", parts, judge, figure, share=0.155
)
