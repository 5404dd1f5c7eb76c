"""Claim 3: Mamba infers about five times faster than a Transformer.

The ratio of decoding speeds is a surface over context and batch. It is judged at the same batch, where the cache is
largest, and with each model at its own largest batch that fits the memory; for multi-head attention (GPT-2's) and for
grouped queries (Llama's), whose cache is smaller. It is compared with a prediction from the Mamba paper's explanation
(arXiv:2312.00752, section 4.5): decoding waits for memory, so a step takes

    (parameters + batch x cache of the context) / bandwidth

The cache's bytes follow from the shapes of the states. The bandwidth is the machine's copying rate; it cancels in a
ratio.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from lengthscale.bench.analysis import text
from lengthscale.bench.claims import ratios
from lengthscale.bench.claims.claim import (
    NOT_DECIDED,
    Claim,
    Finding,
    Part,
    Results,
    affordable,
    rows_of,
    verdict_above,
    verdict_within,
)
from lengthscale.bench.figures.spec import Axis, Figure, HeatMap
from lengthscale.bench.plan.dtypes import DTYPES
from lengthscale.bench.plan.status import Status
from lengthscale.bench.results.estimate import Estimate
from lengthscale.bench.results.result import Result

FAST = "mamba"
SLOW = {"transformer": "multi-head", "transformer++": "grouped queries"}
MEMORY = "4g"  # that a program may take
ABOUT_FIVE = 4.0  # the paper's "4-5x"
PREDICTED = (0.75, 1.33)
RULE = f"at least {ABOUT_FIVE:g} times the tokens a second (the paper's 4 to 5)"
PREDICTED_RULE = f"measured over predicted within {PREDICTED[0]} to {PREDICTED[1]}"

# minutes -> (suite, batches, contexts)
LEVELS = {
    0.0: ("quick", (1, 8), "1k,16k"),
    4.0: ("quick", (1, 8, 32), "1k,16k"),
    8.0: ("quick", (1, 8, 32, 128), "1k,4k,16k"),
    15.0: ("default", (1, 8, 32, 128), "1k,4k,16k,64k"),
}


def parts(minutes: float) -> list[Part]:
    """One run for each batch."""
    suite, batches, contexts = affordable(LEVELS, minutes)
    arguments = f"--suite {suite} --measures decode --models {FAST},{','.join(SLOW)} --size small"
    arguments += f" --lengths {contexts} --mem-limit {MEMORY} --timeout 300"
    return [Part(f"batch-{batch}", (*arguments.split(), "--batch", str(batch))) for batch in batches]


@dataclass(frozen=True)
class Place:
    """A context and a batch, with the results of Mamba and of one Transformer there."""

    length: int
    batch: int
    fast: Result
    slow: Result

    @property
    def ratio(self) -> Estimate:
        """The measured ratio of their speeds."""
        ratio = ratios.of_speeds(self.fast, self.slow)
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


def places(results: Results, slow: str) -> list[Place]:
    """The contexts and batches where Mamba and `slow` were measured, the smallest cache first."""
    everything = [result for result in results.together() if result.status == Status.OK]
    found = {(r.cell.model, r.cell.length, r.cell.batch): r for r in everything if r.medians_ms}
    both = [
        Place(length, batch, found[FAST, length, batch], result)
        for (model, length, batch), result in found.items()
        if model == slow and (FAST, length, batch) in found
    ]
    return sorted(both, key=lambda place: (place.length * place.batch, place.length))


def judge(results: Results) -> list[Finding]:
    """Claim 3's findings: the ratios of speeds, and how far the prediction explains them."""
    findings = []
    for slow, kind in SLOW.items():
        both = places(results, slow)
        findings.append(_at_place(slow, kind, both[-1]) if both else _nothing(slow, kind))
        if len(both) > 1:
            findings.append(_at_place(slow, kind, both[0]))
        findings += [
            _prediction(slow, kind, place, results) for place in (both[:1] + both[-1:] if len(both) > 1 else both)
        ]
        findings.append(_at_own_batches(results, slow, kind))
    ratios_measured = [place.ratio.value for slow in SLOW for place in places(results, slow)]
    if len(ratios_measured) > 1:
        surface = (
            f"over all contexts, batches and kinds from {min(ratios_measured):.2g}x to {max(ratios_measured):.2g}x"
        )
        findings[0] = replace(findings[0], note=f"{findings[0].note}; {surface}")
    return findings


