"""Claim 2: a Transformer's cost is quadratic in length, Mamba's and RWKV's linear.

The exponent of the linear models is that of the whole step. A Transformer's step is a linear part (its MLPs and
projections) plus attention, so the exponent of the whole step rises slowly from 1 to 2. A difference in which the
linear part cancels gives the exponent of attention alone:

    T(f L) - f T(L) = c (f^2 - f) L^2   for T(L) = b L + c L^2;   exponent = log_f of that at f L over that at L
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from lengthscale.bench.analysis.crossover import BEYOND, CROSSES, Crossing
from lengthscale.bench.analysis.curves import Curve, by_replicate, curves_of
from lengthscale.bench.analysis.fit import Fit, fit_results
from lengthscale.bench.analysis.text import slope
from lengthscale.bench.claims.claim import (
    FAILS,
    HOLDS,
    NOT_DECIDED,
    Claim,
    Finding,
    Lengths,
    Part,
    Results,
    affordable,
    all_of,
    verdict_within,
)
from lengthscale.bench.figures.spec import IN_LEGEND, Axis, DrawnCurve, Figure, Rule
from lengthscale.bench.plan.status import Status
from lengthscale.bench.results import intervals
from lengthscale.bench.results.estimate import Estimate

QUADRATIC, CLAIMED = "transformer", ("mamba", "rwkv4")  # other models are measured too, but decide nothing
WHOLE = ("forward", "train")  # measures of whole sequences
ONE, TWO, NONE = (0.95, 1.05), (1.8, 2.2), (-0.05, 0.05)
LINEAR_RULE = f"linear: exponent of the whole step within {ONE[0]} to {ONE[1]}"
OWN_RULE = f"quadratic: exponent of attention's own part within {TWO[0]} to {TWO[1]}"
DECODE_RULE = f"Transformer: exponent of a token's time above 0.5; the others within {NONE[0]} to {NONE[1]}"
MEMORY_RULE = "quadratic: exponent of the memory above 1.5"
CROSS_RULE = "from some length on the linear model is the cheaper one"

# minutes -> (suite, size, models besides the claimed ones, lengths of prefill, of training, contexts of decoding)
LEVELS = {
    0.0: ("default", "tiny", (), None, "1k,4k,8k,16k", None),
    6.0: ("default", "tiny", (), "1k,4k,8k,16k", "1k,4k,8k,16k", None),
    12.0: ("default", "tiny", ("gru",), "256,1k,4k,8k,16k", "256,1k,4k,8k,16k", "1k,4k,16k,64k"),
    25.0: ("default", "tiny", ("gru", "rnn", "s4d"), "256,1k,4k,8k,16k", "256,1k,4k,8k,16k", "1k,4k,16k,64k"),
    60.0: ("default", "small", ("gru", "rnn", "lstm", "s4d"), "256:16k:x2", "256:16k:x2", "1k:256k:x4"),
}


def parts(minutes: float) -> list[Part]:
    """One run for each measure that the minutes allow."""
    suite, size, others, prefill, training, contexts = affordable(LEVELS, minutes)
    models = ",".join((QUADRATIC, *CLAIMED, *others))
    arguments = tuple(f"--suite {suite} --models {models} --size {size} --timeout 600".split())
    listed = {"train": training, "forward": prefill, "decode": contexts}
    return [
        Part(measure, (*arguments, "--measures", measure, "--lengths", mine))
        for measure, mine in listed.items()
        if mine
    ]


Fits = dict[tuple[str, str, str], Fit]  # by measure, quantity and model


class OwnPart(NamedTuple):
    """The exponent of attention's own part, and the lengths that it is of."""

    exponent: Estimate | None = None
    lengths: Lengths = (None, None)


