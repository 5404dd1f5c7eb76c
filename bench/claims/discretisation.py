"""Claim 8: an SSM is discretised by the bilinear transform or a zero-order hold.

It is tested as "either will do", with S4D and in three parts. What they compute is in bench/device/measures/
(discretisation.py and resampling.py).

a. Compared with the matrix exponential: a zero-order hold is exact for a held input, and the bilinear transform has an
   error of dt^3 a step. For an input that rises over the step both have an error of dt^2, since neither knows the input
   between two samples.
b. After training, at small and at large dt: do the losses of the two rules differ more than those of two seeds? The gap
   is between runs of the same seed, first parameters and batches. Two seeds differ by sqrt(2) standard deviations, root
   mean square.
c. Zero-shot, on half as many samples of the same images: the gain of doubling dt, for either rule.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from lengthscale.bench.analysis import fit
from lengthscale.bench.claims.claim import (
    FAILS,
    HOLDS,
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
    verdict_within,
)
from lengthscale.bench.figures.spec import IN_LEGEND, Axis, DrawnCurve, Figure, Rule
from lengthscale.bench.results import intervals
from lengthscale.bench.results.estimate import Estimate
from lengthscale.bench.results.result import Result

ZOH, BILINEAR = "s4d", "s4d:rule=bilinear"
STARTS = {  # of dt -> the models, by zero-order hold and bilinear
    "1e-3": ("s4d:dt=small", "s4d:rule=bilinear,dt=small"),
    "1e-3 to 1e-1": (ZOH, BILINEAR),
    "1e-1": ("s4d:dt=large", "s4d:rule=bilinear,dt=large"),
}
ENDS = ("1e-3", "1e-1")
LENGTH, BATCH = 144, 16  # pixels of 12 x 12; images a step
LENGTHS = (LENGTH, LENGTH)
SMALL_Z = 0.3  # dt |A| up to which the error's leading term is nearly all of it
EXACT = 1e-12  # for a state of about 1, in float64
ORDER_RULE = f"bilinear: slope of log error on log dt 2.9 to 3.1 (dt |A| < {SMALL_Z:g}); zero-order hold: < {EXACT:g}"
GAP_RULE = "|loss by bilinear - by zero-order hold| of one seed < the difference of two seeds (root mean square)"
RATE_RULE = "accuracy on half as many samples with dt doubled, less that with dt as it was: above 0"

# minutes -> (training steps, seeds, where dt starts)
LEVELS = {
    0.0: (200, 3, ENDS),
    5.0: (300, 4, ENDS),
    8.0: (300, 8, ENDS),
    15.0: (600, 8, tuple(STARTS)),
    40.0: (1500, 12, tuple(STARTS)),
}


def parts(minutes: float) -> list[Part]:
    """The errors of a step, and the training at several starts of dt."""
    steps, seeds, starts = affordable(LEVELS, minutes)
    tokens = LENGTH * BATCH
    shared = f"--suite quick --size tiny --data mnist --lengths {LENGTH} --step-tokens {tokens} --timeout 600"
    errors = f"{shared} --measures discretisation --models {ZOH},{BILINEAR} --train-tokens {20 * tokens}"
    trained = (
        f"{shared} --measures resampling --models {','.join(model for start in starts for model in STARTS[start])}"
    )
    trained += f" --train-tokens {tokens * steps} --windows 1000 --seed {','.join(map(str, range(seeds)))}"
    return [Part("errors", tuple(errors.split())), Part("trained", tuple(trained.split()))]


def judge(results: Results) -> list[Finding]:
    """Claim 8's findings: of parts a, b and c."""
    steps = _judge_steps(results.get("errors", []))
    trained = results.get("trained", [])
    gaps = [_gap(trained, start) for start in STARTS if start in ENDS or _losses(trained, STARTS[start][0])]
    rates = [_resampled(trained, start, model) for start in ENDS for model in STARTS[start]]
    decisive = [*steps[:2], *gaps]
    order = steps[0]
    ends = zip(ENDS, (gaps[0], gaps[-1]), strict=True)
    said = [f"loss gap at dt={start} {_signed(gap.estimate)}" for start, gap in ends]
    what = f"order in dt of the bilinear transform's error in a step ({', '.join(said)})"
    verdict = all_of(each.verdict for each in decisive)
    overall = Finding(what, order.estimate, "", verdict, f"{ORDER_RULE}; {GAP_RULE}", LENGTHS)
    return [overall, *steps, *gaps, *rates]


def _signed(gap: Estimate | None) -> str:
    return "unknown" if gap is None else f"{gap.value:+.2g}"


# a. The error of a step


def _judge_steps(results: list[Result]) -> list[Finding]:
    """The errors of the bilinear state, and of the zero-order hold's; then of both for a ramp, which decide nothing."""
    order = order_of(rows_of(results, model=BILINEAR), "transition_error")
    what = "bilinear: order in dt of |Abar - exp(dt A)|, trained A, float64"
    found = [Finding(what, order, "", verdict_within(order, 2.9, 3.1), ORDER_RULE, LENGTHS)]
    rows = rows_of(results, model=ZOH)
    worst = max((max(row.number("transition_error"), row.number("held_error")) for row in rows), default=None)
    verdict = NOT_DECIDED if worst is None else HOLDS if worst < EXACT else FAILS
    what = "zero-order hold: largest error of a step for a held input, all dt"
    note = "" if worst is None else "a maximum has no interval"
    largest = None if worst is None else Estimate(worst)
    found.append(Finding(what, largest, "", verdict, ORDER_RULE, LENGTHS, note))
    for model, name in ((BILINEAR, "bilinear"), (ZOH, "zero-order hold")):
        order = order_of(rows_of(results, model=model), "ramp_error")
        what = f"{name}: order in dt of a step's error for an input that rises over it"
        found.append(Finding(what, order, "", verdict_within(order, 1.9, 2.1), "1.9 to 2.1, for either", LENGTHS))
    return found