def _at_place(slow: str, kind: str, place: Place) -> Finding:
    ratio = place.ratio
    what = f"{FAST} over {slow} ({kind}): tokens/s at a context of {place.length}, batch {place.batch}"
    note = f"predicted {place.predicted:.3g}"
    lengths = (place.length, place.length)
    return Finding(what, ratio, "x", verdict_above(ratio, ABOUT_FIVE), RULE, lengths, note)


def _nothing(slow: str, kind: str) -> Finding:
    what = f"{FAST} over {slow} ({kind}): tokens/s"
    return Finding(what, None, "x", NOT_DECIDED, RULE, note="not measured at any context and batch")


def _prediction(slow: str, kind: str, place: Place, results: Results) -> Finding:
    """The measured ratio over the predicted one."""
    ratio = place.ratio.times(1 / place.predicted)
    times = [f"{each:.3g}" if (each := predicted_ms(result, results)) else "?" for result in (place.fast, place.slow)]
    medians = [f"{result.row.number('time_median_ms'):.3g}" for result in (place.fast, place.slow)]
    note = f"predicted ratio {place.predicted:.3g}; ms a step, {FAST} and {slow}: predicted {' and '.join(times)}, "
    note += f"measured {' and '.join(medians)}"
    what = f"{FAST} over {slow} ({kind}), context {place.length}, batch {place.batch}: ratio measured over predicted"
    verdict = verdict_within(ratio, *PREDICTED)
    return Finding(what, ratio, "", verdict, PREDICTED_RULE, (place.length, place.length), note)


def _at_own_batches(results: Results, slow: str, kind: str) -> Finding:
    """Each model at its largest batch that fits the memory, at the longest context that both have."""
    everything = results.together()
    lengths = {model: {row.cell.length for row in rows_of(everything, model=model)} for model in (FAST, slow)}
    common = lengths[FAST] & lengths[slow]
    what = f"{FAST} over {slow} ({kind}): tokens/s, each at its largest batch in {MEMORY}"
    if not common:
        return Finding(what, None, "x", NOT_DECIDED, RULE, note="no context that both have")
    length = max(common)
    largest = {}
    for model in (FAST, slow):
        batches = [row.cell.batch for row in rows_of(everything, model=model, length=length)]
        largest[model] = ratios.found(everything, model=model, length=length, batch=max(batches))
    ratio = ratios.of_speeds(largest[FAST], largest[slow])
    batches = [result.cell.batch if result else "?" for result in (largest[FAST], largest[slow])]
    what += f", context {length}: {batches[0]} and {batches[1]}"
    tried = max(result.cell.batch for result in everything)
    note = f"larger batches than {tried} were not tried" if tried in batches else ""
    return Finding(what, ratio, "x", verdict_above(ratio, ABOUT_FIVE), RULE, (length, length), note)


def figure(results: Results) -> Figure:
    """The surface: a square for each context and batch, its colour the ratio to multi-head attention."""
    first, *_ = SLOW
    everything = results.together()
    lengths = sorted({result.cell.length for result in everything})
    batches = sorted({result.cell.batch for result in everything}, reverse=True)
    found = {slow: {(place.length, place.batch): place for place in places(results, slow)} for slow in SLOW}
    values = [[_ratio_at(found[first].get((length, batch))) for length in lengths] for batch in batches]

    def text_at(length: int, batch: int) -> str:
        return "\n".join(_said(slow, found[slow].get((length, batch)), everything, length, batch) for slow in SLOW)

    farthest = max((abs(math.log(ratio)) for row in values for ratio in row if not math.isnan(ratio)), default=1.0)
    return Figure(
        "",
        x=Axis("context (tokens)"),
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


def _said(slow: str, place: Place | None, everything: list[Result], length: int, batch: int) -> str:
    if place:
        return f"{slow}: {place.ratio.value:.2g}x (predicted {place.predicted:.2g}x)"
    mine = [r for r in everything if (r.cell.length, r.cell.batch) == (length, batch)]
    statuses = {r.cell.model: r.status for r in mine}
    missing = next(model for model in (slow, FAST) if statuses.get(model) != "ok")
    return f"{slow}: {'' if missing == slow else f'{missing} '}{statuses.get(missing, 'not measured')}"


CLAIM = Claim(
    3, "decode_speed", "Mamba infers about five times faster than a Transformer", parts, judge, figure, share=0.11
)