def own_part(curve: Curve | None) -> OwnPart:
    """Attention's own part, from three lengths L, f L, f^2 L, with the largest f that the curve has."""
    points = {point.length: point for point in curve.points} if curve else {}
    triples = [
        (first, middle, last)
        for last in [max(points, default=0)]
        for middle in points
        for first in points
        if first < middle < last and first * last == middle * middle
    ]
    if not curve or not triples:
        return OwnPart()
    triple = min(triples)
    chosen = tuple(points[length] for length in triple)
    factor = triple[1] / triple[0]

    def exponent(times):
        """Where a difference is not positive there is no such part: minus or plus infinity."""
        low, high = times[..., 1] - factor * times[..., 0], times[..., 2] - factor * times[..., 1]
        with np.errstate(divide="ignore", invalid="ignore"):
            found = np.log(high / low) / math.log(factor)
        return np.where(high <= 0, -np.inf, np.where(low <= 0, np.inf, found))

    value = float(exponent(np.array([point.value for point in chosen])))
    replicates = by_replicate(chosen)
    lengths = (triple[0], triple[2])
    if not math.isfinite(value) or replicates is None:
        return OwnPart(Estimate(value) if math.isfinite(value) else None, lengths)
    return OwnPart(intervals.student(exponent(replicates), value), lengths)


def judge(results: Results) -> list[Finding]:
    """Claim 2's findings: the exponents, and the lengths at which curves cross."""
    everything = results.together()
    curves = {(c.series.measure, c.series.model): c for c in curves_of(everything) if c.quantity == "time_ms"}
    fits, crossings = fit_results(everything)
    by_series = {(fit.series.measure, fit.quantity, fit.series.model): fit for fit in fits}
    claimed, others = [], []
    asked = [measure for measure in WHOLE if measure in results] or list(WHOLE)
    for measure in asked:
        claimed.append(_own(measure, curves.get((measure, QUADRATIC)), by_series))
        claimed += [_slope(measure, "time_ms", model, by_series, ONE, LINEAR_RULE) for model in CLAIMED]
    more = list(dict.fromkeys(model for _, model in curves if model not in (QUADRATIC, *CLAIMED)))
    others += [_slope(measure, "time_ms", model, by_series, ONE, LINEAR_RULE) for model in more for measure in asked]
    if any(measure == "decode" for measure, _ in curves):
        others.append(_slope("decode", "time_ms", QUADRATIC, by_series, (0.5, math.inf), DECODE_RULE))
        others += [_slope("decode", "time_ms", model, by_series, NONE, DECODE_RULE) for model in (*CLAIMED, *more)]
    others.append(_slope("train", "memory_bytes", QUADRATIC, by_series, (1.5, math.inf), MEMORY_RULE))
    others += [_crossing(row) for row in crossings if _is_asked(row)]
    steps = " and of ".join({"forward": "prefill", "train": "a training step"}[measure] for measure in asked)
    rule = f"time of {steps}: {OWN_RULE}; {LINEAR_RULE}; for Mamba and RWKV alike"
    own = next(each for each in reversed(claimed) if "own part" in each.measured)
    linear = ", ".join(
        f"{model} {fit.slope.value:.2f}"
        for model in CLAIMED
        if (fit := by_series.get(("train", "time_ms", model))) and fit.slope
    )
    what = "exponent of a training step's time: attention's own part" + (f" (whole step: {linear})" if linear else "")
    overall = Finding(what, own.estimate, "", all_of(each.verdict for each in claimed), rule, own.lengths)
    return [overall, *claimed, *others]


def _own(measure: str, curve: Curve | None, by_series: Fits) -> Finding:
    found = own_part(curve)
    whole = by_series.get((measure, "time_ms", QUADRATIC))
    note = "three lengths L, f L, f^2 L are needed" if found.exponent is None else ""
    if whole and whole.slope and whole.shares:
        share = whole.shares[2]
        note = f"exponent of the whole step {whole.slope.value:.2f}, of which attention is {share:.0%} at the end"
    verdict = verdict_within(found.exponent, *TWO)
    what = f"{QUADRATIC}, {measure}: exponent of attention's own part of the time"
    return Finding(what, found.exponent, "", verdict, OWN_RULE, found.lengths, note)