def order_of(rows: list[CellRow], error: str) -> Estimate | None:
    """The slope of log error on log dt where dt |A| is small; None of fewer than 3 points.

    The errors are exact but for rounding. So the interval is the range of the slope between neighbouring dt.
    """
    points = sorted(
        (row.number("dt"), row.number(error))
        for row in rows
        if row.number("largest_z") < SMALL_Z and row.number(error) > 0
    )
    if len(points) < 3:
        return None
    steps, errors = np.log(np.array(points)).T
    local = np.diff(errors) / np.diff(steps)
    return Estimate(float(fit.slope(steps, errors)), float(local.min()), float(local.max()))


# b. The loss after training


def _losses(results: list[Result], model: str) -> dict[int, float]:
    """The loss of each seed, at the sampling rate of training."""
    return {row.cell.seed: row.number("loss") for row in rows_of(results, model=model) if row.number("rate") == 1}


def _gap(results: list[Result], start: str) -> Finding:
    zoh, bilinear = (_losses(results, model) for model in STARTS[start])
    seeds = sorted(set(zoh) & set(bilinear))
    pairs = np.array([(zoh[seed], bilinear[seed]) for seed in seeds]).reshape(-1, 2)
    gap = intervals.mean_of_few(pairs[:, 1] - pairs[:, 0])
    what = f"loss by bilinear less that by zero-order hold, dt starting at {start}, {len(seeds)} seeds"
    if gap is None or gap.interval is None:
        return Finding(what, gap, "nats", NOT_DECIDED, GAP_RULE, LENGTHS)
    spread = between_seeds(pairs)
    rows = [row for model in STARTS[start] for row in rows_of(results, model=model)]
    note = f"two seeds differ by {spread:.3g} at losses of {pairs.mean():.3g}; after training dt is"
    note += f" {min(row.number('dt_p10') for row in rows):.2g} to {max(row.number('dt_p90') for row in rows):.2g}"
    return Finding(what, gap, "nats", verdict_within(gap, -spread, spread), GAP_RULE, LENGTHS, note)


def between_seeds(pairs: np.ndarray) -> float:
    """The root mean square difference of the losses of two seeds under one rule. pairs: losses, (seeds, rules)."""
    return math.sqrt(2 * np.mean(np.var(pairs, axis=0, ddof=1)))


# c. Half the sampling rate


def _resampled(results: list[Result], start: str, model: str) -> Finding:
    rule = "zero-order hold" if model == STARTS[start][0] else "bilinear"
    seen = {
        (row.number("rate"), row.number("dt_factor"), row.cell.seed): 100 * row.number("accuracy")
        for row in rows_of(results, model=model)
    }
    seeds = sorted({seed for _, _, seed in seen})
    whole, kept, doubled = (_each(seen, case, seeds) for case in ((1.0, 1.0), (0.5, 1.0), (0.5, 2.0)))
    gain = intervals.mean_of_few(doubled - kept)
    what = f"{rule}, dt starting at {start}: accuracy that doubling dt at half the rate brings, {len(seeds)} seeds"
    note = ""
    if seeds:
        note = f"{whole.mean():.1f}% as trained, {kept.mean():.1f}% with dt as it was, {doubled.mean():.1f}% with 2 dt"
    return Finding(what, gain, "points", verdict_above(gain, 0.0), RATE_RULE, LENGTHS, note)


def _each(seen: dict, case: tuple[float, float], seeds: Iterable[int]) -> np.ndarray:
    return np.array([seen[*case, seed] for seed in seeds])


# The picture


def figure(results: Results) -> Figure:
    """The error of a step against dt; the losses after training in the words."""
    dashes = {"transition_error": 0, "ramp_error": 2}
    said = {"transition_error": "the state", "ramp_error": "an input that rises over the step"}
    curves = []
    for model, name in ((BILINEAR, "bilinear"), (ZOH, "zero-order hold")):
        rows = sorted(rows_of(results.get("errors", []), model=model), key=lambda row: row.number("dt"))
        for error, dash in dashes.items() if rows else ():
            order = order_of(rows, error)
            exact = max(row.number(error) for row in rows) <= EXACT
            text = f"{name}: {said[error]}" + (f", order {order.value:.2f}" if order and not exact else "")
            values = tuple(row.number(error) or math.nan for row in rows)
            curves.append(DrawnCurve(model, text, tuple(row.number("dt") for row in rows), values, dash=dash))
    for start in STARTS:
        finding = _gap(results.get("trained", []), start)
        gap = finding.estimate
        if gap and gap.interval:
            text = f"loss gap, dt from {start}: {gap.value:+.3f} [{gap.low:+.3f}, {gap.high:+.3f}]"
            curves.append(DrawnCurve("", f"{text}\n  {finding.note.partition(';')[0]}", (), ()))
    return Figure(
        "",
        x=Axis("dt", "log"),
        y=Axis("largest error of a step, of all modes", "log"),
        curves=tuple(curves),
        marks=(Rule(y=EXACT),),
        names=IN_LEGEND,
    )


CLAIM = Claim(
    8,
    "discretisation",
    "An SSM is discretised by the bilinear transform or a zero-order hold",
    parts,
    judge,
    figure,
    share=0.17,
)
