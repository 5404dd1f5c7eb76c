"""Claim 4: Mamba gets better on real data up to a million tokens.

The loss is measured on held-out targets of source code, the only data set here whose held-out part is longer than 2^20
tokens, given the last c tokens before them, c = 2^6, 2^8 ... 2^20. Mamba gets better up to c if the interval of
loss(c) - loss(c / 4), paired over places, is below 0. Beyond the length that it was trained at, its state may blow up;
that is a result.

A step is flat if it is not better and its gain is certainly below FLAT = 0.001 nats a token. That is a hundredth of
what LZMA gains from a fourfold window on the same kind of text (1.88 bits a byte at 2^12, 1.23 at 2^20: 0.11 nats for
each factor of 4).

Two controls test the protocol; where one fails, nothing is decided. Shuffled, for gains: the longest context that all
places are read at, with all but its last NEAR tokens shuffled, must keep less than half of what the same context in
order gains over NEAR tokens (or less than FLAT, where that gain is small). Planted, for gains and for flatness: in a
stream with a repeat at a known distance (bench/data/planted.py) the gain must appear at that context and not below it.
This control uses a Transformer, which learns the repeat in a few hundred steps where recurrent models of this size do
not: it tests the protocol and not the model.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from lengthscale.bench.claims.claim import (
    FAILS,
    HOLDS,
    NOT_DECIDED,
    Claim,
    Finding,
    Part,
    Results,
    affordable,
    verdict_above,
    verdict_below,
    verdict_within,
)
from lengthscale.bench.claims.paired import Difference, best_rate, difference, losses, mean_losses, with_losses
from lengthscale.bench.data import planted
from lengthscale.bench.data.targets import RUN
from lengthscale.bench.figures.spec import IN_LEGEND, Axis, DrawnCurve, Ends, Figure, Rule, Span
from lengthscale.bench.results.estimate import Estimate
from lengthscale.bench.results.result import Result

MODEL, DATA = "mamba", "code"
FIRST, MILLION, FACTOR = 64, 2**20, 4
FLAT = 0.001  # nats a token
NEAR = 256  # tokens that stay as they are
FINDER = "transformer"
LEAST, MOST = 0.5, 0.1  # shares of the possible gain: at the distance more than LEAST, below it less than MOST
RULE = (
    f"better up to c: loss(c) - loss(c / {FACTOR}) below 0; flat or worse: above -{FLAT:g} nats. Holds: better at "
    f"every c up to 2^20. Fails: flat or worse at some c up to 2^20, and better at none beyond it"
)
SHUFFLED_RULE = f"better than {NEAR} tokens by less than half of the same context in its order, or than {FLAT:g} nats"
PLANTED_RULE = (
    f"of the possible gain of {planted.CHANCE - planted.floor():.2f} nats more than {LEAST:.0%} at the distance, "
    f"less than {MOST:.0%} below it"
)


class Level(NamedTuple):
    """What a budget of minutes buys."""

    rates: tuple[str, ...]  # the likeliest first
    seeds: int
    length: int  # trained at
    train_tokens: int
    longest: int  # context
    context_tokens: int  # read at one context
    places: int  # of 64 targets each


# minutes -> what to run; reading 2^20 tokens takes a `tiny` Mamba about 5 s
LEVELS = {
    0.0: Level(("1e-2",), 1, 1024, 2**19, 2**14, 2**19, 32),
    1.0: Level(("1e-2",), 1, 1024, 2**20, 2**16, 2**20, 64),
    1.4: Level(("1e-2",), 1, 1024, 2**20, 2**20, 2**21, 64),
    6.0: Level(("1e-2", "3e-2"), 1, 1024, 2**22, 2**20, 2**22, 64),
    25.0: Level(("1e-2", "3e-2", "3e-3"), 1, 4096, 2**23, 2**20, 2**24, 128),
    90.0: Level(("1e-2", "3e-2", "3e-3"), 3, 4096, 2**24, 2**20, 2**24, 128),
}
PLANTED_STEPS = 400


def contexts_to(longest: int) -> list[int]:
    """The contexts up to the longest one, in tokens."""
    return [c for power in range(11) if (c := FIRST * FACTOR**power) <= longest]


def parts(minutes: float) -> list[Part]:
    """The planted control, then one run for each learning rate."""
    level = affordable(LEVELS, minutes)
    deadline = f"--timeout {max(300, round(60 * minutes))}"
    read = f"--suite quick --measures quality --models {MODEL} --size tiny --data {DATA} --lengths {level.length}"
    read += f" --step-tokens {level.length} --train-tokens {level.train_tokens} --targets {RUN * level.places}"
    read += f" --contexts {','.join(map(str, contexts_to(level.longest)))} --context-tokens {level.context_tokens}"
    read += f" --shuffle-beyond {NEAR} --seed {','.join(map(str, range(level.seeds)))} {deadline}"
    distance = planted.DISTANCE
    find = f"--suite quick --measures quality --models {FINDER} --size tiny --data {planted.NAME}:distance={distance}"
    find += f" --lengths {8 * distance} --step-tokens {128 * distance} --train-tokens {128 * distance * PLANTED_STEPS}"
    find += f" --contexts {distance // 16},{distance // 4},{distance} --targets {64 * RUN}"
    rates = [Part(f"rate-{rate}", (*read.split(), "--learning-rate", rate)) for rate in level.rates]
    return [Part("planted", tuple(f"{find} {deadline}".split())), *rates]  # short first: none begins too late


class Step(NamedTuple):
    """What a context four times as long buys."""

    context: int
    difference: Difference
    verdict: str  # HOLDS: better; FAILS: flat or worse
    note: str = ""


def steps_of(results: list[Result]) -> list[Step]:
    """A step for each context of which a quarter was measured too, short ones first; several results are seeds."""
    contexts = sorted({row.context for result in results for row in result.rows if row.context})
    found = []
    for context in contexts:
        if context // FACTOR in contexts:
            of, to = mean_losses(results, context), mean_losses(results, context // FACTOR)
            of, to = of[: len(to)], to[: len(of)]
            apart = difference(of, to)
            if np.isfinite(to).all() and not np.isfinite(of).all():
                found.append(Step(context, apart, FAILS, "the loss is no longer finite"))
            else:
                found.append(Step(context, apart, _verdict(apart)))
    return found


def _verdict(step: Difference) -> str:
    """HOLDS: certainly better. FAILS: certainly better by less than FLAT, or not at all."""
    if verdict_below(step.estimate, 0.0) == HOLDS:
        return HOLDS
    return FAILS if verdict_above(step.estimate, -FLAT) == HOLDS else NOT_DECIDED


def better_up_to(steps: list[Step]) -> int | None:
    """The largest context at which the loss certainly falls, with no flat step before it; None where there is none."""
    largest = None
    for step in steps:
        if step.verdict == FAILS:
            break
        if step.verdict == HOLDS:
            largest = step.context
    return largest


def verdict_of(steps: list[Step]) -> str:
    """The verdict on the claim from its steps up to a million tokens."""
    verdicts = [step.verdict for step in steps if step.context <= MILLION]
    if FAILS in verdicts and HOLDS not in verdicts[verdicts.index(FAILS) :]:
        return FAILS
    whole = bool(steps) and steps[-1].context >= MILLION
    return HOLDS if whole and all(verdict == HOLDS for verdict in verdicts) else NOT_DECIDED


def _without_control(results: Results) -> Results:
    return Results({name: part for name, part in results.items() if name != "planted"})


def judge(results: Results) -> list[Finding]:
    """Claim 4's findings: of each step, and of the two controls."""
    mine, note = best_rate(_without_control(results), model=MODEL, data=DATA)
    steps = steps_of(mine)
    longest = steps[-1].context if steps else None
    shuffle, plants = _shuffled(mine), _planted(results.get("planted", []))
    said = [note]
    if longest is not None and longest < MILLION:
        said.append(f"the budget reached contexts of {longest:,} tokens")
    verdict = verdict_of(steps)
    needed = plants if verdict == FAILS else [shuffle, *plants]
    broken = [
        each for each in (shuffle, *plants) if each.verdict == FAILS or (each in needed and each.verdict != HOLDS)
    ]
    said += [f"{'failed' if each.verdict == FAILS else 'undecided'}: {each.measured}" for each in broken]
    verdict = NOT_DECIDED if broken else verdict
    facts = [DATA]
    if mine:  # a small model on a small budget says little about a large one
        cell, row = mine[0].cell, mine[0].row
        facts += [cell.size, f"{row.train_tokens:,} tokens of training at {cell.length:,}"]
    what = f"largest context up to which the loss of {MODEL} ({', '.join(facts)}) falls"
    largest = better_up_to(steps)
    if steps and largest is None:
        what += f": none from {steps[0].context:,} on, as far as the intervals show"
    found = None if largest is None else Estimate(float(largest))
    lengths = (FIRST, longest) if steps else (None, None)
    overall = Finding(what, found, "tokens", verdict, RULE, lengths, "; ".join(said))
    return [overall, *map(_finding, steps), shuffle, *plants]