def _slope(measure: str, quantity: str, model: str, by_series: Fits, bounds: tuple[float, float], rule: str) -> Finding:
    """Whether the exponent of a quantity is within the bounds."""
    fit = by_series.get((measure, quantity, model))
    kind = "memory" if quantity == "memory_bytes" else "time"
    what = f"{model}, {measure}: exponent of the {kind}"
    if fit is None or fit.slope is None:
        said = "; ".join(text for text in (fit.status, fit.note) if text) if fit else "not measured"
        return Finding(what, None, "", NOT_DECIDED, rule, note=said)
    lengths = (fit.tail_from, fit.length_max)
    return Finding(what, fit.slope, "", verdict_within(fit.slope, *bounds), rule, lengths, fit.note)


def _is_asked(crossing: Crossing) -> bool:
    pair = {crossing.model_short, crossing.model_long}
    measure = crossing.series.measure
    return crossing.quantity == "time_ms" and measure in WHOLE and QUADRATIC in pair and len(pair) == 2


def _linear(crossing: Crossing) -> str:
    """The one of the two models that is not the Transformer."""
    return crossing.model_long if crossing.model_short == QUADRATIC else crossing.model_short


def _crossing(crossing: Crossing) -> Finding:
    linear = _linear(crossing)
    verdict, note = NOT_DECIDED, crossing.note or crossing.status
    if crossing.status == CROSSES:
        verdict, note = (HOLDS if crossing.model_long == linear else FAILS), ""
    elif crossing.status == BEYOND and crossing.model_short == linear:
        verdict, note = HOLDS, f"{linear} is the cheaper one at every length measured"
    elif crossing.status == BEYOND:
        length = crossing.extrapolated_length
        note = f"beyond the range: at {length:,.0f} by the fits" if length else "beyond the range"
    what = f"{crossing.series.measure}: length from which {linear} is cheaper than {QUADRATIC}"
    lengths = (crossing.range_min, crossing.range_max)
    return Finding(what, crossing.length, "tokens", verdict, CROSS_RULE, lengths, note)


def figure(results: Results) -> Figure:
    """The time of a training step (or of prefill, if that is all there is) against the length, with its exponents."""
    good = {name: sum(r.status == Status.OK for r in results.get(name, [])) for name in WHOLE}
    measure = "train" if good["train"] >= good["forward"] else "forward"
    mine = results.get(measure, [])
    fits, crossings = fit_results(mine)
    slopes = {fit.series.model: fit.slope for fit in fits if fit.quantity == "time_ms" and fit.slope}
    cheaper = {_linear(each): each.length.value for each in crossings if _is_asked(each) and each.length}
    drawn = []
    for curve in (curve for curve in curves_of(mine) if curve.quantity == "time_ms"):
        model = curve.series.model
        own = own_part(curve).exponent if model == QUADRATIC else None
        name = model + (f": exponent {slope(slopes[model].value)}" if model in slopes else "")
        name += f", attention's own part {slope(own.value)}" if own else ""
        name += f", cheaper than {QUADRATIC} from {cheaper[model]:,.0f}" if model in cheaper else ""
        drawn.append(DrawnCurve(model, name, tuple(curve.lengths.tolist()), tuple(curve.values.tolist())))
    what = "a training step" if measure == "train" else "prefill"
    lengths = sorted({result.cell.length for result in mine})
    return Figure(
        "",
        x=Axis("sequence length (tokens)", "log", lengths=tuple(lengths)),
        y=Axis(f"time of {what} (ms)", "log"),
        curves=tuple(drawn),
        marks=tuple(Rule(x=cheaper[each.model], model=each.model) for each in drawn if each.model in cheaper),
        names=IN_LEGEND,
    )


CLAIM = Claim(
    2,
    "scaling",
    "A Transformer's cost is quadratic in length, Mamba's and RWKV's linear",
    parts,
    judge,
    figure,
    share=0.17,
)
