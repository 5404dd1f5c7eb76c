"""Builds the figures that compare two runs: the ratios of the cells that both have, and the curves of both."""

from __future__ import annotations

import math
from dataclasses import replace

from lengthscale.bench.analysis.compare import Pair
from lengthscale.bench.figures.costs import BANDS, BARS, EXTRAPOLATED, LENGTH, PLANNED, STEPS, X_LABELS
from lengthscale.bench.figures.spec import (
    CROWD,
    Axis,
    Bars,
    DrawnCrossing,
    DrawnCurve,
    Ends,
    Extrapolated,
    Figure,
    Place,
    Reference,
)
from lengthscale.bench.plan.cell import Cell
from lengthscale.bench.plan.measures import MEASURES
from lengthscale.bench.plan.series import SeriesKey, size_name

NO_ROW = -1


def ratios(pairs: list[Pair], place_of: dict[Cell, int]) -> list[Figure]:
    """A figure of the ratio B / A against length, for each measure that has ratios at two or more lengths.

    place_of: for each cell, the number of B's row in the page's table.
    """
    made = []
    for measure in MEASURES:
        mine = [pair for pair in pairs if pair.cell.measure == measure and pair.ratio is not None]
        if len({pair.cell.length for pair in mine}) < 2:
            continue
        groups: dict[SeriesKey, list[Pair]] = {}
        for pair in mine:
            groups.setdefault(pair.cell.series(), []).append(pair)
        several = len({(key.size, key.batch, key.dtype, key.seed) for key in groups}) > 1
        lengths = sorted({pair.cell.length for pair in mine})
        made.append(
            Figure(
                title=f"{STEPS.get(measure, measure)}: time of B over A",
                x=Axis(X_LABELS.get(measure, LENGTH), "log", lengths=tuple(lengths)),
                y=Axis("B / A (over 1: B is slower)", "log", from_zero=False),
                curves=tuple(_curve(key, group, several, place_of) for key, group in groups.items()),
                marks=(Reference("equal", (float(lengths[0]), float(lengths[-1])), (1.0, 1.0)),),
                notes=("band: 95% interval of the ratio of medians",),
                place=Place(y="ratio", name=f"ratio-{measure}", group="ratio"),
            )
        )
    return made


def _curve(key: SeriesKey, group: list[Pair], several: bool, place_of: dict[Cell, int]) -> DrawnCurve:
    group = sorted(group, key=lambda pair: pair.cell.length)
    name = key.name
    if several:
        name = f"{name}, {size_name(key.size)}, batch {key.batch}, {key.dtype}, seed {key.seed}"
    ratio, low, high = (
        tuple(math.nan if value is None else value for value in values)
        for values in zip(
            *((pair.ratio.value, pair.ratio.low, pair.ratio.high) for pair in group if pair.ratio), strict=True
        )
    )
    return DrawnCurve(
        model=key.model,
        name=name,
        x=tuple(pair.cell.length for pair in group),
        y=ratio,
        rows=tuple(place_of.get(pair.cell, NO_ROW) for pair in group),
        interval=Ends(low, high),
    )


def merged(first: list[Figure], second: list[Figure]) -> list[Figure]:
    """The figures of both runs: figures of the same name are joined, and the others stay as they are.

    A line's style shows the run. Therefore planned memory and extrapolations, which are lines as well, are left out.
    """
    lettered = [[_of_run(figure, run) for figure in figures] for run, figures in enumerate((first, second))]
    by_name = {figure.place.name: figure for figure in lettered[0]}
    for figure in lettered[1]:
        held = by_name.get(figure.place.name)
        by_name[figure.place.name] = _joined(held, figure) if held else figure
    return [_with_notes(figure) for figure in by_name.values()]


def _of_run(figure: Figure, run: int) -> Figure:
    letter = "AB"[run]
    curves = (
        replace(curve, name=f"{curve.name} {letter}", run=run, dash=0, planned=(), beyond=None)
        for curve in figure.curves
    )
    failures = (replace(each, run=run) for each in figure.failures)
    marks = (mark for mark in figure.marks if not isinstance(mark, DrawnCrossing | Extrapolated))
    bars = figure.bars and replace(
        figure.bars, bars=tuple(replace(bar, group=f"{bar.group} {letter}", run=run) for bar in figure.bars.bars)
    )
    drawn = replace(figure, curves=tuple(curves), bars=bars, failures=tuple(failures), marks=tuple(marks))
    return replace(drawn, of_two_runs=True)


def _joined(a: Figure, b: Figure) -> Figure:
    return replace(
        a,
        curves=a.curves + b.curves,
        bars=a.bars and b.bars and Bars(a.bars.parts, a.bars.bars + b.bars.bars),
        failures=a.failures + b.failures,
        x=replace(a.x, lengths=tuple(sorted({*a.x.lengths, *b.x.lengths}))),
        about=(f"A: {' · '.join(a.about)}; B: {' · '.join(b.about)}",),
    )


def _with_notes(figure: Figure) -> Figure:
    crowded = len(figure.curves) > CROWD
    intervals = [BARS if crowded else BANDS] if {BARS, BANDS} & {*figure.notes} else []
    kept = [note for note in figure.notes if note not in (BARS, BANDS, PLANNED, EXTRAPOLATED)]
    notes = (*intervals, *kept, *(["A: solid and full, B: dashed and hollow"] if figure.curves else []))
    return replace(figure, crowded=crowded, notes=notes)
