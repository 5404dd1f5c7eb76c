"""Claim 3: Mamba's throughput at inference is up to five times that of a standard Transformer.

The place was fixed before the run, and is that of the Mamba paper (arXiv:2312.00752, figure 8): a prompt of 2,048
tokens, 128 new ones, each model at its own best batch, the time of reading the prompt included. The paper reports 4 to
5 times there, on an A100. The rule is two-sided: the claim holds if the whole interval of the ratio is within 4 to 6,
and fails if it is outside, on either side. Only multi-head attention decides, the paper's standard Transformer;
grouped queries (Llama's), whose cache is smaller, are measured too.

For reading, and not for the verdict:
- the ratio as two surfaces, of generation over prompt and batch, and of decoding alone over context and batch;
- the context at which decoding passes 5 times, at each batch;
- a prediction from the paper's explanation (its section 4.5): decoding waits for memory, so a step takes

    (parameters + batch x cache of the context) / bandwidth

  The cache's bytes follow from the shapes of the states. The bandwidth is the machine's copying rate; it cancels in a
  ratio.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple

from lengthscale.bench.analysis import text
from lengthscale.bench.claims import ratios
from lengthscale.bench.claims.claim import (
    Claim,
    Finding,
    Minutes,
    Part,
    Results,
    affordable,
)
from lengthscale.bench.claims.family import INFINITY, Question, alone, answered
from lengthscale.bench.figures.spec import Axis, Figure, HeatMap
from lengthscale.bench.plan.dtypes import DTYPES
from lengthscale.bench.plan.status import Status
from lengthscale.bench.results import intervals
from lengthscale.bench.results.estimate import Estimate
from lengthscale.bench.results.result import Result

FAST = "mamba"
STANDARD = "transformer"
SLOW = {STANDARD: "multi-head", "transformer++": "grouped queries"}
PROMPT, NEW = 2048, 128  # tokens
ABOUT_FIVE, FIVE = (4.0, 6.0), 5.0
PREDICTED = (0.75, 1.33)
MEMORY = "4g"  # that a program may take
CONTEXTS = "1k,4k,16k,64k"
GENERATE, DECODE = "generate", "decode"
WHAT = {
    GENERATE: f"Generation: {NEW} new tokens after a prompt, which is read first",
    DECODE: "Decoding alone: one token at a context",
}
RULE = f"within {ABOUT_FIVE[0]:g} to {ABOUT_FIVE[1]:g} times the tokens a second"
PREDICTED_RULE = f"measured over predicted within {PREDICTED[0]} to {PREDICTED[1]}"


class Level(NamedTuple):
    """What a budget of minutes buys."""

    prompts: Mapping[int, str]  # batch -> lengths
    contexts: Mapping[int, str]
    replicates: int  # of generation; decoding, whose calls are short, has 5 processes for 3


LEVELS = {
    0.0: Level({1: "2k", 8: "2k", 32: "2k"}, {8: "1k,4k,16k"}, 3),
    7.0: Level({1: "2k", 8: "2k", 32: "2k"}, dict.fromkeys((1, 8, 32), "1k,4k,16k"), 3),
    13.0: Level({1: "512,2k,8k", 8: "512,2k", 32: "512,2k", 64: "2k"}, dict.fromkeys((1, 8, 32), CONTEXTS), 3),
    40.0: Level(dict.fromkeys((1, 8, 32, 64), "512,2k,8k"), dict.fromkeys((1, 8, 32, 128), CONTEXTS), 6),
}


def parts(minutes: float) -> list[Part]:
    """One run for each batch, of generation and then of decoding."""
    level = affordable(LEVELS, minutes)
    shared = f"--suite quick --models {FAST},{','.join(SLOW)} --size small --mem-limit {MEMORY} --timeout 300"
    wanted = {
        GENERATE: (level.prompts, f"--replicates {level.replicates} --new-tokens {NEW}"),
        DECODE: (level.contexts, "--replicates 3"),
    }
    return [
        Part(
            f"{measure}-{batch}",
            tuple(f"{shared} --measures {measure} {about} --lengths {mine} --batch {batch}".split()),
        )
        for measure, (lengths, about) in wanted.items()
        for batch, mine in lengths.items()
    ]


class Place(NamedTuple):
    """A length and a batch, with the results of Mamba and of one Transformer there."""

    length: int
    batch: int
    fast: Result
    slow: Result

    @property
    def ratio(self) -> Estimate:
        """The measured ratio of their speeds."""
        ratio = ratios.of_speeds(self.fast, self.slow)(intervals.CONFIDENCE)
        assert ratio is not None
        return ratio

    @property
    def predicted(self) -> float:
        """The ratio of their speeds by the bytes that a step reads."""
        return bytes_read(self.slow) / bytes_read(self.fast)


def bytes_read(result: Result) -> float:
    """The bytes that a step must read by the paper's explanation: the parameters and the whole batch's state."""
    row = result.row
    return row.number("n_params") * DTYPES[result.cell.dtype].n_bytes + row.number("state_bytes")


def predicted_ms(result: Result, results: Results) -> float | None:
    """The predicted time of a step in ms; None where the machine's copying rate is not known."""
    bandwidth = results.peaks_of(result).get("copy_bytes_per_s")
    return bytes_read(result) / bandwidth * 1e3 if bandwidth else None


