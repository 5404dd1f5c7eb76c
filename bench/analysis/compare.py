"""The comparison of two runs, or of several runs before and after, cell by cell: is B slower or faster than A?

Cells are matched by their identity; differences.py has the statistics of a pair. A pair differs if its p-value,
adjusted for the number of pairs (Holm 1979), is below ALPHA and its ratio differs from 1 by the least effect or more.
Each pair says which change would have been seen; where a smaller one could matter, the verdict is "not decided" and not
"same".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from lengthscale.bench.analysis import text
from lengthscale.bench.analysis.differences import ALPHA, LEVEL, Difference, differences
from lengthscale.bench.plan.cell import Cell
from lengthscale.bench.plan.errors import RequestError
from lengthscale.bench.plan.status import TIMED
from lengthscale.bench.results.environment import device_slug, facts_of
from lengthscale.bench.results.estimate import Estimate
from lengthscale.bench.results.folder import RunFolder
from lengthscale.bench.results.result import Result
from lengthscale.models import present_name

LEAST_EFFECT = 0.025  # of the ratio; a smaller difference does not matter

Side = dict[Cell, list[Result]]  # a cell's results, one for each run that has it


@dataclass(frozen=True)
class Pair:
    """One cell before and after. The numbers are None where a side has no times."""

    cell: Cell
    statuses: tuple[str, str]
    medians_ms: tuple[float | None, float | None]
    ratio: Estimate | None  # B / A: over 1, B is slower
    p: float | None  # adjusted as by Holm; None: too few replicates
    visible: float | None  # the smallest slowdown that would have been seen, as a ratio
    memory_ratio: float | None
    verdict: str  # slower, faster, same, not decided; broken, fixed, or failed in both

    @property
    def is_regression(self) -> bool:
        """Whether B is worse than A."""
        return self.verdict in ("slower", "broken")


def compare(
    a: Sequence[Path], b: Sequence[Path], least_effect: float = LEAST_EFFECT
) -> tuple[list[Pair], list[Cell], list[Cell]]:
    """(pairs, cells that only A has, cells that only B has). Raises JournalError where a journal cannot be read.

    a, b: the runs of each side. least_effect: the smallest difference of the ratio from 1 that counts.
    """
    first, second = _side(a), _side(b)
    named = {_by_present_name(cell): cell for cell in second}  # either side may call a model by a former name
    first = {named.get(_by_present_name(cell), cell): results for cell, results in first.items()}
    both = [cell for cell in first if cell in second and len(_work([*first[cell], *second[cell]])) <= 1]
    sides = [(_times(first[cell]), _times(second[cell])) for cell in both]
    found = dict(zip(both, differences(sides), strict=True))
    adjusted = _holm({cell: each.p for cell, each in found.items() if each is not None})
    pairs = [_pair(cell, (first[cell], second[cell]), found[cell], adjusted, least_effect) for cell in both]
    return pairs, [cell for cell in first if cell not in both], [cell for cell in second if cell not in both]


def _side(folders: Sequence[Path]) -> Side:
    side: Side = {}
    for folder in folders:
        for result in RunFolder(folder).results():
            side.setdefault(result.cell, []).append(result)
    return side


def _work(results: list[Result]) -> set:
    """What a cell's times are of besides its identity: how many tokens were generated."""
    return {result.row.new_tokens for result in results} - {None}


def _by_present_name(cell: Cell) -> Cell:
    return replace(cell, model=present_name(cell.model))


def _times(results: list[Result]) -> list[tuple[float, ...]]:
    return [result.medians_ms for result in results if result.status in TIMED]


def _holm(p_values: dict[Cell, float]) -> dict[Cell, float]:
    """Adjusted p-values: each is multiplied by the number of p-values that are not smaller (Holm 1979)."""
    adjusted, highest = {}, 0.0
    for rank, key in enumerate(sorted(p_values, key=lambda key: p_values[key])):
        highest = max(highest, min(1.0, p_values[key] * (len(p_values) - rank)))
        adjusted[key] = highest
    return adjusted


