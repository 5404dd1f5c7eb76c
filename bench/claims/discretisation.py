"""Claim 8: discretisation uses the bilinear transform or the zero-order hold, as in signal processing.

It is tested as "either will do", with S4D and in three parts. What they compute is in bench/device/measures/
(discretisation.py and resampling.py).

a. Compared with the matrix exponential: a zero-order hold is exact for a held input, and the bilinear transform has an
   error of dt^3 a step. For an input that rises over the step both have an error of dt^2, since neither knows the input
   between two samples. These orders are exact: the slope between the smallest steps.
b. After training, where dt starts at 1e-3, at 1e-1, and in between (log-uniform, the usual start): do the losses of the
   two rules differ by less than those of two seeds? A gap is between runs of the same seed, first parameters and
   batches, at the learning rates that a search found for either (`tune`). Two seeds differ by sqrt(2) standard
   deviations, root mean square; the figure is the gap in units of that difference, with an interval over seeds that
   covers the scatter of both.
c. Zero-shot, on half as many samples of the same images: the gain of doubling dt, for either rule. It decides nothing.

It holds if a. is so and every gap is between -1 and 1, and fails if one is certainly not. How many seeds a start takes
was computed from a pilot with seeds 1 to 16, which take no part here: its intervals reached 0.08, 0.4 and 0.8 from the
gap. Seeds run one after the other: all of them in one program (vmap) were measured at 0.38 to 0.95 of that speed on 2
cores.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from lengthscale.bench.analysis import fit
from lengthscale.bench.claims import learning_rates
from lengthscale.bench.claims.claim import (
    CellRow,
    Claim,
    Finding,
    Minutes,
    Part,
    Results,
    affordable,
    all_of,
    rows_of,
    seeds_from,
)
from lengthscale.bench.claims.drawn import points
from lengthscale.bench.claims.family import INFINITY, Question, against, alone, answered, exactly, mean_of
from lengthscale.bench.figures.spec import IN_LEGEND, NOWHERE, Axis, DrawnCurve, Figure, Rule, Span
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
LENGTH, BATCH, STEPS = 144, 16, 300  # pixels of 12 x 12; images a step
LENGTHS = (LENGTH, LENGTH)
SMALL_Z = 0.3  # dt |A| up to which the error's leading term is nearly all of it
EXACT = 1e-12  # for a state of about 1, in float64
ORDER_RULE = f"bilinear: slope of log error on log dt 2.9 to 3.1 (dt |A| < {SMALL_Z:g})"
HOLD_RULE = f"zero-order hold: error below {EXACT:g}"
GAP_RULE = "loss by bilinear less that by zero-order hold, over the difference of two seeds: within -1 to 1"
RATE_RULE = "above 0, doubling dt helps at half the sampling rate"

FIRST_SEED = 101  # those of the pilot are lower
# minutes -> seeds of each start
LEVELS = {0.0: (8, 8, 8), 14.0: (8, 12, 40), 30.0: (16, 24, 80)}


def parts(minutes: float) -> list[Part]:
    """The errors of a step, and the training at each start of dt."""
    tokens = LENGTH * BATCH
    shared = f"--suite quick --size tiny --data mnist --lengths {LENGTH} --step-tokens {tokens} --timeout 600"
    errors = f"{shared} --measures discretisation --models {ZOH},{BILINEAR} --train-tokens {20 * tokens}"
    made = [Part("errors", tuple(errors.split()))]
    for number, (models, count) in enumerate(zip(STARTS.values(), affordable(LEVELS, minutes), strict=True)):
        trained = f"{shared} --measures resampling --train-tokens {tokens * STEPS} --windows 1000"
        trained += f" --models {','.join(models)} --seed {seeds_from(FIRST_SEED, count)}"
        made.append(Part(f"trained-{number}", tuple(trained.split())))
    return made


def judge(results: Results) -> list[Finding]:
    """Claim 8's findings: of parts a, b and c."""
    errors, trained = results.get("errors", []), results.of_parts("trained")
    asked = [*_steps(errors), *(_gap(trained, start) for start in STARTS)]
    answers = answered(asked)
    ramps = alone(_ramp(errors, model, name) for model, name in ((BILINEAR, "bilinear"), (ZOH, "zero-order hold")))
    rates = alone(_resampled(trained, start, model) for start in ENDS for model in STARTS[start])
    usual = answers[-2]
    gaps = dict(zip(STARTS, answers[-len(STARTS) :], strict=True))
    rule = f"{ORDER_RULE}; {HOLD_RULE}; {GAP_RULE}, for each start of dt"
    verdict, says = all_of(each.verdict for each in answers), _sentence(answers[0], gaps)
    overall = replace(usual, verdict=verdict, decided_by=rule, says=says, note=against(answers))
    return [overall, *answers, *ramps, *rates]


