"""Claim 7: RWKV joins highly parallel training with efficient inference, at long sequences better than a Transformer's.

The rules, all of which have to hold:
- One model in two forms: the logits of a trained RWKV-4, read whole by the parallel scan and read step by step, agree
  within AGREE.
- Training is parallel in length: the critical path of a training step, the longest chain of operations that depend on
  each other (bench/device/depth.py), has fewer than T operations at T = 64k. It is counted from the program, so it is
  exact, and it is what a machine with any number of cores must wait for. The bound is the definition: what reads its
  tokens in turn, as an RNN does, has one operation or more for each of them. So it tests "parallel"; how highly
  parallel is the number itself, which is reported per token beside an RNN's.
- Training is parallel on this machine: a training step on all cores is faster than on one by at least half a core for
  each core more, S > 1 + (cores - 1) / 2.
- It infers as an RNN: the time of a token at a context of 64k over that at 1k is within 5% of 1, on both sides, and
  shorter than a Transformer's at 64k.

The bound on the path had other values before, T / 64 and T / 4, which no reason supported; see docs/claims.md.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lengthscale.bench.analysis.text import milliseconds
from lengthscale.bench.claims import ratios
from lengthscale.bench.claims.claim import (
    FAILS,
    Claim,
    Finding,
    Minutes,
    Part,
    Results,
    affordable,
    all_of,
    rows_of,
    seeds_from,
)
from lengthscale.bench.claims.family import INFINITY, Question, against, alone, answered, exactly, mean_of
from lengthscale.bench.figures.spec import IN_LEGEND, Axis, DrawnCurve, Ends, Figure, Span
from lengthscale.bench.plan.status import Status
from lengthscale.bench.results.result import Result

MODEL, RECURRENT, ATTENTION, COMPARED = "rwkv4", "rnn", "transformer", "mamba"
PARALLEL, SEQUENTIAL = "associative", "sequential"
AGREE = 1e-4  # of any logit
SHORT, LONG = 1024, 65_536  # tokens
FLAT = (0.95, 1.05)
TRAINED_AT = 4096  # tokens of the training step that is timed on one core and on all
AGREE_RULE = f"largest difference of any logit below {AGREE:g} (float32)"
DEPTH_RULE = f"critical path of a training step at T = {LONG:,} tokens: fewer than T operations"
SPEED_RULE = "all cores over one: more than 1 + (cores - 1) / 2"
FLAT_RULE = f"time of a token at {LONG:,} over that at {SHORT:,} within {FLAT[0]} to {FLAT[1]}"
BETTER_RULE = f"a Transformer's token takes longer at a context of {LONG:,}"

# minutes -> (rounds of decoding at both ends by RWKV-4, of all other decoding, processes of a training step, lengths at
# which the forms are compared, seeds). A round of decoding has two processes (plan/schedule.py).
LEVELS = {
    0.0: (10, 3, 3, "256", "0"),
    6.0: (20, 3, 4, "256,1k", "0,1,2"),
    9.0: (30, 4, 6, "256,1k,4k", "0,1,2"),
}


def parts(minutes: float) -> list[Part]:
    """The agreement of the two forms, the critical paths, the speed-up by cores, and the time of decoding."""
    flat, others, processes, lengths, seeds = affordable(LEVELS, minutes)
    ends, between = f"{SHORT},{LONG}", "4k,16k"
    agreement = f"--measures agreement --models {MODEL} --methods {PARALLEL} --size tiny --lengths {lengths}"
    agreement += f" --train-tokens 131072 --seed {seeds} --timeout 300"
    speedup = f"--measures speedup --models {MODEL},{RECURRENT} --size small --lengths {TRAINED_AT}"
    speedup += f" --seed {seeds_from(0, processes)} --timeout 300"
    depth, decode = f"--measures depth --size tiny --lengths {ends},{between}", "--measures decode --size small"
    wanted = {
        "agreement": agreement,
        "depth": f"{depth} --models {MODEL} --methods {PARALLEL}",
        "depth-rnn": f"{depth} --models {RECURRENT} --methods {SEQUENTIAL}",
        "speedup": speedup,
        "decode": f"{decode} --models {MODEL} --lengths {ends} --replicates {flat}",
        "decode-others": f"{decode} --models {ATTENTION},{COMPARED} --lengths {ends},{between} --replicates {others}",
        "decode-between": f"{decode} --models {MODEL} --lengths {between} --replicates {others}",
    }
    return [Part(name, ("--suite", "quick", *mine.split())) for name, mine in wanted.items()]


def judge(results: Results) -> list[Finding]:
    """Claim 7's findings: the agreement, the critical path, the speed-up by cores, and the time of a token."""
    decode = results.of_parts("decode")
    flat = _grows(decode, MODEL, FLAT_RULE)
    asked = [_agree(results), _depth(results), _speedup(results, MODEL), flat, _better(decode)]
    agree, *others = answered(asked)
    if broken := [result for result in results.get("agreement", []) if result.status == Status.NAN]:
        agree = replace(agree, verdict=FAILS, note=broken[0].message or "")
    answers = [agree, *others]
    reading = alone(
        [
            _path(results, "depth-rnn", RECURRENT, "an RNN: T operations or more"),
            _speedup(results, RECURRENT),
            _grows(decode, ATTENTION, "grows with the context"),
            _grows(decode, COMPARED, FLAT_RULE),
        ]
    )
    decisive = answers[3]
    rule = "; ".join((AGREE_RULE, DEPTH_RULE, SPEED_RULE, FLAT_RULE, BETTER_RULE))
    verdict = all_of(each.verdict for each in answers)
    overall = replace(decisive, verdict=verdict, decided_by=rule, says=_sentence(answers), note=against(answers))
    return [overall, *answers, *reading]


