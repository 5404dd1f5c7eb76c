"""Two runs beside each other: the ratio of every cell that both have (bench/analysis/compare.py)."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from lengthscale.bench.analysis.answer import device_name
from lengthscale.bench.analysis.compare import Pair, compare
from lengthscale.bench.figures.html.figure import Curve, Figure
from lengthscale.bench.figures.html.rows import NO_ROW, Table
from lengthscale.bench.figures.mpl.costs import STEPS
from lengthscale.bench.plan.cell import Cell
from lengthscale.bench.plan.measures import MEASURES
from lengthscale.bench.plan.series import SeriesKey, size_name
from lengthscale.bench.results import resume

COLUMNS = (
    *("measure", "model", "size", "method", "length", "batch", "dtype", "data", "seed", "status", "status_b"),
    *("a_ms", "b_ms", "ratio", "ratio_low", "ratio_high", "p", "memory_ratio", "verdict"),
)


@dataclass(frozen=True)
class Beside:
    pairs: list[Pair]
    only_a: list[Cell]
    only_b: list[Cell]
    devices: str  # said where they differ, else ""
    differing: list[str]  # what else is not the same, in words

    @property
    def said(self) -> list[str]:
        """The comparison in sentences."""
        counts = Counter(pair.verdict for pair in self.pairs)
        said = [self.devices] if self.devices else []
        verdicts = ", ".join(f"{count} {verdict}" for verdict, count in counts.most_common())
        said += [
            f"Of {len(self.pairs)} cells in both: {verdicts} (B beside A)." if self.pairs else "No cell is in both."
        ]
        said += [
            f"{len(only)} cells are in {name} alone." for name, only in (("A", self.only_a), ("B", self.only_b)) if only
        ]
        if self.pairs:
            said.append("The runs were made at different times: where most cells moved alike, the machine may have.")
        return said


def read(a: Path, b: Path, facts: list[dict]) -> Beside:
    """facts: both environments. Raises JournalError where a journal cannot be read."""
    pairs, only_a, only_b = compare(a, b)
    names = [device_name(each) for each in facts]
    devices = f"A is of {names[0]}, B of {names[1]}: a ratio is one of devices." if names[0] != names[1] else ""
    keys = [key for key in resume.SAME if key not in ("cpu_model", "n_cpus", "device_kind")]
    differing = resume.differences(*({key: each.get(key) for key in (*keys, "git_sha")} for each in facts))
    return Beside(pairs, only_a, only_b, devices, differing)


def table(pairs: list[Pair]) -> Table:
    rows = []
    for pair in pairs:
        cell = pair.cell
        identity = (cell.measure, cell.model, cell.size, cell.method, cell.length, cell.batch, cell.dtype, cell.data)
        figures = (*pair.medians_ms, pair.ratio, pair.low, pair.high, pair.p, pair.memory_ratio)
        shown = ["" if figure is None else f"{figure:.4g}" for figure in figures]
        rows.append([*map(str, identity), str(cell.seed), *pair.statuses, *shown, pair.verdict])
    main = [name for name in COLUMNS if name not in ("method", "dtype", "seed", "data", "batch", "size")]
    return Table("ratios", "B over A", list(COLUMNS), rows, main)


def figures(pairs: list[Pair], place_of: dict[Cell, int]) -> list[Figure]:
    """The ratio against length, for each measure that any two lengths of a model are matched in. place_of: B's rows."""
    made = []
    for measure in MEASURES:
        mine = [pair for pair in pairs if pair.cell.measure == measure and pair.ratio is not None]
        if len({pair.cell.length for pair in mine}) < 2:
            continue
        groups: dict[SeriesKey, list[Pair]] = {}
        for pair in mine:
            groups.setdefault(pair.cell.series(), []).append(pair)
        several = len({(key.size, key.batch, key.dtype, key.seed) for key in groups}) > 1
        curves = [_curve(key, group, several, place_of) for key, group in groups.items()]
        lengths = sorted({pair.cell.length for pair in mine})
        made.append(
            Figure(
                name=f"ratio-{measure}",
                group="ratio",
                title=f"{STEPS.get(measure, measure)}: time of B over A",
                x_label="context (tokens)" if measure == "decode" else "sequence length (tokens)",
                y_label="B / A (over 1: B is slower)",
                curves=curves,
                lengths=lengths,
                from_zero=False,
                guides=[("equal", [float(lengths[0]), float(lengths[-1])], [1.0, 1.0])],
                notes=["band: 95% interval of the ratio of medians"],
            )
        )
    return made


def _curve(key: SeriesKey, group: list[Pair], several: bool, place_of: dict[Cell, int]) -> Curve:
    group = sorted(group, key=lambda pair: pair.cell.length)
    name = key.name
    if several:
        name = f"{name}, {size_name(key.size)}, batch {key.batch}, {key.dtype}, seed {key.seed}"
    return Curve(
        model=key.model,
        name=name,
        x=[pair.cell.length for pair in group],
        y=[pair.ratio for pair in group],
        rows=[place_of.get(pair.cell, NO_ROW) for pair in group],
        low=[pair.low for pair in group],
        high=[pair.high for pair in group],
    )
