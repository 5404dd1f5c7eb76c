"""What a claim is: the runs that test it, how their results are judged, and how they are drawn.

A claim is a frozen value of three functions and a few words: one file each, one line in bench/claims/__init__.py. The
file says the rules of its verdict and their reasons; docs/claims.md lists what was changed in them after something was
measured. Its `judge` gets all results that its parts' journals hold, failed and skipped ones too (`rows_of` gives the
rows of those that are ok), and never raises for what is missing: without an estimate a Finding is not decided.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

from lengthscale.bench.figures.spec import Figure
from lengthscale.bench.plan.cell import Cell
from lengthscale.bench.plan.status import Status
from lengthscale.bench.results.estimate import Estimate
from lengthscale.bench.results.record import Row
from lengthscale.bench.results.result import Result
from lengthscale.models import present_name

HOLDS, FAILS, NOT_DECIDED = "holds", "fails", "not decided"
REPORTED = "reported"  # of a finding that is there to be read, and decides nothing
VERDICTS = (HOLDS, FAILS, NOT_DECIDED, REPORTED)


class Results(dict[str, list[Result]]):
    """The results of each part, by its name; a part that has not run has none.

    peaks: the machine's rates (bench/device/peaks.py) that were measured with each part.
    """

    def __init__(self, parts: Mapping[str, list[Result]] | None = None, peaks: Mapping[str, dict] | None = None):
        super().__init__(parts or {})
        self.peaks = dict(peaks or {})

    def peaks_of(self, result: Result) -> dict[str, Any]:
        """The machine's rates when the result was measured; empty where they were not."""
        return next((self.peaks.get(name, {}) for name, part in self.items() if result in part), {})

    def of_parts(self, beginning: str) -> list[Result]:
        """The results of the parts whose names begin so."""
        return [result for name, part in self.items() if name.startswith(beginning) for result in part]

    def together(self) -> list[Result]:
        """The results of all parts."""
        return [result for part in self.values() for result in part]


class CellRow(NamedTuple):
    """A row and the cell that it belongs to."""

    cell: Cell
    row: Row

    def number(self, name: str) -> float:
        """A column of the row. Raises ValueError where it is blank."""
        return self.row.number(name)


Level = TypeVar("Level")
Lengths = tuple[int | None, int | None]  # the shortest and the longest that a finding is about


@dataclass(frozen=True)
class Part:
    """One ordinary run of `./run_bench.sh run`, in its own folder <out>/<claim's name>/<part's name>."""

    name: str
    arguments: tuple[str, ...]  # as a user would type them after `run`, so that a part can be measured again by hand


@dataclass(frozen=True)
class Finding:
    """A row of claims.csv."""

    measured: str  # what was measured, in words
    estimate: Estimate | None  # None: not measured
    unit: str
    verdict: str  # of VERDICTS
    decided_by: str  # the rule, in words with its thresholds
    lengths: Lengths = (None, None)
    note: str = ""  # what else a reader must know, such as why nothing is decided; time and failures are added to it
    n: int = 0  # independent units behind the interval: replicates, seeds or places; 0 where there is none
    confidence: float | None = None  # of the interval; None where there is none
    says: str = ""  # of a claim's first finding: what was found, in one sentence

    def __post_init__(self):
        assert self.verdict in VERDICTS, self.verdict

    def columns(self) -> dict[str, Any]:
        """The finding's columns of claims.csv."""
        return {
            **{name: getattr(self, name) for name in ("measured", "unit", "verdict", "decided_by", "note")},
            **{"finding": self.says, "n": self.n or None, "confidence": self.confidence},
            **{"figure": None, "low": None, "high": None},
            **({} if self.estimate is None else _columns_of(self.estimate)),
            **dict(zip(("length_min", "length_max"), self.lengths, strict=True)),
        }


def _columns_of(estimate: Estimate) -> dict[str, float | None]:
    return {"figure": estimate.value, "low": estimate.low, "high": estimate.high}


class Minutes(NamedTuple):
    """What a claim takes on 2 cores."""

    least: float  # with fewer, nothing can be decided
    whole: float  # as much as a budget of 120 minutes for all claims gives it