def places(results: Results, measure: str, slow: str) -> list[Place]:
    """The lengths and batches where Mamba and `slow` were measured, the smallest cache first."""
    everything = [r for r in results.together() if r.status == Status.OK and r.cell.measure == measure]
    found = {(r.cell.model, r.cell.length, r.cell.batch): r for r in everything if r.medians_ms}
    both = [
        Place(length, batch, found[FAST, length, batch], result)
        for (model, length, batch), result in found.items()
        if model == slow and (FAST, length, batch) in found
    ]
    return sorted(both, key=lambda place: (place.length * place.batch, place.length))


def judge(results: Results) -> list[Finding]:
    """Claim 3's findings: the ratio at the paper's place, then what is for reading."""
    asked = _at_best_batches(results, STANDARD, RULE)
    (decisive,) = answered([asked])
    others = [_at_best_batches(results, slow, RULE) for slow in SLOW if slow != STANDARD]
    others += [question for slow in SLOW for question in _passing(results, slow)]
    for slow, kind in SLOW.items():
        measured = places(results, DECODE, slow)
        ends = measured[:1] + measured[-1:] if len(measured) > 1 else measured
        others += [_prediction(slow, kind, place, results) for place in ends]
    rule = f"{RULE}, multi-head attention, prompt {PROMPT:,} and {NEW} new tokens"
    overall = replace(decisive, decided_by=rule, says=_sentence(results, decisive))
    return [overall, *alone(others)]


def _sentence(results: Results, decisive: Finding) -> str:
    if decisive.estimate is None:
        return ""
    said = f"Mamba generates {decisive.estimate.value:.2g} times as fast as a Transformer after {PROMPT:,} tokens"
    decoding = [place.ratio.value for place in places(results, DECODE, STANDARD)]
    return said + (f", and decodes {min(decoding):.2g} to {max(decoding):.2g} times as fast" if decoding else "")


def _at_best_batches(results: Results, slow: str, rule: str) -> Question:
    """Each model at the batch at which it generates most tokens a second, at the paper's prompt."""
    best = {model: _best_batch(results, model) for model in (FAST, slow)}
    fast, other = best.values()
    what = (
        f"{FAST} over {slow} ({SLOW[slow]}): tokens/s, prompt {PROMPT:,} and {NEW} new tokens, each at its best batch"
    )
    notes = []
    tried = [result.cell.batch for result in results.together() if result.cell.measure == GENERATE]
    for model, result in best.items():
        if result:
            largest = ", the largest tried" if result.cell.batch == max(tried) else ""
            speed = result.cell.batch * NEW / result.row.number("time_median_ms") * 1e3
            notes.append(f"{model} {speed:,.0f} tokens/s at batch {result.cell.batch}{largest}")
    count, lengths = ratios.replicates_of(fast, other), (PROMPT, PROMPT)
    return Question(what, ratios.of_speeds(fast, other), ABOUT_FIVE, rule, count, "x", lengths, "; ".join(notes))


def _best_batch(results: Results, model: str) -> Result | None:
    batches = {result.cell.batch for result in results.together()}
    everything = results.together()
    mine = [ratios.found(everything, measure=GENERATE, model=model, length=PROMPT, batch=b) for b in batches]
    measured = [result for result in mine if result]
    return max(measured, key=lambda r: r.cell.batch / r.row.number("time_median_ms"), default=None)


