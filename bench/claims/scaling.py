"""Claim 2: RWKV's time complexity is linear in length, and Mamba's; a Transformer's is quadratic.

What is quadratic in a Transformer is attention; its MLPs and projections are linear, so the exponent of a whole step
rises slowly from 1 to 2 and says nothing at any one length. So the operator over positions is measured alone
(attention, the scans of Mamba and RWKV), forward and gradient, at 1k, 8k and 64k tokens and more; one algorithm a
curve. Beside it stands the whole training step, to 16k tokens.

The rules, written down before the runs:
- time: the exponent of attention is within 1.9 to 2.1, those of the linear operators, and of a linear model's whole
  step, within 0.95 to 1.05;
- work: the exponents of FLOPs, which are counted and exact, are within the same bounds;
- what caches allow: where all operands fit into the last level of the cache they are read several times faster, so that
  a curve that crosses its size is steeper than the work. Lengths at which they fit are shown and not judged. Attention
  computes much and reads little, and is judged at all lengths. Where the size of the cache is unknown, so are all.
An exponent is the slope of log time on log length over the lengths that are judged, three or more; its interval is over
replicates.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from lengthscale.bench.analysis.fit import slope
from lengthscale.bench.analysis.text import slope as slope_text
from lengthscale.bench.claims import ratios
from lengthscale.bench.claims.claim import (
    Claim,
    Finding,
    Minutes,
    Part,
    Results,
    affordable,
    all_of,
    is_of,
)
from lengthscale.bench.claims.family import At, Question, against, alone, answered, exactly
from lengthscale.bench.figures.spec import IN_LEGEND, Axis, DrawnCurve, Figure
from lengthscale.bench.plan.status import Status
from lengthscale.bench.results import intervals
from lengthscale.bench.results.estimate import Estimate
from lengthscale.bench.results.result import Result

QUADRATIC, LINEAR = "transformer", ("mamba", "rwkv4")
OPERATOR, STEP = "operator", "train"
NAMES = {"transformer": "attention", "mamba": "Mamba's scan", "rwkv4": "RWKV's scan"}
TWO, ONE = (1.9, 2.1), (0.95, 1.05)
FEWEST = 3  # lengths
QUADRATIC_RULE = f"quadratic: exponent within {TWO[0]} to {TWO[1]}"
LINEAR_RULE = f"linear: exponent within {ONE[0]} to {ONE[1]}, where the operands do not fit into the cache"
STEP_RULE = "a Transformer's step is a linear part and a quadratic one"
CLAIM_RULE = f"{QUADRATIC_RULE}, of attention; {LINEAR_RULE}, of the other operators and models; of time and of FLOPs"

# Eight sequences at a time, so that what is linear does not fit into a cache at most lengths.
LENGTHS, AT_BATCH, STEP_LENGTHS, BATCH = "1k,8k,64k", "1k,8k,16k,32k,64k", "1k,4k,8k,16k", 8
READ = 3  # replicates of what is only to be read
# minutes -> replicates of attention and Mamba's scan, of RWKV's scan, which scatters more, and of a training step
LEVELS = {0.0: (8, 30, 0), 12.0: (8, 30, 5), 18.0: (10, 30, 17)}


def parts(minutes: float) -> list[Part]:
    """The linear operators, whole steps, and attention, whose longest length takes longest."""
    of_operators, of_rwkv, of_steps = affordable(LEVELS, minutes)
    scan = f"--measures {OPERATOR} --batch {BATCH} --lengths {AT_BATCH}"
    step = f"--measures {STEP} --batch {BATCH} --lengths {STEP_LENGTHS}"
    wanted = {
        "scan-mamba": f"{scan} --models mamba --replicates {of_operators}",
        "scan-rwkv4": f"{scan} --models rwkv4 --replicates {of_rwkv}",
        "steps": f"{step} --models {','.join(LINEAR)} --replicates {of_steps}",
        "steps-attention": f"{step} --models {QUADRATIC} --replicates {READ}",
        "attention": f"--measures {OPERATOR} --models {QUADRATIC} --lengths {LENGTHS} --replicates {of_operators}",
    }
    chosen = {name: mine for name, mine in wanted.items() if of_steps or not name.startswith("steps")}
    shared = "--suite quick --size tiny --timeout 600"
    return [Part(name, tuple(f"{shared} {mine}".split())) for name, mine in chosen.items()]


def measured(results: Results, measure: str, model: str) -> list[Result]:
    """The ok results of a curve, short lengths first."""
    mine = [r for r in results.together() if r.status == Status.OK and is_of(r, measure=measure, model=model)]
    return sorted((result for result in mine if result.medians_ms), key=lambda result: result.cell.length)


def judged(results: Results, measure: str, model: str) -> list[Result]:
    """Those of them at lengths that are judged."""
    mine = measured(results, measure, model)
    if model == QUADRATIC:
        return mine
    return [result for result in mine if _bytes_of(result) > (results.peaks_of(result).get("cache_bytes") or 0)]


def _bytes_of(result: Result) -> float:
    """The operands of an operator, or the memory of a step."""
    row = result.row
    return (row.operand_bytes if result.cell.measure == OPERATOR else row.mem_planned_bytes) or 0.0


def judge(results: Results) -> list[Finding]:
    """Claim 2's findings: the exponents of time and of FLOPs, of operators and of steps."""
    timed = [(OPERATOR, model) for model in (QUADRATIC, *LINEAR)] + [(STEP, model) for model in LINEAR]
    asked = [_of_time(results, *key) for key in timed] + [_of_work(results, *key) for key in timed]
    answers = answered(asked)
    of_operators = [each for (measure, _), each in zip((*timed, *timed), answers, strict=True) if measure == OPERATOR]
    of_steps = [
        each
        for (measure, model), each in zip((*timed, *timed), answers, strict=True)
        if measure == STEP and measured(results, measure, model)
    ]
    others = alone([_of_time(results, STEP, QUADRATIC), *_memory(results)])
    attention = answers[0]
    decisive = (*of_operators, *of_steps)
    verdict, note = all_of(each.verdict for each in decisive), against(decisive)
    overall = replace(attention, verdict=verdict, decided_by=CLAIM_RULE, says=_sentence(answers), note=note)
    return [overall, *answers, *others]


