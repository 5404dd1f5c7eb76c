"""Two runs, cell by cell: is B slower or faster than A, and how sure is that?

Cells are matched by their identity. Of each pair's raw samples: the ratio of medians, B / A, with its bootstrap 95%
interval, and the p-value of Mann and Whitney (1947; two-sided), which asks whether one tends to be larger and assumes
no distribution. A difference is called one if its p-value, times the number of pairs (Holm 1979), is below ALPHA, and
the ratio is off 1 by the least effect or more. What so few or so scattered samples could not have shown is "not
decided", and not "same".
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy import stats

from lengthscale.bench.plan.cell import Cell
from lengthscale.bench.plan.errors import RequestError
from lengthscale.bench.plan.status import TIMED
from lengthscale.bench.results import intervals
from lengthscale.bench.results.environment import device_slug, facts_of
from lengthscale.bench.results.estimate import Estimate
from lengthscale.bench.results.folder import RunFolder
from lengthscale.bench.results.record import Record
from lengthscale.models import present_name

ALPHA = 0.01
LEAST_EFFECT = 0.025  # of the ratio; below it a difference is no news
FEWEST = 4  # samples of each: with 4 and 4 no p-value is below 0.028


@dataclass(frozen=True)
class Pair:
    """One cell in both runs. The figures are None where a side has no samples."""

    cell: Cell
    statuses: tuple[str, str]
    medians_ms: tuple[float | None, float | None]
    ratio: float | None  # B / A: over 1, B is slower
    low: float | None
    high: float | None
    p: float | None  # Holm's
    memory_ratio: float | None
    verdict: str  # slower, faster, same, not decided; broken, fixed, or failed in both

    @property
    def is_regression(self) -> bool:
        return self.verdict in ("slower", "broken")


def compare(a: Path, b: Path, least_effect: float = LEAST_EFFECT) -> tuple[list[Pair], list[Cell], list[Cell]]:
    """(pairs, cells that A alone has, cells that B alone has). Raises JournalError where a journal cannot be read."""
    first, second = _records(a), _records(b)
    named = {_by_present_name(cell): cell for cell in second}  # A may call a model by its former name, or B
    first = {named.get(_by_present_name(cell), cell): record for cell, record in first.items()}
    both = [cell for cell in first if cell in second]
    tested = {cell: _test(_samples(first[cell]), _samples(second[cell])) for cell in both}
    held = _holm({cell: p for cell, p in tested.items() if p is not None})
    pairs = [_pair(cell, first[cell], second[cell], held.get(cell), least_effect) for cell in both]
    return pairs, [cell for cell in first if cell not in second], [cell for cell in second if cell not in first]


def check_devices(a: Path, b: Path) -> list[str]:
    """Mistakes: the runs are of different devices."""
    slugs = [device_slug(facts) for facts in (facts_of(a), facts_of(b))]
    if slugs[0] == slugs[1]:
        return []
    return [f"A is of {slugs[0]}, B of {slugs[1]}; --across-devices compares them all the same"]


def _records(folder: Path) -> dict[Cell, Record]:
    return {record.cell: record for record in RunFolder(folder).records()}


def _by_present_name(cell: Cell) -> Cell:
    return replace(cell, model=present_name(cell.model))


def _samples(record: Record) -> np.ndarray:
    return np.array(record.samples_ms if record.status in TIMED else (), float)


def _test(a: np.ndarray, b: np.ndarray) -> float | None:
    if min(len(a), len(b)) < FEWEST:
        return None
    return float(stats.mannwhitneyu(a, b, alternative="two-sided").pvalue)


def _holm(p_values: dict) -> dict:
    """Each p-value as if it were the only one: times the number of those that are no smaller."""
    adjusted, highest = {}, 0.0
    for rank, key in enumerate(sorted(p_values, key=lambda key: p_values[key])):
        highest = max(highest, min(1.0, p_values[key] * (len(p_values) - rank)))
        adjusted[key] = highest
    return adjusted


def _pair(cell: Cell, first: Record, second: Record, p: float | None, least_effect: float) -> Pair:
    a, b = _samples(first), _samples(second)
    ratio = intervals.ratio_of_independent(b, a) if len(a) and len(b) else None
    memory = [record.row.mem_peak_bytes for record in (first, second)]
    return Pair(
        cell=cell,
        statuses=(first.status, second.status),
        medians_ms=(_median(a), _median(b)),
        ratio=ratio and ratio.value,
        low=ratio and ratio.low,
        high=ratio and ratio.high,
        p=p,
        memory_ratio=memory[1] / memory[0] if memory[0] and memory[1] else None,
        verdict=_verdict((first.status, second.status), ratio, p, least_effect),
    )


def _median(samples: np.ndarray) -> float | None:
    return float(np.median(samples)) if len(samples) else None


def _verdict(statuses: tuple[str, str], ratio: Estimate | None, p: float | None, least_effect: float) -> str:
    before, after = statuses
    if before != after and "ok" in (before, after):
        return "broken" if before == "ok" else "fixed"
    if ratio is None:
        return f"{before} in both" if before == after else f"{before}, then {after}"
    if p is None or ratio.interval is None:
        return "not decided"
    if p < ALPHA and abs(ratio.value - 1) >= least_effect:
        return "slower" if ratio.value > 1 else "faster"
    low, high = ratio.interval
    # Same: whatever the ratio is, it is none that would have been called a difference, twice over.
    return "same" if 1 - 2 * least_effect <= low and high <= 1 + 2 * least_effect else "not decided"


def run_compare(a: Path, b: Path, console: Console, least_effect: float, across_devices: bool) -> bool:
    """Print the table: whether B has a regression. Raises RequestError."""
    if mistakes := [] if across_devices else check_devices(a, b):
        raise RequestError(mistakes)
    pairs, only_a, only_b = compare(a, b, least_effect)
    if not pairs:
        raise RequestError([f"{a} and {b} have no cell in common"])
    console.print(_table(pairs))
    for line in _notes(a, b, pairs, only_a, only_b):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    return any(pair.is_regression for pair in pairs)


def _table(pairs: list[Pair]) -> Table:
    table = Table(title="B beside A (ratio of medians, over 1: B is slower)", title_justify="left")
    for column in ("cell", "A ms", "B ms", "ratio", "95% interval", "p", "memory", "verdict"):
        table.add_column(column, justify="left" if column in ("cell", "verdict") else "right")
    for pair in pairs:
        interval = "" if pair.low is None else f"{pair.low:.3f} to {pair.high:.3f}"
        figures = (*pair.medians_ms, pair.ratio)
        shown = ["" if x is None else f"{x:.4g}" for x in figures]
        p, memory = ("" if x is None else f"{x:.2g}" for x in (pair.p, pair.memory_ratio))
        table.add_row(pair.cell.label(), *shown, interval, p, memory, pair.verdict)
    return table


def _notes(a: Path, b: Path, pairs: list[Pair], only_a: list[Cell], only_b: list[Cell]) -> list[str]:
    counts: dict[str, int] = {}
    for pair in pairs:
        counts[pair.verdict] = counts.get(pair.verdict, 0) + 1
    notes = [", ".join(f"{n} {verdict}" for verdict, n in sorted(counts.items()))]
    notes += [f"{len(only)} cells in {name} alone" for name, only in (("A", only_a), ("B", only_b)) if only]
    ratios = [pair.ratio for pair in pairs if pair.ratio is not None]
    if len(ratios) >= 3:
        notes.append(
            f"all cells together: median ratio {np.median(ratios):.3f}. Where most cells moved alike, the machine may "
            "have: runs at different times are no interleaved comparison"
        )
    for name, folder in (("A", a), ("B", b)):
        facts = facts_of(folder)
        dirty = " with uncommitted changes" if facts.get("git_dirty") else ""
        notes.append(f"{name}: {folder}, commit {facts.get('git_sha')}{dirty}, load {facts.get('load_average')}")
    return notes
