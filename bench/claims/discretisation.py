"""Claim 8: an SSM is discretised by the bilinear transform or a zero-order hold.

Put to the test as "either will do", in three parts, with S4D (bench/device/measures/discretisation.py and resampling.py
say what is computed):

a. Against the matrix exponential: a zero-order hold is exact for an input that is held, the bilinear transform is off
   by dt^3 a step. For an input that rises over the step both are off by dt^2: neither sees between two samples.
b. After training, at small and at large dt: is the loss of the two further apart than that of two seeds? The gap is of
   the same seed, first parameters and batches. Two seeds differ by sqrt(2) standard deviations, root mean square.
c. Zero-shot, on half as many samples of the same images: what doubling dt is worth, for either rule.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from lengthscale.bench.claims.claim import (
    FAILS,
    HOLDS,
    NOT_DECIDED,
    CellRow,
    Claim,
    Finding,
    Part,
    Records,
    affordable,
    all_of,
    rows_of,
    verdict_above,
    verdict_within,
)
from lengthscale.bench.figures.spec import IN_LEGEND, Axis, Curve, Figure, Rule
from lengthscale.bench.results import intervals
from lengthscale.bench.results.record import Record

ZOH, BILINEAR = "s4d", "s4d:rule=bilinear"
STARTS = {  # of dt -> the models, by zero-order hold and bilinear
    "1e-3": ("s4d:dt=small", "s4d:rule=bilinear,dt=small"),
    "1e-3 to 1e-1": (ZOH, BILINEAR),
    "1e-1": ("s4d:dt=large", "s4d:rule=bilinear,dt=large"),
}
ENDS = ("1e-3", "1e-1")
LENGTH, BATCH = 144, 16  # pixels of 12 x 12; images a step
SMALL_Z = 0.3  # dt |A| up to which the error's leading term is nearly all of it
EXACT = 1e-12  # of a state of about 1, in float64
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


Found = tuple[float | None, float | None, float | None]  # a figure and its 95% interval


def parts(minutes: float) -> list[Part]:
    steps, seeds, starts = affordable(LEVELS, minutes)
    tokens = LENGTH * BATCH
    shared = f"--suite quick --size tiny --data mnist --lengths {LENGTH} --step-tokens {tokens} --timeout 600"
    errors = f"{shared} --measures discretisation --models {ZOH},{BILINEAR} --train-tokens {20 * tokens}"
    trained = (
        f"{shared} --measures resampling --models {','.join(model for start in starts for model in STARTS[start])}"
    )
    trained += f" --train-tokens {tokens * steps} --windows 1000 --seed {','.join(map(str, range(seeds)))}"
    return [Part("errors", tuple(errors.split())), Part("trained", tuple(trained.split()))]


def judge(records: Records) -> list[Finding]:
    steps = _judge_steps(records.get("errors", []))
    trained = records.get("trained", [])
    gaps = [_gap(trained, start) for start in STARTS if start in ENDS or _losses(trained, STARTS[start][0])]
    rates = [_resampled(trained, start, model) for start in ENDS for model in STARTS[start]]
    decisive = [*steps[:2], *gaps]
    order = steps[0]
    said = [f"loss gap at dt={start} {_signed(gap)}" for start, gap in zip(ENDS, (gaps[0], gaps[-1]), strict=True)]
    what = f"order in dt of the bilinear transform's error in a step ({', '.join(said)})"
    verdict = all_of(each.verdict for each in decisive)
    overall = _finding(what, (order.figure, order.low, order.high), "", verdict, f"{ORDER_RULE}; {GAP_RULE}")
    return [overall, *steps, *gaps, *rates]


def _signed(gap: Finding) -> str:
    return "unknown" if gap.figure is None else f"{gap.figure:+.2g}"


def _finding(what: str, found: Found, unit: str, verdict: str, rule: str, note: str = "") -> Finding:
    return Finding(what, *found, unit, verdict, rule, LENGTH, LENGTH, note)


# a. The error of a step


def _judge_steps(records: list[Record]) -> list[Finding]:
    """Of bilinear's state, of the zero-order hold's state and held input; of both for a ramp, which decide nothing."""
    order, low, high = order_of(rows_of(records, model=BILINEAR), "transition_error")
    verdict = verdict_within(low, high, 2.9, 3.1)
    what = "bilinear: order in dt of |Abar - exp(dt A)|, trained A, float64"
    found = [_finding(what, (order, low, high), "", verdict, ORDER_RULE)]
    rows = rows_of(records, model=ZOH)
    worst = max((max(row.number("transition_error"), row.number("held_error")) for row in rows), default=None)
    verdict = NOT_DECIDED if worst is None else HOLDS if worst < EXACT else FAILS
    what = "zero-order hold: largest error of a step for a held input, all dt"
    note = "" if worst is None else "a maximum has no interval"
    found.append(_finding(what, (worst, None, None), "", verdict, ORDER_RULE, note))
    for model, name in ((BILINEAR, "bilinear"), (ZOH, "zero-order hold")):
        order, low, high = order_of(rows_of(records, model=model), "ramp_error")
        what = f"{name}: order in dt of a step's error for an input that rises over it"
        found.append(
            _finding(what, (order, low, high), "", verdict_within(low, high, 1.9, 2.1), "1.9 to 2.1, for either")
        )
    return found


def order_of(rows: list[CellRow], error: str) -> tuple[float | None, float | None, float | None]:
    """(the slope of log error on log dt, its lowest and highest between neighbouring dt), where dt |A| is small.

    The errors are exact but for rounding, so what an interval can hold is how far the slope itself changes.
    """
    points = sorted(
        (row.number("dt"), row.number(error))
        for row in rows
        if row.number("largest_z") < SMALL_Z and row.number(error) > 0
    )
    if len(points) < 3:
        return None, None, None
    steps, errors = np.log(np.array(points)).T
    local = np.diff(errors) / np.diff(steps)
    return float(np.polyfit(steps, errors, 1)[0]), float(local.min()), float(local.max())


# b. The loss after training


def _losses(records: list[Record], model: str) -> dict[int, float]:
    """Of each seed, at the rate of training."""
    return {row.cell.seed: row.number("loss") for row in rows_of(records, model=model) if row.number("rate") == 1}


def _gap(records: list[Record], start: str) -> Finding:
    zoh, bilinear = (_losses(records, model) for model in STARTS[start])
    seeds = sorted(set(zoh) & set(bilinear))
    pairs = np.array([(zoh[seed], bilinear[seed]) for seed in seeds]).reshape(-1, 2)
    differences = pairs[:, 1] - pairs[:, 0]
    low, high = intervals.of_few(differences)
    figure = float(differences.mean()) if seeds else None
    what = f"loss by bilinear less that by zero-order hold, dt starting at {start}, {len(seeds)} seeds"
    if low is None:
        return _finding(what, (figure, None, None), "nats", NOT_DECIDED, GAP_RULE)
    spread = between_seeds(pairs)
    verdict = verdict_within(low, high, -spread, spread)
    rows = [row for model in STARTS[start] for row in rows_of(records, model=model)]
    note = f"two seeds differ by {spread:.3g} at losses of {pairs.mean():.3g}; after training dt is"
    note += f" {min(row.number('dt_p10') for row in rows):.2g} to {max(row.number('dt_p90') for row in rows):.2g}"
    return _finding(what, (figure, low, high), "nats", verdict, GAP_RULE, note)


def between_seeds(pairs: np.ndarray) -> float:
    """The root mean square difference of two seeds' losses, by one rule; of losses (seeds, rules)."""
    return math.sqrt(2 * np.mean(np.var(pairs, axis=0, ddof=1)))