def _sentence(answers: list[Finding]) -> str:
    known = {model: each.estimate for model, each in zip(NAMES, answers, strict=False) if each.estimate}
    said = (f"{NAMES[model]} {slope_text(estimate.value)}" for model, estimate in known.items())
    return f"Exponents of time against length: {', '.join(said)}" if known else ""


def _bounds(model: str) -> tuple[tuple[float, float], str]:
    return (TWO, QUADRATIC_RULE) if model == QUADRATIC else (ONE, LINEAR_RULE)


def _what(measure: str, model: str) -> str:
    return f"{NAMES[model]} alone, forward and gradient" if measure == OPERATOR else f"{model}, training step"


def _of_time(results: Results, measure: str, model: str) -> Question:
    mine = judged(results, measure, model)
    bounds, rule = _bounds(model)
    if (measure, model) == (STEP, QUADRATIC):
        rule = STEP_RULE
    notes, at = [], exponent(mine)
    if len(algorithms := {result.row.calls for result in mine}) > 1:
        notes, at = [f"more than one algorithm: {', '.join(sorted(map(str, algorithms)))}"], exactly(None)
    elif algorithms - {None}:
        notes = [f"kernels: {', '.join(map(str, algorithms))}"]
    if mine:
        notes.append(f"{_bytes_of(mine[0]) / 1e6:,.0f} MB at the shortest of {len(mine)} lengths")
    if left := len(measured(results, measure, model)) - len(mine):
        notes.append(f"{left} fit into the cache")
    what = f"{_what(measure, model)}: exponent of the time"
    count = ratios.replicates_of(*mine) if mine else 0
    return Question(what, at, bounds, rule, count, lengths=_ends(mine), note="; ".join(notes))


