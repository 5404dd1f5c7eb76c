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

from lengthscale.bench.analysis import text
from lengthscale.bench.analysis.compare import compare
from lengthscale.bench.analysis.crossover import CROSSES
from lengthscale.bench.analysis.fit import fit_results
from lengthscale.bench.plan.status import Status
from lengthscale.bench.results.estimate import Estimate
from lengthscale.bench.results.folder import RunFolder
from lengthscale.bench.results.result import Result

Key = tuple[Any, ...]  # of a number: what it is of
TIME, EXPONENT = "time", "exponent"
COLUMNS = ("number", "pairs", "inside", "median change", "median width", "level of a run", "shared")


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


def tallies(runs: Sequence[list[Result]]) -> dict[str, Tally]:
    """The tally of each kind of number, over all ordered pairs of these runs, each given by its results."""
    numbers = [dict(_numbers(results)) for results in runs]
    found: dict[str, Tally] = {}
    for mine, others in itertools.permutations(numbers, 2):
        for key, estimate in mine.items():
            if estimate.interval and key in others:
                kind = str(key[0])
                found.setdefault(kind, Tally()).add(kind.endswith(EXPONENT), estimate, others[key])
    return found


@dataclass(frozen=True)
class Levels:
    """How much the level of a run varies from run to run: standard deviations of logarithms, beyond the replicates'."""

    whole: float  # of a cell
    shared: float  # of all cells together


def levels(runs: Sequence[Sequence[Result]], measure: str) -> Levels | None:
    """The levels of a measure's times, by an analysis of variance of runs x cells. None: too few runs or replicates.

    A cell's mean in a run is mean of the cell + level that all cells share + level of its own + error of the
    replicates. runs: the results of each.
    """
    times = [{each.cell: np.log(each.medians_ms) for each in run if _has_replicates(each, measure)} for run in runs]
    cells = [cell for cell in times[0] if all(cell in run for run in times)]
    if len(runs) < 2 or len(cells) < 2:
        return None
    means = np.array([[run[cell].mean() for cell in cells] for run in times])
    errors = np.mean([[run[cell].var(ddof=1) / len(run[cell]) for cell in cells] for run in times])
    off = means - means.mean(axis=0)
    of_runs = off.mean(axis=1, keepdims=True)
    own = np.sum((off - of_runs) ** 2) / (len(runs) - 1) / (len(cells) - 1)  # expected: own level + errors
    shared = np.sum(of_runs**2) / (len(runs) - 1) - own / len(cells)
    return Levels(math.sqrt(max(0.0, own - errors) + max(0.0, shared)), math.sqrt(max(0.0, shared)))


def _has_replicates(result: Result, measure: str) -> bool:
    return result.cell.measure == measure and result.status == Status.OK and len(result.medians_ms) > 1


def _numbers(results: list[Result]) -> Iterator[tuple[Key, Estimate]]:
    """The numbers of a run, by what they are of; the first part of a key is the kind."""
    for result in results:
        row = result.row
        if result.status == Status.OK and row.time_median_ms:
            time = Estimate(row.time_median_ms, row.time_low_ms, row.time_high_ms)
            yield (f"{result.cell.measure}: {TIME}", result.cell), time
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


def lines(folders: Sequence[Path]) -> list[tuple[str, ...]]:
    """The table of the rerun test: COLUMNS for each kind of number. Raises JournalError where a run cannot be read."""
    runs = [RunFolder(folder).results() for folder in folders]
    return [_line(kind, tally, runs) for kind, tally in tallies(runs).items()]


def _line(kind: str, tally: Tally, runs: list[list[Result]]) -> tuple[str, ...]:
    form = "{:.2f}" if kind.endswith(EXPONENT) else "{:.1%}"
    change, width = (form.format(float(np.median(values))) for values in (tally.changes, tally.widths))
    measure, _, quantity = kind.partition(": ")
    found = levels(runs, measure) if quantity == TIME else None
    level = (f"{found.whole:.1%}", f"{found.shared:.1%}") if found else ("", "")
    return (kind, str(len(tally.inside)), f"{np.mean(tally.inside):.0%}", change, width, *level)


def alarms(folders: Sequence[Path]) -> str:
    """What `compare` says of each two of these runs, in a sentence. Raises JournalError where a run cannot be read."""
    found = [compare([a], [b])[0] for a, b in itertools.combinations(folders, 2)]
    decided = [[each for each in pairs if each.verdict in ("slower", "faster")] for pairs in found]
    visible = [each.visible for pairs in found for each in pairs if each.visible]
    smallest = f"; a slowdown of {np.median(visible):.2f}x would have been seen (median)" if visible else ""
    cells = sum(map(len, found))
    return (
        f"compare, each two of these runs: {sum(map(len, decided))} of {cells} cells slower or faster, "
        f"in {sum(map(bool, decided))} of {len(found)} comparisons{smallest}"
    )


def print_rerun(folders: Sequence[Path], console: Console) -> None:
    """Print the table of the rerun test, and what `compare` says. Raises JournalError where a run cannot be read."""
    title = f"{len(folders)} runs: each run's 95% intervals, and what the others gave\n"
    for part in (title, text.table(COLUMNS, lines(folders)), alarms(folders)):
        console.print(part, highlight=False, markup=False, soft_wrap=True)
