"""The rerun test: how often the intervals of one run hold what another run of the same cells gives.

A 95% interval holds the truth in 95 of 100 cases. What another run gives has an error of its own, so an interval over
3 replicates holds it in about 88 of 100, if runs differ in nothing but their replicates; it is less where the machine
has another level an hour later.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from lengthscale.bench.analysis.crossover import CROSSES
from lengthscale.bench.analysis.fit import fit_results
from lengthscale.bench.plan.status import Status
from lengthscale.bench.results.estimate import Estimate
from lengthscale.bench.results.folder import RunFolder

Key = tuple[Any, ...]  # of a number: what it is of
EXPONENT = "exponent"


@dataclass
class Tally:
    """How the numbers of one kind were confirmed."""

    inside: list[bool] = field(default_factory=list)  # for each number and ordered pair of runs
    changes: list[float] = field(default_factory=list)  # of the number from run to run, relative; of exponents absolute
    widths: list[float] = field(default_factory=list)  # of the interval, in the same way

    def add(self, is_exponent: bool, mine: Estimate, other: Estimate) -> None:
        """Add a number of one run, with its interval, and the same number of another run."""
        assert mine.interval is not None
        low, high = mine.interval
        self.inside.append(low <= other.value <= high)
        if is_exponent:
            self.changes.append(abs(other.value - mine.value))
            self.widths.append(high - low)
        else:
            self.changes.append(abs(math.log(other.value / mine.value)))
            self.widths.append((high - low) / mine.value)


def tallies(folders: Sequence[Path]) -> dict[str, Tally]:
    """The tally of each kind of number, over all ordered pairs of these runs. Raises JournalError."""
    runs = [dict(_numbers(folder)) for folder in folders]
    found: dict[str, Tally] = {}
    for mine, others in itertools.permutations(runs, 2):
        for key, estimate in mine.items():
            if estimate.interval and key in others:
                kind = str(key[0])
                found.setdefault(kind, Tally()).add(kind.endswith(EXPONENT), estimate, others[key])
    return found


def _numbers(folder: Path) -> Iterator[tuple[Key, Estimate]]:
    """The numbers of a run, by what they are of; the first part of a key is the kind."""
    results = RunFolder(folder).results()
    for result in results:
        row = result.row
        if result.status == Status.OK and row.time_median_ms:
            time = Estimate(row.time_median_ms, row.time_low_ms, row.time_high_ms)
            yield (f"{result.cell.measure}: time", result.cell), time
        if result.status == Status.OK and row.mem_peak_bytes:
            memory = Estimate(row.mem_peak_bytes, row.mem_peak_low_bytes, row.mem_peak_high_bytes)
            yield (f"{result.cell.measure}: peak memory", result.cell), memory
    fits, crossings = fit_results(results)
    for fit in fits:
        if fit.quantity == "time_ms" and fit.slope:
            yield (f"{fit.series.measure}: {EXPONENT}", fit.series), fit.slope
    for crossing in crossings:
        if crossing.quantity == "time_ms" and crossing.status == CROSSES and crossing.length:
            length = crossing.length  # an end that is out of the range is open
            ends = (length.low or 0.0, length.high or float(crossing.range_max or math.inf))
            names = frozenset((crossing.model_short, crossing.model_long))
            yield (f"{crossing.series.measure}: crossing", names), Estimate(length.value, *ends)


def print_rerun(folders: Sequence[Path], console: Console) -> None:
    """Print the table of the rerun test. Raises JournalError where a run cannot be read."""
    table = Table(
        title=f"{len(folders)} runs: each run's 95% intervals, and what the others gave", title_justify="left"
    )
    for column in ("number", "pairs", "inside", "median change", "median width"):
        table.add_column(column, justify="left" if column == "number" else "right")
    for kind, tally in tallies(folders).items():
        shares = "{:.2f}" if kind.endswith(EXPONENT) else "{:.1%}"
        change, width = (shares.format(float(np.median(values))) for values in (tally.changes, tally.widths))
        table.add_row(kind, str(len(tally.inside)), f"{np.mean(tally.inside):.0%}", change, width)
    console.print(table)