def _sentence(answers: list[Finding]) -> str:
    _, depth, speed, flat, _ = (each.estimate for each in answers)
    said = [
        f"trains along a path of {depth.value:,.0f} operations at 64k tokens" if depth else "",
        f"{speed.value:.2g}x as fast on all cores as on one" if speed else "",
        f"and a token takes {flat.value:.2f}x as long at 64k as at 1k" if flat else "",
    ]
    return f"RWKV-4 {', '.join(each for each in said if each)}" if any(said) else ""


def _agree(results: Results) -> Question:
    rows = rows_of(results.get("agreement", []), method=PARALLEL, dtype="float32")
    what = "RWKV-4, trained: largest difference of any logit, a sequence read whole (parallel scan) and step by step"
    lengths = [row.cell.length for row in rows]
    worst = max((row.number("max_difference") for row in rows), default=None)
    note = f"the largest logit is {max(row.number('largest_logit') for row in rows):.3g}" if rows else ""
    ends = (min(lengths, default=None), max(lengths, default=None))
    return Question(what, exactly(worst), (-INFINITY, AGREE), AGREE_RULE, lengths=ends, note=note)


def _depth(results: Results) -> Question:
    return _path(results, "depth", MODEL, DEPTH_RULE)


def _path(results: Results, part: str, model: str, rule: str) -> Question:
    """The critical path of a training step at the longest length."""
    paths = depths(results, part)
    said = [f"{paths[LONG] / LONG:.2g} a token"] if LONG in paths else []
    said += [f"{paths[SHORT]:,.0f} at {SHORT:,}"] if SHORT in paths else []
    method = f" ({PARALLEL} scan)" if model == MODEL else ""
    what = f"{model}{method}: operations on the critical path of a training step at {LONG:,} tokens"
    at, ends = exactly(paths.get(LONG)), (SHORT, LONG)
    return Question(what, at, (0, LONG), rule, 0, "operations", ends, "; ".join(said))


def depths(results: Results, part: str) -> dict[int, float]:
    """The depth of a training step at each length."""
    rows = rows_of(results.get(part, []))
    known = [row for row in rows if row.row.mode == "train" and row.row.depth is not None]
    return {row.cell.length: row.number("depth") for row in sorted(known, key=lambda row: row.cell.length)}