def _sentence(order: Finding, gaps: dict[str, Finding]) -> str:
    said = [f"{each.estimate.value:+.2f} at dt = {start}" for start, each in gaps.items() if each.estimate]
    if not said or order.estimate is None:
        return ""
    return (
        f"Bilinear is of order {order.estimate.value:.2f} in dt; its loss less that by zero-order hold, "
        f"in differences of two seeds: {', '.join(said)}"
    )


# a. The error of a step


def _steps(results: list[Result]) -> list[Question]:
    """The order of the bilinear state's error, and the zero-order hold's largest error; both exact."""
    order = order_of(rows_of(results, model=BILINEAR), "transition_error")
    what = "bilinear: order in dt of |Abar - exp(dt A)|, trained A, float64"
    bilinear = Question(what, exactly(order), (2.9, 3.1), ORDER_RULE, lengths=LENGTHS)
    rows = rows_of(results, model=ZOH)
    worst = max((max(row.number("transition_error"), row.number("held_error")) for row in rows), default=None)
    what = "zero-order hold: largest error of a step for a held input, all dt"
    return [bilinear, Question(what, exactly(worst), (-INFINITY, EXACT), HOLD_RULE, lengths=LENGTHS)]


def _ramp(results: list[Result], model: str, name: str) -> Question:
    order = order_of(rows_of(results, model=model), "ramp_error")
    what = f"{name}: order in dt of a step's error for an input that rises over it"
    rule = "2 for either, in theory"
    return Question(what, exactly(order), (1.9, 2.1), rule, lengths=LENGTHS)


def order_of(rows: list[CellRow], error: str) -> float | None:
    """The slope of log error on log dt where dt |A| is small; None of fewer than 3 points.

    The errors are exact but for rounding: it has no interval.
    """
    points = sorted(
        (row.number("dt"), row.number(error))
        for row in rows
        if row.number("largest_z") < SMALL_Z and row.number(error) > 0
    )
    if len(points) < 3:
        return None
    steps, errors = np.log(np.array(points)).T
    return float(fit.slope(steps, errors))


# b. The loss after training


def _losses(results: list[Result], model: str) -> dict[int, CellRow]:
    """The row of each seed that has the loss at the sampling rate of training."""
    rows = rows_of(results, model=model)
    return {row.cell.seed: row for row in rows if row.row.rate == 1 and row.row.loss is not None}


def _gap(results: list[Result], start: str) -> Question:
    zoh, bilinear = (_losses(results, model) for model in STARTS[start])
    seeds = sorted(zoh.keys() & bilinear.keys())
    by_zoh, by_bilinear = (np.array([of[seed].number("loss") for seed in seeds]) for of in (zoh, bilinear))
    what = f"loss by bilinear less that by zero-order hold, dt starting at {start}"
    rows = [of[seed].row for of in (zoh, bilinear) for seed in seeds]
    note = ""
    if len(seeds) >= intervals.FEWEST:
        mean = intervals.mean_of_few(by_bilinear - by_zoh)
        assert mean is not None
        ends = f" [{mean.low:+.3g}, {mean.high:+.3g}]" if mean.interval else ""
        note = f"{mean.value:+.3g}{ends} nats, where two seeds differ by {between_seeds(by_zoh, by_bilinear):.3g}, "
        note += (
            f"at losses of {np.mean([by_zoh, by_bilinear]):.3g}; {learning_rates.note_on(rows)}; after training dt is "
        )
        note += f"{min(row.number('dt_p10') for row in rows):.2g} to {max(row.number('dt_p90') for row in rows):.2g}"

    def at(confidence: float) -> Estimate | None:
        if len(seeds) < intervals.FEWEST:
            return None
        return intervals.jackknife(by_zoh, by_bilinear, in_seeds, confidence)

    unit = "differences of two seeds"
    return Question(what, learning_rates.decisive(at, rows), (-1, 1), GAP_RULE, len(seeds), unit, LENGTHS, note)