def _passing(results: Results, slow: str) -> Iterator[Question]:
    """At each batch, the context at which decoding passes FIVE times."""
    both = places(results, DECODE, slow)
    for batch in sorted({place.batch for place in both}):
        mine = sorted((place for place in both if place.batch == batch), key=lambda place: place.length)
        if len(mine) < 2:
            continue
        what = f"{FAST} over {slow} ({SLOW[slow]}): context at which decoding passes {FIVE:g}x, batch {batch}"
        ends = (mine[0].length, mine[-1].length)
        said = f"{mine[0].ratio.value:.2g}x at {ends[0]:,}, {mine[-1].ratio.value:.2g}x at {ends[-1]:,}"
        count = min(ratios.replicates_of(place.fast, place.slow) for place in mine)
        pairs = {place.length: (place.slow, place.fast) for place in mine}
        yield Question(
            what, ratios.passes(pairs, FIVE), (0.0, INFINITY), f"passes {FIVE:g}x", count, "tokens", ends, said
        )


def _prediction(slow: str, kind: str, place: Place, results: Results) -> Question:
    """The measured ratio of decoding over the predicted one."""
    times = [f"{each:.3g}" if (each := predicted_ms(result, results)) else "?" for result in (place.fast, place.slow)]
    medians = [f"{result.row.number('time_median_ms'):.3g}" for result in (place.fast, place.slow)]
    note = f"predicted ratio {place.predicted:.3g}; ms a step, {FAST} and {slow}: predicted {' and '.join(times)}, "
    note += f"measured {' and '.join(medians)}"
    what = f"{FAST} over {slow} ({kind}), context {place.length}, batch {place.batch}: ratio measured over predicted"
    measured, count = ratios.of_speeds(place.fast, place.slow), ratios.replicates_of(place.fast, place.slow)

    def at(confidence: float) -> Estimate | None:
        ratio = measured(confidence)
        return None if ratio is None else ratio.times(1 / place.predicted)

    return Question(what, at, PREDICTED, PREDICTED_RULE, count, "", (place.length, place.length), note)


def figures(results: Results) -> tuple[Figure, ...]:
    """The two surfaces: a square for each length and batch, its colour the ratio to multi-head attention."""
    measured = [measure for measure in WHAT if places(results, measure, STANDARD)]
    made = [_surface(results, measure) for measure in measured or [GENERATE]]
    return tuple(made)


def _surface(results: Results, measure: str) -> Figure:
    everything = [result for result in results.together() if result.cell.measure == measure]
    lengths = sorted({result.cell.length for result in everything})
    batches = sorted({result.cell.batch for result in everything}, reverse=True)
    found = {slow: {(place.length, place.batch): place for place in places(results, measure, slow)} for slow in SLOW}
    values = [[_ratio_at(found[STANDARD].get((length, batch))) for length in lengths] for batch in batches]

    def text_at(length: int, batch: int) -> str:
        return "\n".join(_said(slow, found[slow].get((length, batch)), everything, (length, batch)) for slow in SLOW)

    farthest = max((abs(math.log(ratio)) for row in values for ratio in row if not math.isnan(ratio)), default=1.0)
    return Figure(
        WHAT[measure],
        x=Axis("prompt (tokens)" if measure == GENERATE else "context (tokens)"),
        y=Axis("batch (sequences)"),
        heat=HeatMap(
            columns=tuple(map(text.length, lengths)),
            rows=tuple(map(str, batches)),
            values=tuple(map(tuple, values)),
            texts=tuple(tuple(text_at(length, batch) for length in lengths) for batch in batches),
            most=max(2.0, math.exp(farthest)) ** 2,  # pale, for the words on it
        ),
    )


def _ratio_at(place: Place | None) -> float:
    return math.nan if place is None else place.ratio.value


def _said(slow: str, place: Place | None, everything: list[Result], where: tuple[int, int]) -> str:
    """Such as "multi-head: 4.1x", or why there is no ratio."""
    name = SLOW[slow]
    if place:
        return f"{name}: {place.ratio.value:.2g}x"
    statuses = {r.cell.model: r.status for r in everything if (r.cell.length, r.cell.batch) == where}
    missing = next(model for model in (slow, FAST) if statuses.get(model) != Status.OK)
    return f"{name}: {'' if missing == slow else f'{missing} '}{statuses.get(missing, 'not measured')}"


CLAIM = Claim(
    3,
    "decode_speed",
    "Mamba's throughput at inference is about five times that of a Transformer",
    "4 to 5 times (Gu and Dao 2023, arXiv:2312.00752, figure 8; A100, 1.4B and 6.9B parameters)",
    parts,
    judge,
    figures,
    Minutes(5, 14),
)