def _speedup(results: Results, model: str) -> Question:
    rows = rows_of(results.get("speedup", []), model=model)
    values = np.array([row.number("speedup") for row in rows])
    cores = max((row.number("cores") for row in rows), default=1.0)
    what = f"{model}: speed of a training step at {TRAINED_AT:,} tokens on {cores:g} cores over that on one"
    bounds, lengths = (1 + (cores - 1) / 2, INFINITY), (TRAINED_AT, TRAINED_AT)
    at = mean_of(values if cores > 1 else np.zeros(0))
    return Question(what, at, bounds, SPEED_RULE, len(values), "x", lengths)


def _grows(decode: list[Result], model: str, rule: str) -> Question:
    """The time of a token at the long context over that at the short one."""
    short, long = (ratios.found(decode, model=model, length=length) for length in (SHORT, LONG))
    what = f"{model}: time of a token at a context of {LONG:,} over that at {SHORT:,}"
    bounds = (1.0, INFINITY) if model == ATTENTION else FLAT
    at, count = ratios.of_times(long, short), ratios.replicates_of(short, long)
    return Question(what, at, bounds, rule, count, "x", (SHORT, LONG))


def _better(decode: list[Result]) -> Question:
    slow, fast = (ratios.found(decode, model=model, length=LONG) for model in (ATTENTION, MODEL))
    what = f"time of a Transformer's token over RWKV-4's at a context of {LONG:,}"
    at, count = ratios.of_times(slow, fast), ratios.replicates_of(slow, fast)
    return Question(what, at, (1.0, INFINITY), BETTER_RULE, count, "x", (LONG, LONG))


def figures(results: Results) -> tuple[Figure, ...]:
    """The time of a token over the one at the shortest context, and the critical paths, against the length."""
    both = (_decoding(results.of_parts("decode")), _paths(results))
    return tuple(figure for figure in both if figure.curves) or both[:1]


def _decoding(decode: list[Result]) -> Figure:
    """The band is p10 to p90."""
    curves = []
    for model in (MODEL, ATTENTION, COMPARED):
        rows = sorted(rows_of(decode, model=model), key=lambda row: row.cell.length)
        if not rows:
            continue
        first, last = (rows[at].number("time_median_ms") for at in (0, -1))
        lengths = tuple(row.cell.length for row in rows)
        name = f"{model}: {milliseconds(first)} at {lengths[0]}, {milliseconds(last)} at {lengths[-1]}"
        median, low, high = (
            tuple(row.number(f"time_{end}_ms") / first for row in rows) for end in ("median", "p10", "p90")
        )
        curves.append(DrawnCurve(model, name, lengths, median, spread=Ends(low, high)))
    contexts = sorted({result.cell.length for result in decode})
    return Figure(
        "",
        x=Axis("context (tokens)", "log", lengths=tuple(contexts)),
        y=Axis("time of a token, over that at the shortest context", "log"),
        curves=tuple(curves),
        marks=(Span(*FLAT),),
        names=IN_LEGEND,
    )


def _paths(results: Results) -> Figure:
    named = {MODEL: ("depth", f"{MODEL}, {PARALLEL} scan"), RECURRENT: ("depth-rnn", RECURRENT)}
    found = {model: (depths(results, part), name) for model, (part, name) in named.items()}
    curves = tuple(
        DrawnCurve(model, name, tuple(map(float, mine)), tuple(mine.values()))
        for model, (mine, name) in found.items()
        if mine
    )
    lengths = sorted({int(length) for curve in curves for length in curve.x})
    return Figure(
        "The critical path of a training step",
        x=Axis("length (tokens)", "log", lengths=tuple(lengths)),
        y=Axis("operations that depend on each other", "log"),
        curves=curves,
        names=IN_LEGEND,
    )


CLAIM = Claim(
    7,
    "parallel_and_recurrent",
    "RWKV trains in parallel and infers as an RNN, at long sequences faster than a Transformer",
    "no figure: time linear in the length and memory constant at inference (Peng et al. 2023, arXiv:2305.13048)",
    parts,
    judge,
    figures,
    Minutes(6, 9.5),
)
