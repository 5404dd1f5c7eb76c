"""What a claim is: the runs that test it, how their records are judged, and how they are drawn.

A claim is a frozen value of three functions and a few words: one file each, one line in bench/claims/__init__.py. Its
`judge` gets all records that its parts' journals hold, failed and skipped ones too (`rows_of` gives the rows of those
that are ok), and never raises for what is missing: a figure that cannot be had is a Finding that is not decided. Each
record also has `peaks`, the machine's measured rates (bench/results/rates.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

from lengthscale.bench.figures.spec import Figure

HOLDS, FAILS, NOT_DECIDED = "holds", "fails", "not decided"
VERDICTS = (HOLDS, FAILS, NOT_DECIDED)

Records = dict[str, list[dict]]  # those of each part, by its name; none where it has not run
Level = TypeVar("Level")


@dataclass(frozen=True)
class Part:
    """One ordinary run of `./run_bench.sh run`, in its own folder <out>/<claim's name>/<part's name>."""

    name: str
    arguments: tuple[str, ...]  # as a user would type them after `run`, so that a part can be measured again by hand


@dataclass(frozen=True)
class Finding:
    """A row of claims.csv. low, high: the figure's 95% interval; None where there is none."""

    measured: str
    figure: float | None
    low: float | None
    high: float | None
    unit: str
    verdict: str  # of VERDICTS
    decided_by: str  # the rule, in words with its thresholds
    length_min: int | None
    length_max: int | None
    note: str = ""  # what a reader must know besides, such as why nothing is decided; time and failures are added to it

    def __post_init__(self):
        assert self.verdict in VERDICTS, self.verdict


@dataclass(frozen=True)
class Claim:
    number: int
    name: str
    statement: str
    parts: Callable[[float], list[Part]]  # minutes for this claim -> what to run, tighter with more
    judge: Callable[[Records], list[Finding]]  # the first is the claim's overall verdict
    figure: Callable[[Records], Figure]  # without title; called where any record is ok
    share: float  # of the budget


def affordable(levels: dict[float, Level], minutes: float) -> Level:
    """Of what takes so many minutes on 2 cores: the most that the minutes allow, or the least that there is."""
    return levels[max((needed for needed in levels if needed <= minutes), default=min(levels))]


def rows_of(records: Iterable[dict], **cell) -> list[dict]:
    """The rows of all ok records whose cell has these values: each the cell's fields and the row's own together."""
    chosen = [record for record in records if record["status"] == "ok"]
    chosen = [record for record in chosen if all(record["cell"][key] == value for key, value in cell.items())]
    return [{**record["cell"], **row} for record in chosen for row in record["rows"]]


def verdict_below(low: float | None, high: float | None, threshold: float) -> str:
    """`figure < threshold`; as verdict_within."""
    return verdict_within(low, high, float("-inf"), threshold)


def verdict_above(low: float | None, high: float | None, threshold: float) -> str:
    """`figure > threshold`; as verdict_within."""
    return verdict_within(low, high, threshold, float("inf"))


def verdict_within(low: float | None, high: float | None, least: float, most: float) -> str:
    """`least < figure < most`: holds where the whole interval is inside, fails where it is all outside.

    Without an interval (None) nothing is decided; one of no width (a figure that is exact) decides.
    """
    if low is None or high is None:
        return NOT_DECIDED
    assert low <= high, (low, high)
    if least < low and high < most:
        return HOLDS
    return FAILS if high <= least or most <= low else NOT_DECIDED


def all_of(verdicts: Iterable[str]) -> str:
    """Of a claim that says several things at once: it fails with any of them, and holds with all (not with none)."""
    verdicts = list(verdicts)
    if FAILS in verdicts:
        return FAILS
    return HOLDS if verdicts and all(verdict == HOLDS for verdict in verdicts) else NOT_DECIDED