def _finding(step: Step) -> Finding:
    before = step.context // FACTOR
    what = f"{MODEL} on {DATA}: loss given {step.context:,} tokens less that given {before:,}"
    note = "; ".join(text for text in (step.note, f"{step.difference.places} places") if text)
    lengths = (before, step.context)
    return Finding(what, step.difference.estimate, "nats a token", step.verdict, RULE, lengths, note)


def shuffled(results: list[Result]) -> tuple[Difference, Difference, int | None]:
    """(the loss with the far context shuffled, and in order, both less that given NEAR tokens; the length of it)."""
    name = f"shuffled beyond {NEAR}"
    context = next((row.context for each in results for row in each.rows if row.control == name), None)
    if context is None:
        return Difference(), Difference(), None
    near = mean_losses(results, NEAR)
    left, real = (difference(mean_losses(results, context, control), near) for control in (name, None))
    return left, real, context


def _shuffled(results: list[Result]) -> Finding:
    left, real, context = shuffled(results)
    in_order = real.estimate
    what = f"control: loss given {f'{context:,} tokens' if context else 'a context'} shuffled beyond {NEAR}, "
    what += f"less that given {NEAR}"
    note = ""
    if in_order and in_order.interval:
        note = f"in order {in_order.value:.2g} [{in_order.low:.2g}, {in_order.high:.2g}]"
    verdict = verdict_above(left.estimate, min(-FLAT, (in_order.value if in_order else 0.0) / 2))
    return Finding(what, left.estimate, "nats a token", verdict, SHUFFLED_RULE, (NEAR, context), note)


