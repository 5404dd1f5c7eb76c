"""Claim 4: Mamba's performance goes on improving on real data even when sequences reach a million elements.

The loss is measured on held-out targets of source code, the only data set here whose held-out part is longer than 2^20
tokens, given the last c tokens before them, c = 4, 16, 64 ... 2^20: the same targets, so that only the context changes.
Mamba is trained at each of two lengths, 1,024 and 16,384, on equal tokens in as many steps, at the learning rates that
a search found for it there. Contexts up to 1,024 are read by the model that was trained at 1,024, longer ones by the
other; beyond the length that it was trained at its state may blow up, and that is a result.

Mamba gets better up to c if loss(c) - loss(c / 4) is below 0, and a step is flat if the loss certainly falls by less
than FLAT = 0.001 nats a token, or not at all. That is a hundredth of what LZMA gains from a fourfold window on the same
kind of text (1.88 bits a byte at 2^12, 1.23 at 2^20: 0.11 nats for each factor of 4). An interval reaches as far as the
one over seeds and the one over places, in pairs.

No power, no verdict: a flat step counts only where the same model finds what is planted there. The positive control
(bench/data/keyed.py) is trained as the other models are, at both lengths, on a stream whose only dependency is a key at
a known distance, at its own learning rate, CONTROL_RATE. There is power up to that distance if the loss given it is
certainly below what is possible without the key, by more than LEAST of what the key can bring. The claim fails if a
step is flat at a length where the control has power, and no longer context is better; it holds if every step up to 2^20
is better. Flat steps without power are "not decided".

A second control, shuffled, guards what is better: with all but its last NEAR tokens shuffled, a context must keep less
than half of what it gains over NEAR tokens in order.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from lengthscale.bench.claims import learning_rates
from lengthscale.bench.claims.claim import (
    FAILS,
    HOLDS,
    NOT_DECIDED,
    Claim,
    Finding,
    Minutes,
    Part,
    Results,
    affordable,
    joined,
    seeds_from,
    verdict_above,
    verdict_below,
)
from lengthscale.bench.claims.drawn import points
from lengthscale.bench.claims.family import INFINITY, Question, answered
from lengthscale.bench.claims.paired import apart, losses_of, with_losses
from lengthscale.bench.data import keyed
from lengthscale.bench.data.targets import RUN
from lengthscale.bench.figures.spec import IN_LEGEND, Axis, Figure, Rule, Span
from lengthscale.bench.results.estimate import Estimate
from lengthscale.bench.results.result import Result

MODEL, DATA = "mamba", "code"
LENGTHS = (1024, 16_384)  # of training
STEP_TOKENS = 16_384
FIRST, MILLION, FACTOR = 4, 2**20, 4  # contexts
FLAT = 0.001  # nats a token
NEAR = 256  # tokens that stay as they are
LEAST = 0.5  # of the possible gain
PLACES = 64  # of RUN targets each; those of the control have one
CONTROL_PLACES, CONTROL_RATE = 128, "1e-2"
STEP_RULE = f"better: loss(c) - loss(c / {FACTOR}) below 0; flat or worse: above -{FLAT:g} nats"
RULE = (
    f"{STEP_RULE}. Holds: better at every c up to 2^20. Fails: flat or worse at a c at which the control has power, "
    "and better at none beyond it"
)
CONTROL_RULE = f"power: more than {LEAST:.0%} of the possible gain over a model without the key is found"
SHUFFLED_RULE = f"better than {NEAR} tokens by less than half of the same context in its order, or than {FLAT:g} nats"


class Level(NamedTuple):
    """What a budget of minutes buys."""

    seeds: int
    train_tokens: int
    context_tokens: int  # read at one context


# minutes -> what to run; reading 2^20 tokens takes a `tiny` Mamba about 5 s
LEVELS = {
    0.0: Level(3, 2**22, 2**21),
    12.0: Level(3, 2**23, 2**22),
    60.0: Level(5, 2**24, 2**23),
}


def contexts_to(longest: int) -> list[int]:
    """The contexts up to the longest one, in tokens."""
    return [c for power in range(11) if (c := FACTOR**power) <= longest]


def parts(minutes: float) -> list[Part]:
    """The controls, then real data, at either length."""
    level = affordable(LEVELS, minutes)
    seeds = seeds_from(1, level.seeds)
    made = []
    for length in LENGTHS:
        shared = f"--suite quick --measures quality --models {MODEL} --size tiny --lengths {length} --seed {seeds}"
        shared += f" --step-tokens {STEP_TOKENS} --train-tokens {level.train_tokens} --timeout 1800"
        find = f"{shared} --data {control_of(length)} --contexts {length // FACTOR},{length}"
        find += f" --targets {RUN * CONTROL_PLACES} --learning-rate {CONTROL_RATE}"
        longest = length if length < max(LENGTHS) else MILLION
        read = f"{shared} --data {DATA} --contexts {','.join(map(str, contexts_to(longest)))}"
        read += f" --targets {RUN * PLACES} --context-tokens {level.context_tokens} --shuffle-beyond {NEAR}"
        made += [Part(f"control-{length}", tuple(find.split())), Part(f"real-{length}", tuple(read.split()))]
    return sorted(made, key=lambda part: part.name)  # controls first: without power nothing can fail


def control_of(length: int) -> str:
    """The data of the positive control of a model that is trained at this length."""
    return f"{keyed.NAME}:distance={length}"


def of_length(results: Results, data: str, length: int) -> list[Result]:
    """The trained models on these data, one for each seed."""
    found = with_losses(results.together(), model=MODEL, data=data, length=length)
    return sorted(found, key=lambda result: result.cell.seed)


class Step(NamedTuple):
    """What a context four times as long buys."""

    context: int
    found: Finding


def judge(results: Results) -> list[Finding]:
    """Claim 4's findings: of each step, and of the controls."""
    controls = {length: _control(results, length) for length in LENGTHS}
    asked = {context: _step(results, context) for context in contexts_to(MILLION) if context >= FIRST}
    shuffle = _shuffled(results)
    family = [*asked.values(), *controls.values(), shuffle]
    answers = dict(zip(map(id, family), answered(family), strict=True))
    powers = {length: answers[id(control)] for length, control in controls.items()}
    steps = [_with_power(context, answers[id(question)], powers) for context, question in asked.items()]
    shuffled = answers[id(shuffle)]
    verdict = verdict_of(steps)
    notes = [f"no power at {length:,} tokens" for length, each in powers.items() if each.verdict != HOLDS]
    if verdict == HOLDS and shuffled.verdict != HOLDS:
        verdict, notes = NOT_DECIDED, [*notes, f"not so: {shuffled.measured}"]
    largest = better_up_to(steps)
    overall = Finding(
        f"largest context up to which the loss of {MODEL} falls ({_about(results)})",
        None if largest is None else Estimate(float(largest)),
        "tokens",
        verdict,
        RULE,
        (FIRST, max((step.context for step in steps if step.found.estimate), default=None)),
        "; ".join(notes),
        n=max(step.found.n for step in steps),
        says=_sentence(steps, largest, powers),
    )
    return [overall, *(step.found for step in steps), *powers.values(), shuffled]