@dataclass(frozen=True)
class Claim:
    """One claim of the article: what to run for it, how to judge it and how to draw it."""

    number: int
    name: str
    statement: str
    published: str  # the figure of others that ours stands next to, with its source
    parts: Callable[[float], list[Part]]  # minutes for this claim -> what to run, tighter with more
    judge: Callable[[Results], list[Finding]]  # the first is the claim's overall verdict
    figures: Callable[[Results], tuple[Figure, ...]]  # the first has no title; called where any result is ok
    minutes: Minutes


def shared(claims: Sequence[Claim], budget: float) -> dict[int, float]:
    """The minutes of each claim, by its number; those that the budget cannot decide have none.

    The claims that take the least come first, and get what they need. What is left is divided in proportion to what
    each could use. Where the budget is too small for all of them, the cheapest gets it: it can be continued.
    """
    cheapest = sorted(claims, key=lambda claim: claim.minutes.least)
    given: dict[int, float] = {}
    for claim in cheapest:
        if sum(given.values()) + claim.minutes.least <= budget:
            given[claim.number] = claim.minutes.least
    if not given:
        return {cheapest[0].number: budget}
    more = {claim.number: claim.minutes.whole - claim.minutes.least for claim in claims if claim.number in given}
    left, useful = budget - sum(given.values()), sum(more.values())
    share = left / useful if useful else 0.0
    return {number: round(minutes + share * more[number], 2) for number, minutes in given.items()}


def affordable(levels: dict[float, Level], minutes: float) -> Level:
    """The largest level that the minutes allow, or the smallest level of all.

    levels: the minutes on 2 cores that a level takes -> what it runs.
    """
    return levels[max((needed for needed in levels if needed <= minutes), default=min(levels))]


def seeds_from(first: int, count: int) -> str:
    """So many seeds as an argument, such as "1,2,3"."""
    return ",".join(str(first + seed) for seed in range(count))


def joined(*texts: str) -> str:
    """The texts that are not empty, as one note."""
    return "; ".join(text for text in texts if text)


def is_of(result: Result, **cell: object) -> bool:
    """Whether the result's cell has these values."""
    return all(_has(result.cell, name, value) for name, value in cell.items())


def _has(cell: Cell, name: str, value: object) -> bool:
    """A result may have a model's former name."""
    return (present_name(cell.model) if name == "model" else getattr(cell, name)) == value


def rows_of(results: Iterable[Result], **cell: object) -> list[CellRow]:
    """The rows of all ok results whose cell has these values."""
    good = [result for result in results if result.status == Status.OK and is_of(result, **cell)]
    return [CellRow(result.cell, row) for result in good for row in result.rows]


def verdict_below(estimate: Estimate | None, threshold: float) -> str:
    """The verdict on "the estimate is below the threshold"; see `verdict_within`."""
    return verdict_within(estimate, float("-inf"), threshold)


def verdict_above(estimate: Estimate | None, threshold: float) -> str:
    """The verdict on "the estimate is above the threshold"; see `verdict_within`."""
    return verdict_within(estimate, threshold, float("inf"))


def verdict_within(estimate: Estimate | None, least: float, most: float) -> str:
    """The verdict on "the estimate is between least and most".

    It holds where the whole interval is inside, and fails where the whole interval is outside. Without an interval
    nothing is decided; an interval of no width (an exact value) decides.
    """
    if estimate is None or estimate.interval is None:
        return NOT_DECIDED
    low, high = estimate.interval
    assert low <= high, (low, high)
    if least < low and high < most:
        return HOLDS
    return FAILS if high <= least or most <= low else NOT_DECIDED


def all_of(verdicts: Iterable[str]) -> str:
    """The verdict on a claim that says several things: it fails if one fails, and holds if all hold (at least one)."""
    verdicts = list(verdicts)
    if FAILS in verdicts:
        return FAILS
    return HOLDS if verdicts and all(verdict == HOLDS for verdict in verdicts) else NOT_DECIDED
