"""What a claim is: the runs that test it, how their records are judged, and how they are drawn.

A claim is a frozen value of three functions and a few words: one file each, one line in bench/claims/__init__.py. Its
`judge` gets all records that its parts' journals hold, failed and skipped ones too (`rows_of` gives the rows of those
that are ok), and never raises for what is missing: a figure that is unavailable is a Finding that is not decided.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

from lengthscale.bench.figures.spec import Figure
from lengthscale.bench.plan.cell import Cell
from lengthscale.bench.plan.status import Status
from lengthscale.bench.results.record import Record, Row
from lengthscale.models import present_name

HOLDS, FAILS, NOT_DECIDED = "holds", "fails", "not decided"
VERDICTS = (HOLDS, FAILS, NOT_DECIDED)


class Records(dict[str, list[Record]]):
    """The records of each part, by its name; a part that has not run has none. peaks: each part's measured rates."""

    def __init__(self, parts: Mapping[str, list[Record]] | None = None, peaks: Mapping[str, dict] | None = None):
        super().__init__(parts or {})
        self.peaks = dict(peaks or {})

    def peaks_of(self, record: Record) -> dict[str, Any]:
        """The machine's rates (bench/device/peaks.py) when the record was measured."""
        return next((self.peaks.get(name, {}) for name, part in self.items() if record in part), {})

    def together(self) -> list[Record]:
        """Those of all parts."""
        return [record for part in self.values() for record in part]


class CellRow(NamedTuple):
    """A row with the cell that it is of."""

    cell: Cell
    row: Row

    def number(self, name: str) -> float:
        """A column of the row. Raises ValueError where it is blank."""
        return self.row.number(name)


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


def is_of(record: Record, **cell: object) -> bool:
    """Whether the record's cell has these values."""
    return all(_has(record.cell, name, value) for name, value in cell.items())


def _has(cell: Cell, name: str, value: object) -> bool:
    """A record may have a model's former name."""
    return (present_name(cell.model) if name == "model" else getattr(cell, name)) == value


def rows_of(records: Iterable[Record], **cell: object) -> list[CellRow]:
    """The rows of all ok records whose cell has these values."""
    good = [record for record in records if record.status == Status.OK and is_of(record, **cell)]
    return [CellRow(record.cell, row) for record in good for row in record.rows]


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
