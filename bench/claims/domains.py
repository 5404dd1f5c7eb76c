"""Claim 5: Mamba leads on language, audio and genomics.

The tokens are bytes of Shakespeare, bases of E. coli and samples of music (mu-law). The models have equal width and
parameters (within 5%) and are trained on the same tokens in as many steps, each at its best learning rate. The loss is
measured on the same held-out targets, given the longest context that all models were trained to read. Mamba leads
another model if the interval of its loss less the other's is below 0, where the interval is the wider one of two: over
places, in pairs, and over seeds. It leads on a domain if it leads all others there. A failure is a result: in Mamba's
own paper S4 is ahead of S6 on raw audio, and bacterial DNA has hardly any long-range information.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lengthscale.bench.claims.claim import NOT_DECIDED, Claim, Finding, Part, Results, affordable, all_of, verdict_below
from lengthscale.bench.claims.paired import Difference, best_rate, difference, losses
from lengthscale.bench.data.targets import RUN
from lengthscale.bench.figures.spec import NOWHERE, Axis, DrawnCurve, Ends, Figure, Mark, Rule, Words
from lengthscale.bench.results import intervals
from lengthscale.bench.results.estimate import Estimate

MODEL = "mamba"
DOMAINS = {"text": "language", "audio": "audio", "genome": "genomics"}
SEEDS = 3  # with fewer, the effect of random weights cannot be separated from that of the model
RULE = f"{MODEL}'s loss less the other's below 0, over places in pairs and over {SEEDS} seeds or more"

# The likeliest first, then those to both sides of it: of 3e-3, 1e-2, 3e-2 the first had the lowest loss on text, with
# one seed and 256 steps of 1,024 tokens; on the genome the rates made hardly a difference.
RATES = {
    "mamba": ("3e-2", "1e-2", "1e-1"),
    "transformer": ("1e-2", "3e-3", "3e-2"),
    "gru": ("1e-2", "3e-2", "3e-3"),
    "s4d": ("3e-2", "1e-2", "1e-1"),
}
OTHERS = tuple(name for name in RATES if name != MODEL)


class Level(NamedTuple):
    """What a budget of minutes buys."""

    rates: int  # of each model
    seeds: int
    length: int  # trained at
    step_tokens: int
    train_tokens: int
    places: int  # of 64 targets each


# minutes -> what to run: a model's first cell takes 15 to 20 s, most of it compiling, and another seed takes 6 s. The
# seeds come before further models, since with 3 seeds one model that is not behind decides. The same command goes on
# with what did not begin in the minutes given.
LEVELS = {
    0.0: Level(1, 1, 256, 1024, 2**17, 32),
    2.0: Level(1, 3, 256, 1024, 2**18, 64),
    12.0: Level(2, 3, 256, 1024, 2**18, 64),
    40.0: Level(3, 3, 512, 2048, 2**19, 64),
    120.0: Level(3, 3, 1024, 4096, 2**21, 128),
}


def parts(minutes: float) -> list[Part]:
    """The most promising rates on all domains first, so that no domain is left out."""
    level = affordable(LEVELS, minutes)
    tried: dict[str, list[str]] = {}  # rate -> models
    for number in range(level.rates):
        for model, rates in RATES.items():
            tried.setdefault(rates[number], []).append(model)
    longest = level.length - RUN
    made = []
    for rate, models in tried.items():
        for data in DOMAINS:
            arguments = f"--suite quick --measures quality --models {','.join(models)} --size tiny --data {data}"
            arguments += f" --lengths {level.length} --step-tokens {level.step_tokens}"
            arguments += f" --train-tokens {level.train_tokens} --contexts {longest}"
            arguments += f" --targets {RUN * level.places} --learning-rate {rate}"
            arguments += f" --seed {','.join(map(str, range(level.seeds)))} --timeout {max(300, round(60 * minutes))}"
            made.append(Part(f"{data}-{rate}", tuple(arguments.split())))
    return made


class Lead(NamedTuple):
    """Mamba's loss less another model's on a domain; below 0 Mamba leads."""

    data: str
    other: str
    difference: Difference
    seeds: int
    context: int | None
    verdict: str
    note: str


def lead(results: Results, data: str, other: str) -> Lead:
    """Mamba's lead over another model on a domain."""
    mine, my_rate = best_rate(results, model=MODEL, data=data)
    theirs, their_rate = best_rate(results, model=other, data=data)
    seeds = sorted({each.cell.seed for each in mine} & {each.cell.seed for each in theirs})
    note = f"{MODEL}: {my_rate}; {other}: {their_rate}"
    if not seeds:
        return Lead(data, other, Difference(), 0, None, NOT_DECIDED, note)
    context = max(row.context for row in mine[0].rows if row.context)
    of, to = ([losses(r, context) for r in each if r.cell.seed in seeds] for each in (mine, theirs))
    found = _over_seeds(of, to)
    verdict = verdict_below(found.estimate, 0.0)
    if len(seeds) < SEEDS:
        verdict = NOT_DECIDED
        note += f"; seeds: {len(seeds)}, so that the interval is over places alone, and {SEEDS} are needed"
    return Lead(data, other, found, len(seeds), context, verdict, note)


