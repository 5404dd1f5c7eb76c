"""Claim 6: a ViT needs much data to build its global relations; on little data it does worse than a CNN.

ResNet and ViT train on 100, 500, 2,000 and 3,500 digits of MNIST (16 x 16 pixels) and are scored on 1,000 others. Both
train for the same number of steps and images a step, and their sizes are such that a step takes the same FLOPs within a
tenth (models/resnet.py): compute is matched in FLOPs. It is not matched in time, since convolutions run further from a
CPU's peak than matrix products, nor in parameters, of which ResNet has half. Each has the learning rate and warm-up
that a search has found for it on this number of images (`tune`; on images that are not scored here).

The scale is log-odds of accuracy, log(right / wrong), written down before the run. In points of accuracy any lead
shrinks as both come near 100%: from 90% to 95% half of the errors vanish, and from 50% to 75% too. The rule: ResNet is
ahead at up to FEW images, and its lead shrinks as the images grow, that is the slope of its lead on log10 of the number
of images is below 0. A lead is of one seed, which draws the images to train on, the weights and the batches.

An interval covers the scatter of seeds and that of the held-out images, which all seeds share: a share p of N images
that is right has log-odds with a variance of 1 / (N p (1 - p)). The errors of two shares are taken as independent. They
are of the same images, so that they partly cancel, and the interval is rather too wide.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace

import numpy as np

from lengthscale.bench.claims import learning_rates
from lengthscale.bench.claims.claim import (
    FAILS,
    HOLDS,
    NOT_DECIDED,
    CellRow,
    Claim,
    Finding,
    Minutes,
    Part,
    Results,
    all_of,
    joined,
    rows_of,
    seeds_from,
)
from lengthscale.bench.claims.family import INFINITY, Question, against, answered, mean_of
from lengthscale.bench.figures.spec import IN_LEGEND, Axis, DrawnCurve, Ends, Figure
from lengthscale.bench.results.record import Row

CNN, VIT = "resnet", "vit"
NAMES = {CNN: "ResNet", VIT: "ViT"}
LENGTH, BATCH, STEPS = 16, 32, 1000  # patches of 4 x 4 pixels; images a step
LENGTHS = (LENGTH, LENGTH)
IMAGES = (100, 500, 2000, 3500)  # of 4,000, the rest being those by which rates are chosen
FEW = 500  # up to here the CNN has to be ahead
MATCHED = 1.25  # of FLOPs, either way
RULE = f"log-odds of ResNet's accuracy less ViT's, at up to {FEW} images: above 0"
SLOPE_RULE = "slope of that lead on log10 of the number of images: below 0"
CLAIM_RULE = f"{RULE}; {SLOPE_RULE}; FLOPs matched within {MATCHED:g}x"
SEEDS = 10  # more would not help: 1,000 held-out images alone leave a slope open by 0.3

Scores = dict[int, dict[int, CellRow]]  # number of images -> seed -> row


def parts(minutes: float) -> list[Part]:
    """One run for each number of images, the ends first; the same ones for any time."""
    tokens = LENGTH * BATCH
    arguments = f"--suite quick --measures quality --models {CNN},{VIT} --size tiny --lengths {LENGTH} --timeout 600"
    arguments += f" --step-tokens {tokens} --train-tokens {tokens * STEPS}"
    arguments += f" --seed {seeds_from(1, SEEDS)}"
    order = sorted(IMAGES, key=lambda n: n not in (IMAGES[0], IMAGES[-1]))
    return [Part(f"images-{n}", (*arguments.split(), "--data", f"mnist:images={n}")) for n in order]


def scores(results: Results, model: str) -> Scores:
    """The rows of a model that hold an accuracy, few images first."""
    found: Scores = {}
    for row in sorted(rows_of(results.together(), model=model), key=_images_of):
        if row.row.accuracy is not None:
            found.setdefault(_images_of(row), {})[row.cell.seed] = row
    return found


def _images_of(row: CellRow) -> int:
    """The number of images that the row's model was trained on."""
    return int(row.cell.data.rpartition("=")[2])


def log_odds(row: CellRow) -> float:
    """log(right / wrong) of the held-out images, with half an image added to both, so that 100% is finite."""
    total = row.number("n_sequences")
    right = row.number("accuracy") * total
    return float(np.log((right + 0.5) / (total - right + 0.5)))


def variance(rows: list[CellRow]) -> float:
    """Of the mean log-odds of rows that are all scored on the same images, by the choice of these."""
    total = rows[0].number("n_sequences")
    share = (np.mean([row.number("accuracy") for row in rows]) * total + 0.5) / (total + 1)
    return float(1 / (total * share * (1 - share)))


def leads(results: Results) -> dict[int, dict[int, float]]:
    """Log-odds that the CNN is ahead, for each number of images and each seed that both models have."""
    cnn, vit = scores(results, CNN), scores(results, VIT)
    both = {n: sorted(cnn[n].keys() & vit[n].keys()) for n in sorted(cnn.keys() & vit.keys())}
    return {n: {seed: log_odds(cnn[n][seed]) - log_odds(vit[n][seed]) for seed in both[n]} for n in both if both[n]}


