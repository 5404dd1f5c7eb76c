"""Claim 7: RWKV trains in parallel and infers as an RNN.

The two forms are one model if the logits of a trained RWKV-4 agree: one sequence, read whole by the parallel scan and
read step by step. It infers as an RNN if the time of a token does not depend on the context.
"""

from __future__ import annotations

from lengthscale.bench.analysis.text import milliseconds
from lengthscale.bench.claims import ratios
from lengthscale.bench.claims.claim import (
    FAILS,
    HOLDS,
    NOT_DECIDED,
    Claim,
    Finding,
    Part,
    Results,
    affordable,
    all_of,
    rows_of,
    verdict_above,
    verdict_within,
)
from lengthscale.bench.figures.spec import IN_LEGEND, Axis, DrawnCurve, Ends, Figure, Span
from lengthscale.bench.plan.status import Status
from lengthscale.bench.results.estimate import Estimate
from lengthscale.bench.results.result import Result

AGREE = 1e-4  # of any logit
PARALLEL = "associative"
SHORT, LONG, BEFORE = 1024, 65_536, 16_384
FLAT = (0.9, 1.1)
MODELS = ("rwkv4", "transformer")
COMPARED = "mamba"
AGREE_RULE = f"largest difference of any logit below {AGREE:g} (float32)"
RATIO_RULE = f"RWKV within {FLAT[0]} to {FLAT[1]}"
GROWS_RULE = f"attention above {FLAT[1]}, and still growing: above 1 from 16k to 64k"

# minutes -> (suite, models, their size, contexts of decoding, lengths at which the forms are compared, seeds)
LEVELS = {
    0.0: ("quick", MODELS, "tiny", "1k,16k,64k", "256", "0"),
    1.0: ("quick", MODELS, "small", "1k,16k,64k", "1k", "0"),
    2.0: ("quick", (*MODELS, COMPARED), "small", "1k,4k,16k,64k", "256,1k", "0"),
    5.0: ("default", (*MODELS, COMPARED), "small", "1k,4k,16k,64k", "256,1k,4k", "0,1,2"),
}


def parts(minutes: float) -> list[Part]:
    """The agreement of the two forms, and the time of decoding."""
    suite, models, size, contexts, lengths, seeds = affordable(LEVELS, minutes)
    agreement = f"--suite quick --measures agreement --models rwkv4 --methods {PARALLEL} --size tiny"
    agreement += f" --lengths {lengths} --train-tokens 131072 --seed {seeds} --timeout 300"
    decode = f"--suite {suite} --measures decode --models {','.join(models)} --size {size} --lengths {contexts}"
    return [Part("agreement", tuple(agreement.split())), Part("decode", tuple(decode.split()))]


def judge(results: Results) -> list[Finding]:
    """Claim 7's findings: the largest difference of the forms, and the ratios of times."""
    agreement, decode = results.get("agreement", []), results.get("decode", [])
    agree = _agree(agreement)
    flat, grows, grows_on = (
        _ratio(decode, model, lengths)
        for model, lengths in (
            ("rwkv4", (SHORT, LONG)),
            ("transformer", (SHORT, LONG)),
            ("transformer", (BEFORE, LONG)),
        )
    )
    findings = [
        agree,
        _finding("rwkv4", (SHORT, LONG), flat, verdict_within(flat, *FLAT), RATIO_RULE),
        _finding("transformer", (SHORT, LONG), grows, verdict_above(grows, FLAT[1]), GROWS_RULE),
        _finding("transformer", (BEFORE, LONG), grows_on, verdict_above(grows_on, 1.0), GROWS_RULE),
    ]
    others = [f"Transformer {grows.value:.3g}"] if grows else []
    others += [f"largest difference of logits {agree.estimate.value:.1e}"] if agree.estimate else []
    what = f"time of a token of RWKV-4 at a context of {LONG // 1024}k over that at {SHORT // 1024}k"
    what += f" ({', '.join(others)})" if others else ""
    rule = f"{AGREE_RULE}; {RATIO_RULE}; {GROWS_RULE}"
    overall = Finding(what, flat, "x", all_of(each.verdict for each in findings), rule, (SHORT, LONG))
    if compared := _ratio(decode, COMPARED, (SHORT, LONG)):
        verdict = verdict_within(compared, *FLAT)
        findings.append(_finding(COMPARED, (SHORT, LONG), compared, verdict, f"as {RATIO_RULE}"))
    return [overall, *findings]


def _agree(results: list[Result]) -> Finding:
    rows = rows_of(results, method=PARALLEL, dtype="float32")
    what = "RWKV-4, trained: largest difference of any logit, a sequence read whole (parallel scan) and step by step"
    measured = [result.cell.length for result in results]
    lengths = (min(measured, default=None), max(measured, default=None))
    broken = [result for result in results if result.status == Status.NAN]
    if broken or not rows:
        note = broken[0].message if broken else ""
        return Finding(what, None, "", FAILS if broken else NOT_DECIDED, AGREE_RULE, lengths, note)
    worst = max(row.number("max_difference") for row in rows)
    note = f"the largest logit is {max(row.number('largest_logit') for row in rows):.3g}; a maximum has no interval"
    return Finding(what, Estimate(worst), "", HOLDS if worst < AGREE else FAILS, AGREE_RULE, lengths, note)


def _ratio(results: list[Result], model: str, lengths: tuple[int, int]) -> Estimate | None:
    """The time of a token at the longer of two contexts over that at the shorter one."""
    short, long = (ratios.found(results, model=model, length=length) for length in lengths)
    return ratios.of_times(long, short)


def _finding(model: str, lengths: tuple[int, int], ratio: Estimate | None, verdict: str, rule: str) -> Finding:
    short, long = lengths
    what = f"{model}: time of a token at a context of {long // 1024}k over that at {short // 1024}k"
    return Finding(what, ratio, "x", verdict, rule, lengths)


def figure(results: Results) -> Figure:
    """The time of a token over the one at the shortest context, against the context; the band is p10 to p90."""
    curves = []
    for model in (*MODELS, COMPARED):
        rows = sorted(rows_of(results.get("decode", []), model=model), key=lambda row: row.cell.length)
        if not rows:
            continue
        first, last = (rows[at].number("time_median_ms") for at in (0, -1))
        lengths = tuple(row.cell.length for row in rows)
        name = f"{model}: {milliseconds(first)} at {lengths[0]}, {milliseconds(last)} at {lengths[-1]}"
        median, low, high = (
            tuple(row.number(f"time_{end}_ms") / first for row in rows) for end in ("median", "p10", "p90")
        )
        curves.append(DrawnCurve(model, name, lengths, median, spread=Ends(low, high)))
    contexts = sorted({result.cell.length for result in results.get("decode", [])})
    return Figure(
        "",
        x=Axis("context (tokens)", "log", lengths=tuple(contexts)),
        y=Axis("time of a token, over that at the shortest context", "log"),
        curves=tuple(curves),
        marks=(Span(*FLAT),),
        names=IN_LEGEND,
    )


CLAIM = Claim(
    7, "parallel_and_recurrent", "RWKV trains in parallel and infers as an RNN", parts, judge, figure, share=0.07
)