def _pair(
    cell: Cell,
    sides: tuple[list[Result], list[Result]],
    found: Difference | None,
    adjusted: dict[Cell, float],
    least_effect: float,
) -> Pair:
    """adjusted: the p-values of all pairs."""
    statuses = tuple(
        next((str(r.status) for r in side if r.status not in TIMED), str(side[0].status)) for side in sides
    )
    medians = tuple(_mean_median(side) for side in sides)
    memory = [side[0].row.mem_peak_bytes for side in sides]
    ratio = found.ratio() if found else None
    if ratio is None and medians[0] and medians[1]:
        ratio = Estimate(medians[1] / medians[0])
    p = adjusted.get(cell)
    return Pair(
        cell=cell,
        statuses=(statuses[0], statuses[1]),
        medians_ms=(medians[0], medians[1]),
        ratio=ratio,
        p=p,
        visible=math.exp(found.quantile(ALPHA / len(adjusted)) * found.error) if found else None,
        memory_ratio=memory[1] / memory[0] if memory[0] and memory[1] else None,
        verdict=_verdict((statuses[0], statuses[1]), ratio, p, least_effect),
    )


def _mean_median(side: list[Result]) -> float | None:
    """The geometric mean of the runs' medians."""
    medians = [float(np.median(times)) for times in _times(side) if times]
    return float(np.exp(np.mean(np.log(medians)))) if medians else None


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


def run_compare(
    a: Sequence[Path], b: Sequence[Path], console: Console, least_effect: float, across_devices: bool
) -> bool:
    """Print the comparison. Returns whether B has a regression.

    Raises RequestError where the runs are of different devices (unless across_devices), or have no cell in common.
    """
    if mistakes := [] if across_devices else _check_devices([*a, *b]):
        raise RequestError(mistakes)
    pairs, only_a, only_b = compare(a, b, least_effect)
    if not pairs:
        raise RequestError([f"{_names(a)} and {_names(b)} have no cell in common"])
    console.print(_table(pairs))
    for line in (*_notes(pairs, only_a, only_b), *_origins(a, b)):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    return any(pair.is_regression for pair in pairs)


def _check_devices(folders: list[Path]) -> list[str]:
    """Mistakes: the runs are of different devices."""
    slugs = [device_slug(facts_of(folder)) for folder in folders]
    other = next((number for number, slug in enumerate(slugs) if slug != slugs[0]), None)
    if other is None:
        return []
    devices = f"{folders[0]} is of {slugs[0]}, {folders[other]} of {slugs[other]}"
    return [f"{devices}; --across-devices compares them nevertheless"]


def _names(folders: Sequence[Path]) -> str:
    return ",".join(map(str, folders))


def _table(pairs: list[Pair]) -> Table:
    table = Table(title="B compared with A (ratio of times, over 1: B is slower)", title_justify="left")
    for column in ("cell", "A ms", "B ms", "ratio", "95% interval", "visible", "p", "memory", "verdict"):
        table.add_column(column, justify="left" if column in ("cell", "verdict") else "right")
    for pair in pairs:
        ratio = pair.ratio
        interval = f"{ratio.low:.3f} to {ratio.high:.3f}" if ratio and ratio.interval else ""
        times = ["" if x is None else text.number(x) for x in pair.medians_ms]
        shown = f"{ratio.value:.3f}" if ratio else ""
        visible = f"{pair.visible:.2f}" if pair.visible else ""
        p, memory = ("" if x is None else f"{x:.2g}" for x in (pair.p, pair.memory_ratio))
        table.add_row(pair.cell.label(), *times, shown, interval, visible, p, memory, pair.verdict)
    return table


def _notes(pairs: list[Pair], only_a: list[Cell], only_b: list[Cell]) -> list[str]:
    counts: dict[str, int] = {}
    for pair in pairs:
        counts[pair.verdict] = counts.get(pair.verdict, 0) + 1
    notes = [", ".join(f"{n} {verdict}" for verdict, n in sorted(counts.items()))]
    notes += [f"{len(only)} cells only in {name}" for name, only in (("A", only_a), ("B", only_b)) if only]
    if visible := [pair.visible for pair in pairs if pair.visible]:
        notes.append(
            f"visible: the smallest ratio that would have been called slower; its median is {np.median(visible):.2f}. "
            f"A run's level varies by {LEVEL:.0%} from run to run; several runs on a side (A1,A2 B1,B2) make it smaller"
        )
    ratios = [pair.ratio.value for pair in pairs if pair.ratio is not None]
    if len(ratios) >= 3:
        notes.append(
            f"all cells together: median ratio {np.median(ratios):.3f}. Where most cells changed alike, the machine "
            "may have changed"
        )
    return notes


def _origins(a: Sequence[Path], b: Sequence[Path]) -> list[str]:
    lines = []
    for name, folders in (("A", a), ("B", b)):
        for folder in folders:
            facts = facts_of(folder)
            dirty = " with uncommitted changes" if facts.get("git_dirty") else ""
            lines.append(f"{name}: {folder}, commit {facts.get('git_sha')}{dirty}, load {facts.get('load_average')}")
    return lines