def _planted(part: list[Result]) -> list[Finding]:
    """The gain at the distance of the repeat, and below it, where there must be none."""
    distance, found = planted.DISTANCE, with_losses(part, model=FINDER)
    gain = planted.CHANCE - planted.floor()
    findings = []
    for context in (distance, distance // FACTOR):
        lengths = (context // FACTOR, context)
        before, at = (losses(found[0], c) if found else np.zeros(0) for c in lengths)
        share = difference(before / gain, at / gain).estimate
        verdict = verdict_above(share, LEAST) if context == distance else verdict_within(share, -MOST, MOST)
        what = f"control: {FINDER} on a repeat planted at {distance} tokens: gain from {lengths[0]} to {context} tokens"
        what += ", as a share of the possible gain"
        findings.append(Finding(what, share, "", verdict, PLANTED_RULE, lengths))
    return findings


def figure(results: Results) -> Figure:
    """What each fourfold context buys, about the band in which it is flat."""
    mine, _ = best_rate(_without_control(results), model=MODEL, data=DATA)
    gains = [(step, step.difference.estimate) for step in steps_of(mine) if step.difference.estimate]
    curves = []
    for better, said in ((True, "better"), (False, "flat, worse, or not decided")):
        chosen = {float(step.context): gain for step, gain in gains if (step.verdict == HOLDS) == better}
        curves += [replace(_points(MODEL, f"{MODEL}: {said}", chosen), hollow=not better)] if chosen else []
    left, _, longest = shuffled(mine)
    if left.estimate and longest is not None:
        control = f"control: shuffled beyond {NEAR}, less {NEAR} tokens"
        curves.append(_points("", control, {longest * 1.25: left.estimate}))
    drawn = [gain for _, gain in gains] + ([left.estimate] if left.estimate else [])
    ends = [abs(value) for each in drawn for value in (each.value, *(each.interval or ()))]
    most = 2 * max([FLAT, *ends])
    trained = [Rule(x=float(mine[0].cell.length), name="trained length")] if mine else []
    return Figure(
        "",
        x=Axis("context c (tokens)", "log", lengths=tuple(step.context for step, _ in gains)),
        y=Axis(
            f"loss(c) - loss(c / {FACTOR}), nats a token (below 0: better)",
            "symlog",
            limits=(-most, most),
            linear_to=FLAT,
        ),
        curves=tuple(curves),
        marks=(Span(-FLAT, FLAT), Rule(y=0.0, solid=True), *trained),
        names=IN_LEGEND,
    )


def _points(model: str, name: str, found: Mapping[float, Estimate]) -> DrawnCurve:
    """Single points with their intervals, at the contexts that are the keys."""
    values = tuple(each.value for each in found.values())
    low, high = zip(*(each.interval or (math.nan, math.nan) for each in found.values()), strict=True)
    return DrawnCurve(model, name, tuple(found), values, interval=Ends(low, high), joined=False)


CLAIM = Claim(
    4, "real_context", "Mamba gets better on real data up to a million tokens", parts, judge, figure, share=0.08
)