def exponent(mine: list[Result]) -> At:
    """The slope of log time on log length over these results; None of fewer than FEWEST lengths."""

    def at(confidence: float) -> Estimate | None:
        if len(mine) < FEWEST:
            return None
        lengths = np.log([result.cell.length for result in mine])
        medians = np.log([result.row.number("time_median_ms") for result in mine])
        value = float(slope(lengths, medians))
        return intervals.of_medians(ratios.logs_of(*mine), lambda logs: slope(lengths, logs), value, confidence)

    return at


def _of_work(results: Results, measure: str, model: str) -> Question:
    """The exponent of FLOPs between the two longest lengths: counted, so exact."""
    bounds, rule = _bounds(model)
    mine = measured(results, measure, model)[-2:]
    what = f"{_what(measure, model)}: exponent of FLOPs"
    return Question(what, exactly(_exact(mine, "flops")), bounds, rule, lengths=_ends(mine))


def _memory(results: Results) -> Iterable[Question]:
    """The exponents of the bytes that an operator must read and write."""
    for model in (QUADRATIC, *LINEAR):
        mine = measured(results, OPERATOR, model)[-2:]
        what = f"{_what(OPERATOR, model)}: exponent of the bytes of its operands and results"
        rule = "1 for each of them"
        yield Question(what, exactly(_exact(mine, "operand_bytes")), ONE, rule, lengths=_ends(mine))


def _exact(mine: list[Result], column: str) -> float | None:
    if len(mine) < 2 or any(getattr(result.row, column) is None for result in mine):
        return None
    short, long = ((result.row.number(column), result.cell.length) for result in mine)
    return math.log(long[0] / short[0]) / math.log(long[1] / short[1])


def _ends(mine: list[Result]) -> tuple[int | None, int | None]:
    lengths = [result.cell.length for result in mine]
    return min(lengths, default=None), max(lengths, default=None)


def figures(results: Results) -> tuple[Figure, ...]:
    """The time of the operators alone, and of a training step, against the length."""
    titles = {OPERATOR: "The operator alone, forward and gradient", STEP: "A whole training step"}
    made = [_drawn(results, measure, titles[measure]) for measure in titles]
    return tuple(figure for figure in made if figure.curves) or (made[0],)


def _drawn(results: Results, measure: str, title: str) -> Figure:
    curves, lengths = [], set()
    for model in (QUADRATIC, *LINEAR):
        mine = measured(results, measure, model)
        if not mine:
            continue
        found = exponent(judged(results, measure, model))(intervals.CONFIDENCE)
        name = NAMES[model] if measure == OPERATOR else model
        name += f" of {mine[0].cell.batch} sequences" if mine[0].cell.batch > 1 else ""
        name += f": exponent {slope_text(found.value)}" if found else ""
        times = tuple(result.row.number("time_median_ms") for result in mine)
        curves.append(DrawnCurve(model, name, tuple(float(r.cell.length) for r in mine), times))
        lengths |= {result.cell.length for result in mine}
    return Figure(
        title,
        x=Axis("sequence length (tokens)", "log", lengths=tuple(sorted(lengths))),
        y=Axis("time (ms)", "log"),
        curves=tuple(curves),
        names=IN_LEGEND,
    )


CLAIM = Claim(
    2,
    "scaling",
    "A Transformer's cost is quadratic in length, Mamba's and RWKV's linear",
    "from 512 to 65,536 tokens in all at 16k and more: FlashAttention-3 12.7 to 58 ms, Mamba 28 to 34 ms (xLSTM-TFLA, "
    "H100)",
    parts,
    judge,
    figures,
    Minutes(8, 19),
)
