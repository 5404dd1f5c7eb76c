"""Claim 1: a plain RNN loses long dependencies, LSTM and GRU keep them.

The adding problem at T = 100 (Hochreiter and Schmidhuber 1997) with one bare layer of each, equal in parameters, each
at its best learning rate; and after training the norm of d loss_T / d x_t against the lag T - t.
"""

from __future__ import annotations

import math
from collections import defaultdict

import numpy as np

from lengthscale.bench.analysis import fit
from lengthscale.bench.claims import learning_rates
from lengthscale.bench.claims.claim import (
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
from lengthscale.bench.figures.spec import IN_LEGEND, Axis, DrawnCurve, Ends, Figure, Words
from lengthscale.bench.results import intervals

MODELS = ("rnn-plain", "gru-plain", "lstm-plain")
LENGTH, BATCH = 100, 32
CHANCE = 1 / 6  # always saying 1
LOST, KEPT = 0.1, 0.01  # of the squared error
SMALLEST = 1.1e-19  # norm in float32: below it the squares vanish
STEEP, FLAT = -0.05, -0.02  # of the slope: a factor of 10 in 20 steps; of 100 in 100 steps
RULE = f"squared error: RNN above {LOST:g}, GRU and LSTM below {KEPT:g}"
SLOPE_RULE = (
    f"slope of log10 |d loss_T / d x_t| on the lag: RNN below {STEEP:g} a step, GRU and LSTM above {FLAT:g} a step"
)

# minutes -> (training steps, learning rates, the likeliest first, seeds)
LEVELS = {
    0.0: (1000, ("1e-2",), 3),
    4.5: (1000, ("1e-2", "3e-3"), 3),
    8.0: (2000, ("1e-2", "3e-3", "1e-3"), 3),
    14.0: (2000, ("1e-2", "3e-3", "1e-3", "3e-2", "3e-4"), 3),
    30.0: (4000, ("1e-2", "3e-3", "1e-3", "3e-2", "3e-4"), 5),
}


def parts(minutes: float) -> list[Part]:
    """One run for each learning rate."""
    steps, rates, seeds = affordable(LEVELS, minutes)
    arguments = f"--suite quick --measures gradients --models {','.join(MODELS)} --size tiny --data adding"
    arguments += f" --lengths {LENGTH} --step-tokens {LENGTH * BATCH} --train-tokens {LENGTH * BATCH * steps}"
    arguments += f" --windows 64 --timeout 300 --seed {','.join(map(str, range(seeds)))}"
    return [Part(f"rate-{rate}", (*arguments.split(), "--learning-rate", rate)) for rate in rates]


def trained(results: Results, model: str) -> tuple[dict[int, list[CellRow]], str]:
    """(each seed's rows of gradients after training at the model's best learning rate, a note on that rate).

    The best has the lowest mean training loss; the training loss is of sequences that were never seen before.
    """
    rates: dict[float, dict[int, list[CellRow]]] = defaultdict(lambda: defaultdict(list))
    for row in rows_of(results.together(), model=model):
        if row.row.trained:
            rates[row.number("learning_rate")][row.cell.seed].append(row)
    if not rates:
        return {}, "no trained model"
    losses = {rate: [rows[0].number("train_loss") for rows in seeds.values()] for rate, seeds in rates.items()}
    best = learning_rates.best_of(losses)
    return dict(rates[best]), learning_rates.note_on(best, rates)


def lag_of(row: CellRow) -> float:
    """The middle of the row's range of lags, [d, 2 d) as far as the sequence goes."""
    first, last = row.number("distance"), min(max(0, 2 * row.number("distance") - 1), row.cell.length - 1)
    return (first + last) / 2


def slope_of(rows: list[CellRow]) -> float | None:
    """The slope of log10 of the median norm on the middle of its range of lags, least squares: decades a step.

    The first norm that is 0 counts as the smallest float32 whose square is not 0, so that a steep slope is
    underestimated; the norms beyond it are left out.
    """
    points = []
    for row in rows:
        points.append((lag_of(row), math.log10(row.number("grad_norm") or SMALLEST)))
        if not row.number("grad_norm"):
            break
    lags, logs = np.array(points).T
    return float(fit.slope(lags, logs)) if len(points) >= 3 else None


def judge(results: Results) -> list[Finding]:
    """Claim 1's findings: each model's error and the slope of its gradients."""
    errors, slopes = [], []
    for model in MODELS:
        seeds, note = trained(results, model)
        is_rnn = model == "rnn-plain"
        losses = np.array([rows[0].number("train_loss") for rows in seeds.values()])
        error = intervals.mean_of_few(losses)
        verdict = verdict_above(error, LOST) if is_rnn else verdict_below(error, KEPT)
        what = f"{model}: squared error on the adding problem, T={LENGTH} (chance {CHANCE:.3f}), {len(seeds)} seeds"
        errors.append(Finding(what, error, "", verdict, RULE, (LENGTH, LENGTH), note))
        fitted = np.array([slope for rows in seeds.values() if (slope := slope_of(rows)) is not None])
        slope = intervals.mean_of_few(fitted)
        verdict = verdict_below(slope, STEEP) if is_rnn else verdict_above(slope, FLAT)
        what = f"{model}: slope of log10 |d loss_T / d x_t| on the lag, after training, {len(fitted)} seeds"
        slopes.append(Finding(what, slope, "decades a step", verdict, SLOPE_RULE, (LENGTH, LENGTH), note))
    overall = all_of(each.verdict for each in (*errors, *slopes))
    others = "".join(
        f", {model} {each.estimate.value:.2g}"
        for model, each in zip(MODELS[1:], errors[1:], strict=True)
        if each.estimate
    )
    what = f"squared error of a plain RNN on the adding problem, T={LENGTH} (chance {CHANCE:.3f}{others})"
    first = Finding(what, errors[0].estimate, "", overall, f"{RULE}; {SLOPE_RULE}", (LENGTH, LENGTH))
    return [first, *errors, *slopes]


def figure(results: Results) -> Figure:
    """The gradient against the lag: an exponential decay is a straight line; the band holds all seeds."""
    curves, marks = [], []
    for model in MODELS:
        seeds, _ = trained(results, model)
        if not seeds:
            continue
        lags = np.array([lag_of(row) for row in next(iter(seeds.values()))])
        norms = np.array([[row.number("grad_norm") for row in rows] for rows in seeds.values()])
        error = np.mean([rows[0].number("train_loss") for rows in seeds.values()])
        median = np.median(norms, axis=0)
        shown = median > 0
        low, high = (np.where((edge := of(norms, axis=0)) > 0, edge, np.nan)[shown] for of in (np.min, np.max))
        x, y = lags[shown], median[shown]
        name = f"{model}: squared error {error:.2g}"
        band = Ends(tuple(low.tolist()), tuple(high.tolist()))
        curves.append(DrawnCurve(model, name, tuple(x.tolist()), tuple(y.tolist()), spread=band))
        if shown.any() and not shown.all():
            marks.append(Words(f"below {SMALLEST:.0e} beyond", float(x[-1]), float(y[-1])))
    return Figure(
        "",
        x=Axis("lag T - t (steps)"),
        y=Axis("norm of d loss_T / d x_t, after training", "log"),
        curves=tuple(curves),
        marks=tuple(marks),
        names=IN_LEGEND,
    )


CLAIM = Claim(
    1,
    "long_dependencies",
    "A plain RNN loses long dependencies; LSTM and GRU keep them",
    parts,
    judge,
    figure,
    share=0.12,
)
