"""Claim 7: RWKV trains in parallel and infers as an RNN.

That the two forms are one model: the logits of a trained RWKV-4, a sequence read whole by the parallel scan against the
same one step by step. That it infers as an RNN: the time of a token does not depend on the context.
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
    Records,
    affordable,
    all_of,
    rows_of,
    verdict_above,
    verdict_within,
)
from lengthscale.bench.figures.spec import IN_LEGEND, Axis, Curve, Ends, Figure, Span
from lengthscale.bench.plan.status import Status
from lengthscale.bench.results.record import Record

AGREE = 1e-4  # of any logit
PARALLEL = "associative"
SHORT, LONG, BEFORE = 1024, 65_536, 16_384
FLAT = (0.9, 1.1)
MODELS = ("rwkv4", "transformer")
BESIDE = "mamba"
AGREE_RULE = f"largest difference of any logit below {AGREE:g} (float32)"
RATIO_RULE = f"RWKV within {FLAT[0]} to {FLAT[1]}"
GROWS_RULE = f"attention above {FLAT[1]}, and still growing: above 1 from 16k to 64k"

# minutes -> (suite, models, their size, contexts of decoding, lengths at which the forms are compared, seeds)
LEVELS = {
    0.0: ("quick", MODELS, "tiny", "1k,16k,64k", "256", "0"),
    1.0: ("quick", MODELS, "small", "1k,16k,64k", "1k", "0"),
    2.0: ("quick", (*MODELS, BESIDE), "small", "1k,4k,16k,64k", "256,1k", "0"),
    5.0: ("default", (*MODELS, BESIDE), "small", "1k,4k,16k,64k", "256,1k,4k", "0,1,2"),
}


def parts(minutes: float) -> list[Part]:
    suite, models, size, contexts, lengths, seeds = affordable(LEVELS, minutes)
    agreement = f"--suite quick --measures agreement --models rwkv4 --methods {PARALLEL} --size tiny"
    agreement += f" --lengths {lengths} --train-tokens 131072 --seed {seeds} --timeout 300"
    decode = f"--suite {suite} --measures decode --models {','.join(models)} --size {size} --lengths {contexts}"
    return [Part("agreement", tuple(agreement.split())), Part("decode", tuple(decode.split()))]


def judge(records: Records) -> list[Finding]:
    agreement, decode = records.get("agreement", []), records.get("decode", [])
    agree = _agree(agreement)
    flat, grows, grows_on = (
        _ratio(decode, model, over, under)
        for model, over, under in (("rwkv4", LONG, SHORT), ("transformer", LONG, SHORT), ("transformer", LONG, BEFORE))
    )
    findings = [
        agree,
        _finding("rwkv4", LONG, SHORT, flat, verdict_within(flat.low, flat.high, *FLAT), RATIO_RULE),
        _finding("transformer", LONG, SHORT, grows, verdict_above(grows.low, grows.high, FLAT[1]), GROWS_RULE),
        _finding("transformer", LONG, BEFORE, grows_on, verdict_above(grows_on.low, grows_on.high, 1.0), GROWS_RULE),
    ]
    others = [f"Transformer {grows.figure:.3g}"] if grows.figure else []
    others += [f"largest difference of logits {agree.figure:.1e}"] if agree.figure is not None else []
    what = f"time of a token of RWKV-4 at a context of {LONG // 1024}k over that at {SHORT // 1024}k"
    what += f" ({', '.join(others)})" if others else ""
    rule = f"{AGREE_RULE}; {RATIO_RULE}; {GROWS_RULE}"
    overall = Finding(what, *flat, "x", all_of(each.verdict for each in findings), rule, SHORT, LONG)
    beside = _ratio(decode, BESIDE, LONG, SHORT)
    if beside.figure is not None:
        verdict = verdict_within(beside.low, beside.high, *FLAT)
        findings.append(_finding(BESIDE, LONG, SHORT, beside, verdict, f"as {RATIO_RULE}"))
    return [overall, *findings]


def _agree(records: list[Record]) -> Finding:
    rows = rows_of(records, method=PARALLEL, dtype="float32")
    what = "RWKV-4, trained: largest difference of any logit, a sequence read whole (parallel scan) and step by step"
    lengths = [record.cell.length for record in records]
    ends = (min(lengths, default=None), max(lengths, default=None))
    broken = [record for record in records if record.status == Status.NAN]
    if broken or not rows:
        note = broken[0].message if broken else ""
        return Finding(what, None, None, None, "", FAILS if broken else NOT_DECIDED, AGREE_RULE, *ends, note)
    worst = max(row.number("max_difference") for row in rows)
    note = f"the largest logit is {max(row.number('largest_logit') for row in rows):.3g}; a maximum has no interval"
    return Finding(what, worst, None, None, "", HOLDS if worst < AGREE else FAILS, AGREE_RULE, *ends, note)


def _ratio(records: list[Record], model: str, over: int, under: int) -> ratios.Ratio:
    return ratios.of_times(*(ratios.found(records, model=model, length=length) for length in (over, under)))


def _finding(model: str, over: int, under: int, ratio: ratios.Ratio, verdict: str, rule: str) -> Finding:
    what = f"{model}: time of a token at a context of {over // 1024}k over that at {under // 1024}k"
    return Finding(what, *ratio, "x", verdict, rule, under, over)


def figure(records: Records) -> Figure:
    """The time of a token over the one at the shortest context, against the context; the band is p10 to p90."""
    curves = []
    for model in (*MODELS, BESIDE):
        rows = sorted(rows_of(records.get("decode", []), model=model), key=lambda row: row.cell.length)
        if not rows:
            continue
        first, last = (rows[at].number("time_median_ms") for at in (0, -1))
        lengths = tuple(row.cell.length for row in rows)
        name = f"{model}: {milliseconds(first)} at {lengths[0]}, {milliseconds(last)} at {lengths[-1]}"
        median, low, high = (
            tuple(row.number(f"time_{end}_ms") / first for row in rows) for end in ("median", "p10", "p90")
        )
        curves.append(Curve(model, name, lengths, median, spread=Ends(low, high)))
    contexts = sorted({record.cell.length for record in records.get("decode", [])})
    return Figure(
        "",
        x=Axis("context (tokens)", "log", lengths=tuple(contexts)),
        y=Axis("time of a token, over that at the shortest context", "log"),
        curves=tuple(curves),
        marks=(Span(*FLAT),),
        names=IN_LEGEND,
    )


CLAIM = Claim(
    number=7,
    name="parallel_and_recurrent",
    statement="RWKV trains in parallel and infers as an RNN",
    parts=parts,
    judge=judge,
    figure=figure,
    share=0.07,
)
