"""Cost against length: time, throughput, memory, state, compiling, share of the limit."""

# pandas' types cannot tell a column from a frame:
# pyright: reportArgumentType=false, reportCallIssue=false, reportGeneralTypeIssues=false, reportReturnType=false
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

from dataclasses import asdict

import numpy as np

from lengthscale.bench.figures.html.figure import Curve, Failed, Figure, dash, numbers
from lengthscale.bench.figures.mpl import guides
from lengthscale.bench.figures.mpl.costs import (
    COSTS,
    Cost,
    axis_labels,
    continuation,
    is_crowded,
    limits,
    meanings,
    title_of,
)
from lengthscale.bench.figures.mpl.data import Run, Series, caption, series_of

MEASURES = ("train", "forward", "decode", "quality")


def figures(run: Run, place: dict[str, int]) -> list[Figure]:
    """Of every cost and measure that the folder has figures of. place: where a measure's rows begin in the table."""
    made = []
    for y, cost in COSTS.items():
        for measure in MEASURES:
            frame = run.frames.get(measure)
            if frame is None or cost.column not in frame or not frame[cost.column].notna().any():
                continue
            if measure != "quality" or frame["length"].nunique() > 1:  # a point each is no curve; it is in the table
                made.append(_figure(run, measure, y, cost, place[measure]))
    return made


def _figure(run: Run, measure: str, y: str, cost: Cost, place: int) -> Figure:
    frame = run.cells(measure)
    series = series_of(measure, frame)
    curves = [curve for each in series if (curve := _curve(run, each, cost, place))]
    x_label, y_label = axis_labels(measure, frame, cost)
    lengths = {int(length) for length in frame["length"]} | {int(c.beyond[0][-1]) for c in curves if c.beyond}
    crossing = guides.crossing(run.crossovers, measure, frame) if y == "time" else None
    return Figure(
        name=f"{measure}-{y}",
        group=y,
        title=title_of(measure, cost),
        x_label=x_label,
        y_label=y_label,
        curves=curves,
        lengths=sorted(lengths),
        failed=[failed for each in series if (failed := failures(each, place))],
        said=[str(each.failures("")) for each in series if (each.rows["status"] != "ok").any()],
        guides=_guides(curves, cost, measure == "decode"),
        crossing=asdict(crossing) if crossing else None,
        crowded=is_crowded(series, cost),
        about=" · ".join(caption(run, [measure], [])),
        notes=meanings(series, cost, any(curve.beyond for curve in curves)),
    )


def _curve(run: Run, each: Series, cost: Cost, place: int) -> Curve | None:
    good = each.good(cost.column)
    if good.empty:
        return None
    y = good[cost.column] * cost.factor
    curve = Curve(
        model=each.model,
        name=each.name,
        x=[int(length) for length in good["length"]],
        y=numbers(y),
        rows=[place + int(index) for index in good.index],
        dash=dash(each.line),
    )
    if cost.follows_time:
        ends = limits(good, y, cost, "low", "high", "p10", "p90")
        for name, values in zip(("low", "high", "p10", "p90"), ends, strict=True):
            setattr(curve, name, numbers(values))
    if cost.column == "mem_peak_bytes":
        curve.planned = numbers(good["mem_planned_bytes"] * cost.factor)
    if farther := continuation(run, each, cost, good):
        curve.beyond = (numbers(farther[0]), numbers(farther[1]))
    return curve


def failures(each: Series, place: int) -> Failed | None:
    bad = each.rows[each.rows["status"] != "ok"]
    if bad.empty:
        return None
    return Failed(each.model, each.name, [int(n) for n in bad["length"]], [place + int(index) for index in bad.index])


def _guides(curves: list[Curve], cost: Cost, decode: bool) -> list[tuple[str, list, list]]:
    """Lines of slope 1 (L) and 2 (L^2) from beside the shortest points, as far as the curves reach."""
    if len({length for curve in curves for length in curve.x}) < 2:
        return []
    ends = min(curve.x[0] for curve in curves), max(curve.x[-1] for curve in curves)
    first = [curve.y[0] for curve in curves if curve.x[0] == ends[0]]
    figures = [figure for curve in curves for figure in curve.y if figure]
    lines = []
    for slope in guides.slopes_of(cost, decode):
        x = np.geomspace(ends[0], ends[1] ** 0.93 * ends[0] ** 0.07, 60)  # and room for the name
        y = guides.guide(slope, x, first)
        inside = (y <= max(figures)) & (y >= min(figures) / 1.25)
        if inside.sum() >= 6:
            lines.append((guides.SLOPES[slope], numbers(x[inside]), numbers(y[inside])))
    return lines
