"""The comparison of two runs for the page: the ratio of each cell that both have (bench/analysis/compare.py)."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from lengthscale.bench.analysis.answer import device_name
from lengthscale.bench.analysis.compare import Pair, compare
from lengthscale.bench.figures.html.rows import Table
from lengthscale.bench.figures.run import Run
from lengthscale.bench.plan.cell import Cell
from lengthscale.bench.results import resume

COLUMNS = (
    *("measure", "model", "size", "method", "length", "batch", "dtype", "data", "seed", "status", "status_b"),
    *("a_ms", "b_ms", "ratio", "ratio_low", "ratio_high", "visible", "p", "memory_ratio", "verdict"),
)


@dataclass(frozen=True)
class Comparison:
    """The comparison of two runs, cell by cell, and the differences between their machines and settings."""

    pairs: list[Pair]
    only_a: list[Cell]
    only_b: list[Cell]
    devices: str  # a sentence that names both devices if they differ, else ""
    differing: list[str]  # the other differences, in words

    @property
    def sentences(self) -> list[str]:
        """The comparison in sentences."""
        counts = Counter(pair.verdict for pair in self.pairs)
        sentences = [self.devices] if self.devices else []
        verdicts = ", ".join(f"{count} {verdict}" for verdict, count in counts.most_common())
        sentences += [
            f"Of {len(self.pairs)} cells in both: {verdicts} (B compared with A)."
            if self.pairs
            else "No cell is in both."
        ]
        sentences += [
            f"{len(only)} cells are only in {name}." for name, only in (("A", self.only_a), ("B", self.only_b)) if only
        ]
        if self.pairs:
            sentences.append(
                "The runs were made at different times: where most cells changed alike, the machine may have changed."
            )
        return sentences


def read(a: Run, b: Run) -> Comparison:
    """The comparison of two runs. Raises JournalError if a journal cannot be read."""
    pairs, only_a, only_b = compare([a.folder], [b.folder])
    facts = [a.environment, b.environment]
    names = [device_name(each) for each in facts]
    devices = (
        f"A was measured on {names[0]}, B on {names[1]}: the ratios compare devices." if names[0] != names[1] else ""
    )
    keys = [key for key in resume.SAME if key not in ("cpu_model", "n_cpus", "device_kind")]
    differing = resume.differences(*({key: each.get(key) for key in (*keys, "git_sha")} for each in facts))
    return Comparison(pairs, only_a, only_b, devices, differing)


def table(pairs: list[Pair]) -> Table:
    """The pairs as a table of the page, with a row for each cell that both runs have."""
    rows = []
    for pair in pairs:
        cell = pair.cell
        identity = (cell.measure, cell.model, cell.size, cell.method, cell.length, cell.batch, cell.dtype, cell.data)
        ratio = (pair.ratio.value, pair.ratio.low, pair.ratio.high) if pair.ratio else (None,) * 3
        numbers = (*pair.medians_ms, *ratio, pair.visible, pair.p, pair.memory_ratio)
        shown = ["" if number is None else f"{number:.4g}" for number in numbers]
        rows.append([*map(str, identity), str(cell.seed), *pair.statuses, *shown, pair.verdict])
    main = [name for name in COLUMNS if name not in ("method", "dtype", "seed", "data", "batch", "size")]
    return Table("ratios", "B over A", list(COLUMNS), rows, main)