def _about(results: Results) -> str:
    trained = [result for length in LENGTHS for result in of_length(results, DATA, length)]
    if not trained:
        return DATA
    cell, row = trained[0].cell, trained[0].row
    return f"{DATA}, {cell.size}, {row.train_tokens:,} tokens of training"


def _sentence(steps: list[Step], largest: int | None, powers: Mapping[int, Finding]) -> str:
    if all(step.found.estimate is None for step in steps):
        return ""
    said = f"up to {largest:,} tokens" if largest else "at no context"
    have = [f"{length:,}" for length, each in powers.items() if each.verdict == HOLDS]
    return f"A tiny Mamba gets better {said}; it has power to find a gain at {' and '.join(have) or 'no length'}"


def _trained_for(context: int) -> int:
    return min((length for length in LENGTHS if context <= length), default=max(LENGTHS))


def _step(results: Results, context: int) -> Question:
    trained, before = _trained_for(context), context // FACTOR
    mine = of_length(results, DATA, trained)
    of, to = (losses_of(mine, each) for each in (context, before))
    at = learning_rates.decisive(apart(of, to, lambda of, to: of - to), [result.row for result in mine])
    what = f"{MODEL} trained at {trained:,} on {DATA}: loss given {context:,} tokens less that given {before:,}"
    note = f"{of.shape[1]} places; {learning_rates.note_on(result.row for result in mine)}" if len(of) else ""
    bounds, lengths, unit = (-INFINITY, 0.0), (before, context), "nats a token"
    return Question(what, at, bounds, STEP_RULE, len(mine), unit, lengths, note, better_or_flat)


def better_or_flat(step: Estimate | None) -> str:
    """HOLDS: certainly better. FAILS: certainly better by less than FLAT, or not at all."""
    if verdict_below(step, 0.0) == HOLDS:
        return HOLDS
    return FAILS if verdict_above(step, -FLAT) == HOLDS else NOT_DECIDED