# c. Half the sampling rate


def _resampled(records: list[Record], start: str, model: str) -> Finding:
    rule = "zero-order hold" if model == STARTS[start][0] else "bilinear"
    seen = {
        (row.number("rate"), row.number("dt_factor"), row.cell.seed): 100 * row.number("accuracy")
        for row in rows_of(records, model=model)
    }
    seeds = sorted({seed for _, _, seed in seen})
    whole, kept, doubled = (_each(seen, case, seeds) for case in ((1.0, 1.0), (0.5, 1.0), (0.5, 2.0)))
    gain = doubled - kept
    low, high = intervals.of_few(gain)
    figure = float(gain.mean()) if seeds else None
    what = f"{rule}, dt starting at {start}: accuracy that doubling dt at half the rate brings, {len(seeds)} seeds"
    note = ""
    if seeds:
        note = f"{whole.mean():.1f}% as trained, {kept.mean():.1f}% with dt as it was, {doubled.mean():.1f}% with 2 dt"
    return _finding(what, (figure, low, high), "points", verdict_above(low, high, 0.0), RATE_RULE, note)


def _each(seen: dict, case: tuple[float, float], seeds: Iterable[int]) -> np.ndarray:
    return np.array([seen[*case, seed] for seed in seeds])


# The picture


def figure(records: Records) -> Figure:
    """The error of a step against dt; the losses after training in the words."""
    dashes = {"transition_error": 0, "ramp_error": 2}
    said = {"transition_error": "the state", "ramp_error": "an input that rises over the step"}
    curves = []
    for model, name in ((BILINEAR, "bilinear"), (ZOH, "zero-order hold")):
        rows = sorted(rows_of(records.get("errors", []), model=model), key=lambda row: row.number("dt"))
        for error, dash in dashes.items() if rows else ():
            order = order_of(rows, error)[0]
            exact = max(row.number(error) for row in rows) <= EXACT
            text = f"{name}: {said[error]}" + (f", order {order:.2f}" if order is not None and not exact else "")
            values = tuple(row.number(error) or math.nan for row in rows)
            curves.append(Curve(model, text, tuple(row.number("dt") for row in rows), values, dash=dash))
    for start in STARTS:
        gap = _gap(records.get("trained", []), start)
        if gap.low is not None:
            text = f"loss gap, dt from {start}: {gap.figure:+.3f} [{gap.low:+.3f}, {gap.high:+.3f}]"
            curves.append(Curve("", f"{text}\n  {gap.note.partition(';')[0]}", (), ()))
    return Figure(
        "",
        x=Axis("dt", "log"),
        y=Axis("largest error of a step, of all modes", "log"),
        curves=tuple(curves),
        marks=(Rule(y=EXACT),),
        names=IN_LEGEND,
    )


CLAIM = Claim(
    number=8,
    name="discretisation",
    statement="An SSM is discretised by the bilinear transform or a zero-order hold",
    parts=parts,
    judge=judge,
    figure=figure,
    share=0.17,
)