def judge(results: Results) -> list[Finding]:
    """Claim 6's findings: the lead on each number of images, and its slope."""
    ahead = leads(results)
    rows = {n: {model: list(scores(results, model)[n].values()) for model in NAMES} for n in ahead}
    asked = {n: _lead(n, np.array(list(each.values())), rows[n]) for n, each in ahead.items()}
    slope = _slope(ahead, rows)
    deciding = [question for n, question in asked.items() if n <= FEW]
    answers = dict(zip(map(id, (*deciding, slope)), answered([*deciding, slope]), strict=True))
    others = [question for n, question in asked.items() if n > FEW]
    later = dict(zip(map(id, others), answered(others), strict=True))
    matched, note = _compute(results)
    verdicts = [each.verdict for each in answers.values()] if set(IMAGES) <= set(ahead) else []
    found = [(answers | later)[id(question)] for question in asked.values()]
    first = found[0] if found else Finding("log-odds of ResNet's accuracy less ViT's", None, "", NOT_DECIDED, RULE)
    verdict = all_of(verdicts) if matched else NOT_DECIDED
    says = _sentence(ahead, answers[id(slope)])
    note = joined(note, against(answers.values()))
    overall = replace(first, verdict=verdict, decided_by=CLAIM_RULE, note=note, says=says)
    return [overall, *found, answers[id(slope)]]


def _sentence(ahead: dict[int, dict[int, float]], slope: Finding) -> str:
    if slope.estimate is None:
        return ""
    lead = {n: float(np.mean(list(each.values()))) for n, each in ahead.items()}
    change = {HOLDS: "shrinks from", FAILS: "grows from", NOT_DECIDED: "is"}[slope.verdict]
    between = "and" if slope.verdict == NOT_DECIDED else "to"
    return (
        f"A CNN's lead over a ViT {change} {lead[min(lead)]:.2f} log-odds on {min(lead)} images {between} "
        f"{lead[max(lead)]:.2f} on {max(lead):,}"
    )


def _lead(n: int, values: np.ndarray, rows: dict[str, list[CellRow]]) -> Question:
    said = (
        f"{NAMES[model]} {100 * np.mean([row.number('accuracy') for row in mine]):.1f}%, "
        f"{learning_rates.note_on(row.row for row in mine)}"
        for model, mine in rows.items()
    )
    what = f"log-odds of ResNet's accuracy less ViT's, trained on {n} images"
    at = learning_rates.decisive(mean_of(values, _variance(rows)), _together([rows]))
    return Question(what, at, (0.0, INFINITY), RULE, len(values), "log-odds", LENGTHS, "; ".join(said))


def _slope(ahead: dict[int, dict[int, float]], rows: dict[int, dict[str, list[CellRow]]]) -> Question:
    values, weights = np.array(slopes_of(ahead)), weights_of(ahead)
    common = float(sum(weight**2 * _variance(rows[n]) for weight, n in zip(weights, ahead, strict=True)))
    what = f"slope of ResNet's lead on log10 of the images, {len(ahead)} numbers of them"
    at = learning_rates.decisive(mean_of(values, common), _together(rows.values()))
    return Question(what, at, (-INFINITY, 0.0), SLOPE_RULE, len(values), "log-odds a decade", LENGTHS)


def _variance(rows: dict[str, list[CellRow]]) -> float:
    """Of a lead, by the choice of held-out images."""
    return sum(variance(mine) for mine in rows.values())


def _together(found: Iterable[dict[str, list[CellRow]]]) -> list[Row]:
    return [row.row for each in found for mine in each.values() for row in mine]


def slopes_of(ahead: dict[int, dict[int, float]]) -> list[float]:
    """The slope for each seed that has all numbers of images, least squares: log-odds a decade of images.

    It is empty for a single number of images.
    """
    if len(ahead) < 2:
        return []
    seeds, weights = sorted(set.intersection(*(set(each) for each in ahead.values()))), weights_of(ahead)
    return [float(weights @ [each[seed] for each in ahead.values()]) for seed in seeds]


def weights_of(images: Collection[int]) -> np.ndarray:
    """The weights of least squares: the slope on log10 of the images is the sum of weights times values."""
    if len(images) < 2:
        return np.zeros(len(images))
    offsets = np.log10(list(images)) - np.mean(np.log10(list(images)))
    return offsets / (offsets @ offsets)


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
    return 1 / MATCHED < ratio < MATCHED, note


def figures(results: Results) -> tuple[Figure, ...]:
    """The log-odds of accuracy against the number of images; the band holds all seeds."""
    curves = []
    for model, name in NAMES.items():
        found = scores(results, model)
        if not found:
            continue
        values = [[log_odds(row) for row in seeds.values()] for seeds in found.values()]
        percent = [100 * np.mean([row.number("accuracy") for row in seeds.values()]) for seeds in found.values()]
        said = f"{name}: {percent[0]:.1f}% right after {min(found)} images, {percent[-1]:.1f}% after {max(found):,}"
        means = tuple(float(np.mean(each)) for each in values)
        band = Ends(tuple(map(min, values)), tuple(map(max, values)))
        curves.append(DrawnCurve(model, said, tuple(found), means, spread=band))
    shown = sorted({int(images) for curve in curves for images in curve.x})
    return (
        Figure(
            "",
            x=Axis("images to train on", "log", ticks=tuple((images, f"{images:,}") for images in shown)),
            y=Axis("log-odds of accuracy on held-out images"),
            curves=tuple(curves),
            names=IN_LEGEND,
        ),
    )


CLAIM = Claim(
    6,
    "small_data",
    "A ViT needs much data; a CNN's inductive bias wins on little",
    "ViT-B/32 is behind ResNet50 after pre-training on 9 million images and ahead from 90 million "
    "(Dosovitskiy et al. 2020, arXiv:2010.11929)",
    parts,
    judge,
    figures,
    Minutes(9, 9),
)