def _with_power(context: int, found: Finding, powers: Mapping[int, Finding]) -> Step:
    """A flat step counts where the model has power."""
    trained = _trained_for(context)
    if found.verdict == FAILS and not (context <= trained and powers[trained].verdict == HOLDS):
        note = joined(found.note, "flat, but the control has no power here")
        found = replace(found, verdict=NOT_DECIDED, note=note)
    return Step(context, found)


def verdict_of(steps: list[Step]) -> str:
    """The verdict on the claim from its steps up to a million tokens, short contexts first."""
    verdicts = [step.found.verdict for step in steps]
    if FAILS in verdicts and HOLDS not in verdicts[verdicts.index(FAILS) :]:
        return FAILS
    whole = bool(steps) and steps[-1].context >= MILLION
    return HOLDS if whole and all(verdict == HOLDS for verdict in verdicts) else NOT_DECIDED


def better_up_to(steps: list[Step]) -> int | None:
    """The largest context up to which every step is certainly better; None where the first one is not."""
    largest = None
    for step in steps:
        if step.found.verdict != HOLDS:
            break
        largest = step.context
    return largest


def _control(results: Results, length: int) -> Question:
    """The gain of the model over the best one without the key, as a share of the possible one.

    The gain over the model's own loss with less context would count a loss that is large where the key is missing.
    """
    mine = of_length(results, control_of(length), length)
    found = losses_of(mine, length)
    at = apart(found, np.full_like(found, keyed.CHANCE), lambda found, chance: (chance - found) / chance)
    what = f"control: {MODEL} trained at {length:,} on a key planted at most as far: gain at {length:,} tokens over a "
    what += "model without the key, as a share of the possible one"
    note, lengths = learning_rates.note_on(result.row for result in mine), (length // FACTOR, length)
    return Question(what, at, (LEAST, INFINITY), CONTROL_RULE, len(mine), lengths=lengths, note=note)


def _shuffled(results: Results) -> Question:
    """The loss with the far context shuffled, less that given NEAR tokens."""
    mine = of_length(results, DATA, max(LENGTHS))
    name = f"shuffled beyond {NEAR}"
    context = next((row.context for each in mine for row in each.rows if row.control == name), None)
    what = f"control: loss given {f'{context:,} tokens' if context else 'a context'} {name}, less that given {NEAR}"
    if context is None:
        return Question(what, lambda confidence: None, (-FLAT, INFINITY), SHUFFLED_RULE)
    near, left, real = (
        losses_of(mine, each, control) for each, control in ((NEAR, None), (context, name), (context, None))
    )
    gain = float(real.mean() - near.mean()) if near.size and real.size else 0.0
    at, bounds = apart(left, near, lambda left, near: left - near), (min(-FLAT, gain / 2), INFINITY)
    return Question(what, at, bounds, SHUFFLED_RULE, len(mine), "nats a token", (NEAR, context), f"in order {gain:.2g}")


def figures(results: Results) -> tuple[Figure, ...]:
    """What each fourfold context buys, about the band in which it is flat."""
    steps = [finding for finding in judge(results) if finding.measured.startswith(f"{MODEL} trained at")]
    known = {finding.lengths[1]: finding for finding in steps if finding.estimate}
    curves = []
    for better, said in ((True, "better"), (False, "flat, worse, or not decided")):
        chosen = {
            float(context): finding.estimate
            for context, finding in known.items()
            if context and finding.estimate and (finding.verdict == HOLDS) == better
        }
        curves += [replace(points(MODEL, f"{MODEL}: {said}", chosen), hollow=not better)] if chosen else []
    drawn = [finding.estimate for finding in known.values() if finding.estimate]
    ends = [abs(value) for each in drawn for value in (each.value, *(each.interval or ()))]
    most = 2 * max([FLAT, *ends])
    label = f"loss(c) - loss(c / {FACTOR}), nats a token (below 0: better)"
    trained = (Rule(x=float(length), name=name) for length, name in zip(LENGTHS, ("trained lengths", ""), strict=True))
    figure = Figure(
        "",
        x=Axis("context c (tokens)", "log", lengths=tuple(context for context in known if context)),
        y=Axis(label, "symlog", limits=(-most, most), linear_to=FLAT),
        curves=tuple(curves),
        marks=(Span(-FLAT, FLAT), Rule(y=0.0, solid=True), *trained),
        names=IN_LEGEND,
    )
    return (figure,)


CLAIM = Claim(
    4,
    "real_context",
    "Mamba gets better on real data up to a million tokens",
    "on human DNA perplexity falls up to 2^20 bases, at 1.4 to 40 M parameters (Gu and Dao 2023, arXiv:2312.00752, "
    "figure 5)",
    parts,
    judge,
    figures,
    Minutes(12, 12),
)
