"""The comparison of two runs, cell by cell: is B slower or faster than A, and how certain is that?

Cells are matched by their identity. From the raw samples of a pair come the ratio of medians, B / A, with its bootstrap
95% interval, and the two-sided p-value of Mann and Whitney (1947), which tests whether one side tends to be larger and
assumes no distribution. A pair differs if its p-value, adjusted for the number of pairs (Holm 1979), is below ALPHA and
its ratio differs from 1 by the least effect or more. Where the samples are too few or too scattered to show that, the
verdict is "not decided" and not "same".
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
LEAST_EFFECT = 0.025  # of the ratio; a smaller difference does not matter
FEWEST = 4  # samples of each side: with 4 and 4 no p-value is below 0.028


@dataclass(frozen=True)
class Pair:
    """One cell in both runs. The numbers are None where a side has no samples."""

    cell: Cell
    statuses: tuple[str, str]
    medians_ms: tuple[float | None, float | None]
    ratio: float | None  # B / A: over 1, B is slower
    low: float | None
    high: float | None
    p: float | None  # adjusted as by Holm
    memory_ratio: float | None
    verdict: str  # slower, faster, same, not decided; broken, fixed, or failed in both

    @property
    def is_regression(self) -> bool:
        """Whether B is worse than A."""
        return self.verdict in ("slower", "broken")


def compare(a: Path, b: Path, least_effect: float = LEAST_EFFECT) -> tuple[list[Pair], list[Cell], list[Cell]]:
    """(pairs, cells that only A has, cells that only B has). Raises JournalError where a journal cannot be read.

    least_effect: the smallest difference of the ratio from 1 that counts.
    """
    first, second = _records(a), _records(b)
    named = {_by_present_name(cell): cell for cell in second}  # either run may call a model by a former name
    first = {named.get(_by_present_name(cell), cell): record for cell, record in first.items()}
    both = [cell for cell in first if cell in second]
    tested = {cell: _test(_samples(first[cell]), _samples(second[cell])) for cell in both}
    adjusted = _holm({cell: p for cell, p in tested.items() if p is not None})
    pairs = [_pair(cell, first[cell], second[cell], adjusted.get(cell), least_effect) for cell in both]
    return pairs, [cell for cell in first if cell not in second], [cell for cell in second if cell not in first]


def _check_devices(a: Path, b: Path) -> list[str]:
    """Mistakes: the runs are of different devices."""
    slugs = [device_slug(facts) for facts in (facts_of(a), facts_of(b))]
    if slugs[0] == slugs[1]:
        return []
    return [f"A is of {slugs[0]}, B of {slugs[1]}; --across-devices compares them nevertheless"]


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
    """Adjusted p-values: each is multiplied by the number of p-values that are not smaller (Holm 1979)."""
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
    # Same: the whole interval is nearer to 1 than twice the least effect.
    return "same" if 1 - 2 * least_effect <= low and high <= 1 + 2 * least_effect else "not decided"


def run_compare(a: Path, b: Path, console: Console, least_effect: float, across_devices: bool) -> bool:
    """Print the comparison. Returns whether B has a regression.

    Raises RequestError where the runs are of different devices (unless across_devices), or have no cell in common.
    """
    if mistakes := [] if across_devices else _check_devices(a, b):
        raise RequestError(mistakes)
    pairs, only_a, only_b = compare(a, b, least_effect)
    if not pairs:
        raise RequestError([f"{a} and {b} have no cell in common"])
    console.print(_table(pairs))
    for line in _notes(a, b, pairs, only_a, only_b):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    return any(pair.is_regression for pair in pairs)


def _table(pairs: list[Pair]) -> Table:
    table = Table(title="B compared with A (ratio of medians, over 1: B is slower)", title_justify="left")
    for column in ("cell", "A ms", "B ms", "ratio", "95% interval", "p", "memory", "verdict"):
        table.add_column(column, justify="left" if column in ("cell", "verdict") else "right")
    for pair in pairs:
        interval = "" if pair.low is None else f"{pair.low:.3f} to {pair.high:.3f}"
        numbers = (*pair.medians_ms, pair.ratio)
        shown = ["" if x is None else f"{x:.4g}" for x in numbers]
        p, memory = ("" if x is None else f"{x:.2g}" for x in (pair.p, pair.memory_ratio))
        table.add_row(pair.cell.label(), *shown, interval, p, memory, pair.verdict)
    return table


def _notes(a: Path, b: Path, pairs: list[Pair], only_a: list[Cell], only_b: list[Cell]) -> list[str]:
    counts: dict[str, int] = {}
    for pair in pairs:
        counts[pair.verdict] = counts.get(pair.verdict, 0) + 1
    notes = [", ".join(f"{n} {verdict}" for verdict, n in sorted(counts.items()))]
    notes += [f"{len(only)} cells only in {name}" for name, only in (("A", only_a), ("B", only_b)) if only]
    ratios = [pair.ratio for pair in pairs if pair.ratio is not None]
    if len(ratios) >= 3:
        notes.append(
            f"all cells together: median ratio {np.median(ratios):.3f}. Where most cells changed alike, the machine "
            "may have changed: runs at different times are not sampled round-robin"
        )
    for name, folder in (("A", a), ("B", b)):
        facts = facts_of(folder)
        dirty = " with uncommitted changes" if facts.get("git_dirty") else ""
        notes.append(f"{name}: {folder}, commit {facts.get('git_sha')}{dirty}, load {facts.get('load_average')}")
    return notes
