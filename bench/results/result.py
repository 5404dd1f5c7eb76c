"""The result of a cell: its replicates combined.

A replicate is one measurement of a cell in a process of its own, at another time, among other cells. Samples of one
process resemble each other, so the unit of every interval is the replicate: each gives one median.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from msgspec.structs import replace

from lengthscale.bench.plan.cell import Cell
from lengthscale.bench.plan.measures import COMPILE, MEASURES
from lengthscale.bench.plan.status import TIMED, Status
from lengthscale.bench.results import intervals
from lengthscale.bench.results.disturbance import undisturbed, usable
from lengthscale.bench.results.estimate import Estimate
from lengthscale.bench.results.record import Conditions, Record, Row

NOISY = 0.10  # half of the interval's width, of the median
COARSE_MS = 1e-3  # a thousand ticks of the clock, which has nanoseconds
INVERSE = ("tokens_per_s", "flops_per_s", "bytes_per_s", "gemm_share")  # inversely proportional to the time
# Columns that each replicate measures once -> the columns of the ends of the interval.
MEASURED = {
    "mem_peak_bytes": ("mem_peak_low_bytes", "mem_peak_high_bytes"),
    "ttft_ms": ("ttft_low_ms", "ttft_high_ms"),
    "tpot_ms": ("tpot_low_ms", "tpot_high_ms"),
    "joules_per_token": ("joules_per_token_low", "joules_per_token_high"),
}


@dataclass(frozen=True)
class Result:
    """The outcome of a cell. Its status is ok only if every replicate is."""

    cell: Cell
    status: Status
    stage: str
    message: str
    rows: tuple[Row, ...]  # the combined rows of the replicates that were timed
    replicates: tuple[Record, ...]  # all of them

    @property
    def row(self) -> Row:
        """The first row; an empty one where there is none."""
        return self.rows[0] if self.rows else Row()

    @property
    def place_losses(self) -> tuple[tuple[float | None, ...], ...] | None:
        """The losses of each row's places, as the first replicate has them: others would give the same."""
        return self.replicates[0].place_losses

    @property
    def environment(self) -> Conditions | None:
        """What the cell was measured on."""
        return self.replicates[0].environment

    @cached_property
    def medians_ms(self) -> tuple[float, ...]:
        """The median time of each replicate that was timed."""
        medians = (record.median_ms() for record in self.replicates if record.status in TIMED)
        return tuple(median for median in medians if median is not None)

    @property
    def is_disturbed(self) -> bool:
        """Whether other processes disturbed a replicate too much."""
        return any(record.is_disturbed for record in self.replicates)


def results_of(records: Iterable[Record]) -> list[Result]:
    """The results of all cells, in the order of tables (`Cell.order`)."""
    by_cell: dict[Cell, list[Record]] = {}
    for record in records:
        by_cell.setdefault(record.cell, []).append(record)
    for mine in by_cell.values():
        mine.sort(key=lambda record: record.replicate)
    return [_result(cell, by_cell[cell]) for cell in sorted(by_cell, key=Cell.order)]


def _result(cell: Cell, records: list[Record]) -> Result:
    bad = next((record for record in records if record.status != Status.OK), records[0])
    message = bad.message
    if bad.status != Status.OK and bad.replicate:
        message = f"replicate {bad.replicate + 1}: {message}"
    timed = [record for record in records if record.status in TIMED]
    rows: tuple[Row, ...] = ()
    if timed:
        times = _times(timed)
        rows = tuple(_row(timed, number, times) for number in range(min(len(record.rows) for record in timed)))
    return Result(cell, bad.status, bad.stage, message, rows, tuple(records))


class _Times(NamedTuple):
    """The columns of the time, which all rows of a cell have, and how many times that of the first replicate it is."""

    columns: dict
    slower: float


def _row(records: list[Record], number: int, times: _Times | None) -> Row:
    """The combined row of this number: exact columns are those of the first replicate, measured ones are medians.

    What is inversely proportional to the time follows from the combined time.
    """
    rows = [record.rows[number] for record in records]
    columns = {name: next((x for row in rows if (x := getattr(row, name)) is not None), None) for name in COMPILE}
    for name, ends in MEASURED.items():
        values = [value for row in rows if (value := getattr(row, name)) is not None]
        if values:
            found = intervals.of_replicates(values)
            columns |= {name: found.value, **dict(zip(ends, (found.low, found.high), strict=True))}
    first = replace(rows[0], **columns)
    if times is None:
        return first
    inverse = {name: value / times.slower for name in INVERSE if (value := getattr(first, name)) is not None}
    return replace(first, **inverse, **times.columns)


def _times(records: list[Record]) -> _Times | None:
    """The combined time of these replicates; None where the measure is not timed."""
    if "time_median_ms" not in MEASURES[records[0].cell.measure].columns or not records[0].samples_ms:
        return None
    good = [median for record in records if (median := record.median_ms()) is not None]
    median = intervals.of_replicates(good)
    used = [usable(record)[0] for record in records if record.samples_ms]
    p10, p90 = np.median([np.quantile(samples, (0.1, 0.9)) for samples in used], axis=0).tolist()
    columns = {
        "time_median_ms": median.value,
        "time_low_ms": median.low,
        "time_high_ms": median.high,
        "time_p10_ms": p10,
        "time_p90_ms": p90,
        "time_all_ms": float(np.median([np.median(record.samples_ms) for record in records])),
        "n_samples": sum(len(record.samples_ms) for record in records),
        "n_disturbed": sum(map(_disturbed, records)) if records[0].waited_ms else None,
        "n_replicates": len(records),
        "flags": " ".join(_flags(records, median)) or None,
    }
    return _Times(columns, median.value / good[0])


def _disturbed(record: Record) -> int:
    return undisturbed(record).count(False)


def _flags(records: list[Record], median: Estimate) -> list[str]:
    """What a reader must know of these times before quoting them."""
    few = len(records) < intervals.FEWEST and MEASURES[records[0].cell.measure].replicated
    flags = ["few"] if few else []
    if median.interval and median.interval[1] - median.interval[0] > 2 * NOISY * median.value:
        flags.append("noisy")
    if median.value < COARSE_MS:
        flags.append("coarse")
    if any(record.is_disturbed for record in records):
        flags.append("disturbed")
    return flags
