"""Claim 4: Mamba gets better on real data up to a million tokens.

The loss on the same held-out targets of source code (the one set here whose held-out part is longer than 2^20 tokens)
given the last c tokens before them, c = 2^6, 2^8 ... 2^20. Mamba gets better up to c where loss(c) - loss(c / 4) has an
interval below 0, over windows in pairs. Beyond the length it was trained at its state may blow up; that is a result.

Flat is what is not so and surely gains less than FLAT = 0.001 nats a token: a hundredth of what LZMA gains from a
fourfold window on the same kind of text (1.88 bits a byte at 2^12, 1.23 at 2^20: 0.11 nats for each factor of 4).

Two controls of the protocol: where one fails nothing is decided. Shuffled, without which no gain is believed: the
longest context that all windows are read at, all but its last NEAR tokens shuffled, must keep less than half of what
the same context in its order gains over NEAR tokens (FLAT, where it gains little). Planted, without which neither a
gain nor flatness is believed: in a stream with a repeat at a known distance (bench/data/planted.py) the gain must be
found at that context and not below. There a Transformer is asked, which learns it in a few hundred steps where
recurrent models of this size do not: it is the protocol that is tested.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
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
    Records,
    affordable,
    verdict_above,
    verdict_below,
    verdict_within,
)
from lengthscale.bench.claims.paired import Difference, best_rate, difference, losses, mean_losses, records_of
from lengthscale.bench.data import planted
from lengthscale.bench.figures.spec import IN_LEGEND, Axis, Curve, Ends, Figure, Rule, Span
from lengthscale.bench.results.record import Record

MODEL, DATA = "mamba", "code"
FIRST, MILLION, FACTOR = 64, 2**20, 4
FLAT = 0.001  # nats a token
NEAR = 256  # tokens that stay as they are
FINDER = "transformer"
LEAST, MOST = 0.5, 0.1  # of what is to be gained: at the distance more than this, below it less than that
RULE = (
    f"better up to c: loss(c) - loss(c / {FACTOR}) below 0; flat or worse: above -{FLAT:g} nats. Holds: better at "
    f"every c up to 2^20. Fails: flat or worse at some c up to 2^20, and better at none beyond it"
)
SHUFFLED_RULE = f"better than {NEAR} tokens by less than half of the same context in its order, or than {FLAT:g} nats"
PLANTED_RULE = (
    f"of the {planted.CHANCE - planted.floor():.2f} nats that are to be gained more than {LEAST:.0%} at the distance, "
    f"less than {MOST:.0%} below it"
)


class Level(NamedTuple):
    rates: tuple[str, ...]  # the likeliest first
    seeds: int
    length: int  # trained at
    train_tokens: int
    longest: int  # context
    context_tokens: int  # read at one context
    windows: int


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
    return [c for power in range(11) if (c := FIRST * FACTOR**power) <= longest]


def parts(minutes: float) -> list[Part]:
    level = affordable(LEVELS, minutes)
    deadline = f"--timeout {max(300, round(60 * minutes))}"
    read = f"--suite quick --measures quality --models {MODEL} --size tiny --data {DATA} --lengths {level.length}"
    read += f" --step-tokens {level.length} --train-tokens {level.train_tokens} --windows {level.windows}"
    read += f" --contexts {','.join(map(str, contexts_to(level.longest)))} --context-tokens {level.context_tokens}"
    read += f" --shuffle-beyond {NEAR} --seed {','.join(map(str, range(level.seeds)))} {deadline}"
    distance = planted.DISTANCE
    find = f"--suite quick --measures quality --models {FINDER} --size tiny --data {planted.NAME}:distance={distance}"
    find += f" --lengths {8 * distance} --step-tokens {128 * distance} --train-tokens {128 * distance * PLANTED_STEPS}"
    find += f" --contexts {distance // 16},{distance // 4},{distance} --target-tokens {distance // 2} --windows 64"
    rates = [Part(f"rate-{rate}", (*read.split(), "--learning-rate", rate)) for rate in level.rates]
    return [Part("planted", tuple(f"{find} {deadline}".split())), *rates]  # short first: none begins too late


class Step(NamedTuple):
    """What a fourfold context buys."""

    context: int
    difference: Difference
    verdict: str  # HOLDS: better; FAILS: flat or worse
    note: str = ""


def steps_of(records: list[Record]) -> list[Step]:
    """One for each context with one of a quarter, short ones first; several records are seeds."""
    contexts = sorted({row.context for record in records for row in record.rows if row.context})
    found = []
    for context in contexts:
        if context // FACTOR in contexts:
            of, to = mean_losses(records, context), mean_losses(records, context // FACTOR)
            of, to = of[: len(to)], to[: len(of)]
            apart = difference(of, to)
            if np.isfinite(to).all() and not np.isfinite(of).all():
                found.append(Step(context, apart, FAILS, "the loss is no longer finite"))
            else:
                found.append(Step(context, apart, _verdict(apart)))
    return found


def _verdict(step: Difference) -> str:
    """HOLDS: surely better; FAILS: surely better by less than FLAT, or not at all."""
    better = verdict_below(step.low, step.high, 0.0)
    if better == HOLDS:
        return HOLDS
    return FAILS if verdict_above(step.low, step.high, -FLAT) == HOLDS else NOT_DECIDED


def better_up_to(steps: list[Step]) -> int | None:
    """The largest context that the loss surely falls to, with no flat step before; None where it falls at none."""
    largest = None
    for step in steps:
        if step.verdict == FAILS:
            break
        if step.verdict == HOLDS:
            largest = step.context
    return largest


def verdict_of(steps: list[Step]) -> str:
    verdicts = [step.verdict for step in steps if step.context <= MILLION]
    if FAILS in verdicts and HOLDS not in verdicts[verdicts.index(FAILS) :]:
        return FAILS
    whole = bool(steps) and steps[-1].context >= MILLION
    return HOLDS if whole and all(verdict == HOLDS for verdict in verdicts) else NOT_DECIDED


def _without_control(records: Records) -> Records:
    return Records({name: part for name, part in records.items() if name != "planted"})


def judge(records: Records) -> list[Finding]:
    mine, note = best_rate(_without_control(records), model=MODEL, data=DATA)
    steps = steps_of(mine)
    longest = steps[-1].context if steps else None
    shuffle, plants = _shuffled(mine), _planted(records.get("planted", []))
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
    if mine:  # what a small model does not learn on a small budget says little of a large one's
        cell, row = mine[0].cell, mine[0].row
        facts += [cell.size, f"{row.train_tokens:,} tokens of training at {cell.length:,}"]
    what = f"largest context up to which the loss of {MODEL} ({', '.join(facts)}) falls"
    largest = better_up_to(steps)
    if steps and largest is None:
        what += f": none from {steps[0].context:,} on, by what can be told"
    figure = None if largest is None else float(largest)
    ends = (FIRST, longest) if steps else (None, None)
    overall = Finding(what, figure, None, None, "tokens", verdict, RULE, *ends, "; ".join(said))
    return [overall, *map(_finding, steps), shuffle, *plants]


def _finding(step: Step) -> Finding:
    before = step.context // FACTOR
    what = f"{MODEL} on {DATA}: loss given {step.context:,} tokens less that given {before:,}"
    note = "; ".join(text for text in (step.note, f"{step.difference.windows} windows") if text)
    figures = step.difference[:3]
    return Finding(what, *figures, "nats a token", step.verdict, RULE, before, step.context, note)


def shuffled(records: list[Record]) -> tuple[Difference, Difference, int | None]:
    """(the loss with the far context shuffled, and in order, both less that given NEAR tokens; how long it is)."""
    name = f"shuffled beyond {NEAR}"
    context = next((row.context for each in records for row in each.rows if row.control == name), None)
    if context is None:
        return Difference(), Difference(), None
    near = mean_losses(records, NEAR)
    left, real = (difference(mean_losses(records, context, control), near) for control in (name, None))
    return left, real, context


def _shuffled(records: list[Record]) -> Finding:
    left, real, context = shuffled(records)
    what = f"control: loss given {f'{context:,} tokens' if context else 'a context'} shuffled beyond {NEAR}, "
    what += f"less that given {NEAR}"
    note = f"in order {real.figure:.2g} [{real.low:.2g}, {real.high:.2g}]" if real.low is not None else ""
    verdict = verdict_above(left.low, left.high, min(-FLAT, (real.figure or 0.0) / 2))
    return Finding(what, *left[:3], "nats a token", verdict, SHUFFLED_RULE, NEAR, context, note)


def _planted(part: list[Record]) -> list[Finding]:
    """At the distance the gain, below it none."""
    distance, found = planted.DISTANCE, records_of(part, model=FINDER)
    gain = planted.CHANCE - planted.floor()
    findings = []
    for context in (distance, distance // FACTOR):
        ends = (context // FACTOR, context)
        before, at = (losses(found[0], c) if found else np.zeros(0) for c in ends)
        share = difference(before / gain, at / gain)
        if context == distance:
            verdict = verdict_above(share.low, share.high, LEAST)
        else:
            verdict = verdict_within(share.low, share.high, -MOST, MOST)
        what = f"control: {FINDER} on a repeat planted at {distance} tokens: gain from {ends[0]} to {context} tokens"
        what += " of what is to be gained"
        findings.append(Finding(what, *share[:3], "", verdict, PLANTED_RULE, *ends))
    return findings


def figure(records: Records) -> Figure:
    """What each fourfold context buys, about the band in which it is flat."""
    mine, _ = best_rate(_without_control(records), model=MODEL, data=DATA)
    steps = [step for step in steps_of(mine) if step.difference.figure is not None]
    curves = []
    for better, said in ((True, "better"), (False, "flat, worse, or not decided")):
        chosen = [step for step in steps if (step.verdict == HOLDS) == better]
        at, found = [step.context for step in chosen], [step.difference for step in chosen]
        curves += [replace(_points(MODEL, f"{MODEL}: {said}", at, found), hollow=not better)] if chosen else []
    left, _, longest = shuffled(mine)
    if left.figure is not None and longest is not None:
        curves.append(_points("", f"control: shuffled beyond {NEAR}, less {NEAR} tokens", [longest * 1.25], [left]))
    ends = [abs(value) for each in (*steps, Step(0, left, "")) for value in each.difference[:3] if value is not None]
    most = 2 * max([FLAT, *ends])
    trained = [Rule(x=float(mine[0].cell.length), name="trained length")] if mine else []
    return Figure(
        "",
        x=Axis("context c (tokens)", "log", lengths=tuple(sorted({step.context for step in steps}))),
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


def _points(model: str, name: str, at: Sequence[float], found: list[Difference]) -> Curve:
    """With their intervals; without one, a point alone."""
    values, low, high = (
        tuple(math.nan if value is None else value for value in (getattr(each, end) for each in found))
        for end in ("figure", "low", "high")
    )
    return Curve(model, name, tuple(at), values, interval=Ends(low, high), joined=False)


CLAIM = Claim(
    number=4,
    name="real_context",
    statement="Mamba gets better on real data up to a million tokens",
    parts=parts,
    judge=judge,
    figure=figure,
    share=0.08,
)