def in_seeds(zoh: np.ndarray, bilinear: np.ndarray) -> float:
    """The mean difference of paired losses, (seeds,), in units of the difference of two seeds under one rule."""
    return float(np.mean(bilinear - zoh)) / between_seeds(zoh, bilinear)


def between_seeds(zoh: np.ndarray, bilinear: np.ndarray) -> float:
    """The root mean square difference of the losses of two seeds under one rule."""
    return math.sqrt(np.var(zoh, ddof=1) + np.var(bilinear, ddof=1))


# c. Half the sampling rate


def _resampled(results: list[Result], start: str, model: str) -> Question:
    rule = "zero-order hold" if model == STARTS[start][0] else "bilinear"
    seen = {
        (row.number("rate"), row.number("dt_factor"), row.cell.seed): 100 * row.number("accuracy")
        for row in rows_of(results, model=model)
    }
    seeds = sorted({seed for _, _, seed in seen})
    whole, kept, doubled = (_each(seen, case, seeds) for case in ((1.0, 1.0), (0.5, 1.0), (0.5, 2.0)))
    what = f"{rule}, dt starting at {start}: accuracy that doubling dt at half the rate brings"
    note = ""
    if seeds:
        note = f"{whole.mean():.1f}% as trained, {kept.mean():.1f}% with dt as it was, {doubled.mean():.1f}% with 2 dt"
    at = mean_of(doubled - kept)
    return Question(what, at, (0.0, INFINITY), RATE_RULE, len(seeds), "points", LENGTHS, note)


def _each(seen: dict, case: tuple[float, float], seeds: Iterable[int]) -> np.ndarray:
    return np.array([seen[*case, seed] for seed in seeds])


# The picture


def figures(results: Results) -> tuple[Figure, ...]:
    """The error of a step against dt, and the gaps of the losses."""
    dashes = {"transition_error": 0, "ramp_error": 2}
    said = {"transition_error": "the state", "ramp_error": "an input that rises over the step"}
    curves = []
    for model, name in ((BILINEAR, "bilinear"), (ZOH, "zero-order hold")):
        rows = sorted(rows_of(results.get("errors", []), model=model), key=lambda row: row.number("dt"))
        for error, dash in dashes.items() if rows else ():
            order = order_of(rows, error)
            exact = max(row.number(error) for row in rows) <= EXACT
            text = f"{name}: {said[error]}" + (f", order {order:.2f}" if order and not exact else "")
            values = tuple(row.number(error) or math.nan for row in rows)
            curves.append(DrawnCurve(model, text, tuple(row.number("dt") for row in rows), values, dash=dash))
    steps = Figure(
        "",
        x=Axis("dt", "log"),
        y=Axis("largest error of a step, of all modes", "log"),
        curves=tuple(curves),
        marks=(Rule(y=EXACT),),
        names=IN_LEGEND,
    )
    answers = {each.measured: each for each in judge(results)[1:]}
    gaps = [answers[_gap(results.of_parts("trained"), start).measured].estimate for start in STARTS]
    shown = {float(place): gap for place, gap in enumerate(gaps) if gap}
    if not shown:
        return (steps,)
    trained = Figure(
        "After training: loss of the bilinear rule less that of the zero-order hold",
        x=Axis(
            "where dt starts", ticks=tuple((float(at), start) for at, start in enumerate(STARTS)), limits=(-0.5, 2.5)
        ),
        y=Axis("gap, in differences of two seeds"),
        curves=(points(BILINEAR, "bilinear less zero-order hold", shown),),
        marks=(Span(-1, 1), Rule(y=0.0, solid=True)),
        names=NOWHERE,
    )
    return steps, trained


CLAIM = Claim(
    8,
    "discretisation",
    "An SSM is discretised by the bilinear transform or the zero-order hold",
    "S4 uses the bilinear transform, Mamba the zero-order hold, S4D either, with little difference (Gu et al. 2021, "
    "arXiv:2111.00396; 2023, 2312.00752; 2022, 2206.11893)",
    parts,
    judge,
    figures,
    Minutes(8, 15),
)