def _over_seeds(of: list[np.ndarray], to: list[np.ndarray]) -> Difference:
    """The mean difference; its interval reaches as far as the one over places and the one over seeds."""
    lengths = {len(each) for each in (*of, *to)}
    if lengths == {0} or len(lengths) > 1:
        return Difference()
    whole = difference(np.mean(of, axis=0), np.mean(to, axis=0))
    places, seeds = whole.estimate, intervals.mean_of_few(np.mean(of, axis=1) - np.mean(to, axis=1))
    if not (places and places.interval and seeds and seeds.interval):
        return whole
    ends = zip(places.interval, seeds.interval, strict=True)
    (low, high) = (pick(each) for pick, each in zip((min, max), ends, strict=True))
    return whole._replace(estimate=Estimate(places.value, low, high))


def judge(results: Results) -> list[Finding]:
    """Claim 5's findings: of each domain, then of each other model on it."""
    leads = {data: [lead(results, data, other) for other in OTHERS] for data in DOMAINS}
    domains = {data: all_of(each.verdict for each in mine) for data, mine in leads.items()}
    tables = [_domain(data, mine, domains[data]) for data, mine in leads.items()]
    measured = [table for table in tables if table.estimate]
    worst = max(measured, key=lambda table: _value(table.estimate), default=tables[0])
    said = ", ".join(f"{DOMAINS[data]} {verdict}" for data, verdict in domains.items())
    contexts = [context for table in tables for context in table.lengths if context is not None]
    lengths = (min(contexts, default=None), max(contexts, default=None))
    what = f"{worst.measured}, the worst of {len(measured)} domains measured"
    rule = f"{RULE}, for each of {', '.join(OTHERS)} on each domain"
    note = f"{said}; {worst.note}"
    overall = Finding(what, worst.estimate, worst.unit, all_of(domains.values()), rule, lengths, note)
    return [overall, *tables, *(_finding(each) for mine in leads.values() for each in mine)]


def _value(estimate: Estimate | None) -> float:
    assert estimate is not None
    return estimate.value


def _domain(data: str, leads: list[Lead], verdict: str) -> Finding:
    """Mamba compared with the best of the others, on which its verdict depends."""
    known = [each for each in leads if each.difference.estimate]
    if not known:
        what = f"{DOMAINS[data]} ({data}): loss of {MODEL} less that of the best other"
        return Finding(what, None, "nats a token", verdict, RULE, note=leads[0].note)
    best = max(known, key=lambda each: _value(each.difference.estimate))
    missing = [each.other for each in leads if each not in known]
    note = "; ".join([best.note, *([f"without {', '.join(missing)}"] if missing else [])])
    what = f"{DOMAINS[data]} ({data}): loss of {MODEL} less that of the best other, {best.other}"
    lengths = (best.context, best.context)
    return Finding(what, best.difference.estimate, "nats a token", verdict, RULE, lengths, note)


def _finding(each: Lead) -> Finding:
    what = f"{each.data}: loss of {MODEL} less that of {each.other}"
    what += f", {each.seeds} seeds, {each.difference.places} places" if each.seeds else ""
    lengths = (each.context, each.context)
    return Finding(what, each.difference.estimate, "nats a token", each.verdict, RULE, lengths, each.note)


def figure(results: Results) -> Figure:
    """A line for each domain and other model, with its interval; left of 0 Mamba leads."""
    curves: list[DrawnCurve] = []
    marks: list[Mark] = [Rule(x=0.0, solid=True)]
    for group, data in enumerate(DOMAINS):
        for place, other in enumerate(OTHERS):
            found, at = lead(results, data, other).difference.estimate, -group * (len(OTHERS) + 0.7) - place
            if found is None:
                marks.append(Words(f"{other} not measured", 0.0, at))
                continue
            low, high = found.interval or (found.value, found.value)
            across = Ends((low,), (high,))
            curves.append(DrawnCurve(other, other, (found.value,), (at,), across=across, joined=False))
            marks.append(Words(f"{other} {found.value:+.3f}", high, at))
    middles = [-group * (len(OTHERS) + 0.7) - (len(OTHERS) - 1) / 2 for group in range(len(DOMAINS))]
    ends = (middles[-1] + middles[0] - 0.7, 0.7)  # also where a line was not measured
    return Figure(
        "",
        x=Axis(f"loss of {MODEL} less the other's (nats a token); left of 0 {MODEL} leads", margin=0.25),
        y=Axis("", ticks=tuple(zip(middles, DOMAINS, strict=True)), upright=False, limits=ends),
        curves=tuple(curves),
        marks=tuple(marks),
        names=NOWHERE,
    )


CLAIM = Claim(5, "domains", "Mamba leads on language, audio and genomics", parts, judge, figure, share=0.225)
