"""All questions that can flip one verdict, answered together: of all its verdicts, at most 5% are wrong.

Each question is whether a quantity lies within bounds, by its interval (claim.py). Where several are asked, one
interval in twenty misses, and so each is wider than 95%: Holm's procedure (Scandinavian Journal of Statistics 1979),
with intervals in place of p-values. Of m questions each is asked at a confidence of 1 - 0.05 / m. Those that this
decides are done; those left, m' of them, are asked at 1 - 0.05 / m', and so on until nothing more is decided. A finding
shows the interval at which its question was asked last. Exact quantities cannot miss, and do not count.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from lengthscale.bench.claims.claim import HOLDS, NOT_DECIDED, REPORTED, Finding, Lengths, joined, verdict_within
from lengthscale.bench.results import intervals
from lengthscale.bench.results.estimate import Estimate
from lengthscale.bench.results.intervals import CONFIDENCE

ERROR = 1 - CONFIDENCE  # of a family of questions
INFINITY = float("inf")
POWER = 0.8  # with which an effect that could have been seen is seen
At = Callable[[float], Estimate | None]  # confidence -> estimate; None where nothing was measured


@dataclass(frozen=True)
class Question:
    """Whether a quantity lies between two bounds, of which one may be infinite."""

    measured: str
    at: At
    bounds: tuple[float, float]
    rule: str
    n: int = 0  # independent units behind the interval: replicates, seeds or places; 0 for what is exact
    unit: str = ""
    lengths: Lengths = (None, None)
    note: str = ""
    decide: Callable[[Estimate | None], str] | None = None  # estimate -> verdict, where the bounds alone do not say it


def exactly(value: float | None) -> At:
    """A quantity that is known exactly, such as a count."""
    return lambda confidence: None if value is None else Estimate(value, value, value)


def mean_of(values: np.ndarray, common: float = 0.0) -> At:
    """The mean of what each seed or replicate gives, (n,). common: as in intervals.mean_of_few."""
    return lambda confidence: intervals.mean_of_few(values, confidence, common)


def answered(questions: Sequence[Question]) -> list[Finding]:
    """A finding for each question, in their order."""
    waiting = [question for question in questions if _may_miss(question)]
    asked_at = dict.fromkeys(map(id, questions), CONFIDENCE)
    while waiting:
        confidence = 1 - ERROR / len(waiting)
        asked_at |= dict.fromkeys(map(id, waiting), confidence)
        undecided = [question for question in waiting if _verdict(question, confidence) == NOT_DECIDED]
        if len(undecided) == len(waiting):
            break
        waiting = undecided
    return [_finding(question, asked_at[id(question)]) for question in questions]


def alone(questions: Iterable[Question]) -> list[Finding]:
    """Findings that decide nothing: each with its own interval of 95%, and without a verdict."""
    return [replace(_finding(question, CONFIDENCE), verdict=REPORTED, note=question.note) for question in questions]


def against(answers: Iterable[Finding]) -> str:
    """What does not hold, in words, such as "not decided: the exponent of the time"."""
    return "; ".join(f"{each.verdict}: {each.measured}" for each in answers if each.verdict != HOLDS)


def _may_miss(question: Question) -> bool:
    estimate = question.at(CONFIDENCE)
    return estimate is not None and estimate.interval is not None and estimate.low != estimate.high


def _verdict(question: Question, confidence: float) -> str:
    estimate = question.at(confidence)
    return question.decide(estimate) if question.decide else verdict_within(estimate, *question.bounds)


def _finding(question: Question, confidence: float) -> Finding:
    verdict = _verdict(question, confidence)
    note = joined(question.note, _could_be_seen(question, confidence) if verdict == NOT_DECIDED else "")
    return Finding(
        question.measured,
        question.at(confidence),
        question.unit,
        verdict,
        question.rule,
        question.lengths,
        note,
        n=question.n,
        confidence=confidence if _may_miss(question) else None,
    )


def _could_be_seen(question: Question, confidence: float) -> str:
    """How far from a bound a quantity would have had to be.

    The half width of an interval is t s for the quantile t of its confidence. An effect e is seen with POWER if it is
    over (t + t') s, where t' is the quantile of POWER on one side: that of a two-sided confidence of 2 POWER - 1.
    """
    halves = [_half_width(question.at(each)) for each in (confidence, 2 * POWER - 1)]
    effect = sum(half for half in halves if half is not None)
    if None in halves:
        return ""
    unit = f" {question.unit}" if question.unit else ""
    return f"{effect:.2g}{unit} from the bound would have been seen with a power of {POWER:.0%}"


def _half_width(estimate: Estimate | None) -> float | None:
    if estimate is None or estimate.interval is None:
        return None
    low, high = estimate.interval
    return (high - low) / 2
