"""Loss against what it cost to train: seconds and floating-point operations, with the Pareto front."""

# pandas' types cannot tell a column from a frame:
# pyright: reportArgumentType=false, reportCallIssue=false, reportGeneralTypeIssues=false, reportReturnType=false
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

from functools import partial

import pandas as pd

from lengthscale.bench.figures.mpl.data import Run, series_of
from lengthscale.bench.figures.mpl.figure import Drawn, Panel
from lengthscale.bench.figures.mpl.labels import End
from lengthscale.bench.figures.mpl.learned import loss_label
from lengthscale.bench.figures.mpl.style import Theme, marks, short, ticks_at_round_numbers

TITLES = {"seconds": "Loss against training time", "operations": "Loss against training FLOPs"}
LABELS = {"seconds": "training, without compiling (s)", "operations": "training (FLOPs)"}


def panels(run: Run) -> list[Panel]:
    """For each kind of data the loss at the longest context (else: at the training length) over each cost."""
    if "quality" not in run.frames:
        return []
    points = trained(run.frames["quality"])
    made = []
    for data, mine in points.groupby("data", sort=False):
        at = mine["context"].max()
        where = f"longest context, {short(at)}" if pd.notna(at) else "training length"
        where = f"{data}: loss at the {where}"
        notes = (where, "bar: 95% interval over sequences", "line: the Pareto front")
        for cost, title in TITLES.items():
            if mine[cost].notna().any():
                draw = partial(_draw, rows=run.frames["quality"], points=mine, cost=cost)
                made.append(Panel("quality", title, draw, notes, beside=True))
    return made


def trained(frame: pd.DataFrame) -> pd.DataFrame:
    """A row for each trained model: its loss where it read most, and what its steps cost."""
    good = frame[(frame["status"] == "ok") & frame["loss"].notna()]
    good = good.assign(seconds=good["time_median_ms"] / 1e3 * good["steps"], operations=good["flops"] * good["steps"])
    parts = []
    for _, mine in good.groupby("data", sort=False):
        streams = mine["context"].notna()
        most = mine["context"] == mine["context"].max()
        parts.append(mine[most if streams.any() else mine["eval_length"] == mine["length"]])
    return pd.concat(parts) if parts else good


def front(points: pd.DataFrame, cost: str) -> pd.DataFrame:
    """Those that no other one beats in both, cheap ones first."""
    points = points.sort_values([cost, "loss"])
    return points[points["loss"] < points["loss"].cummin().shift(fill_value=float("inf"))]


def _draw(axes, theme: Theme, *, rows: pd.DataFrame, points: pd.DataFrame, cost: str) -> Drawn:
    data = points["data"].iloc[0]
    several = points["length"].nunique() > 1
    ends = []
    for each in series_of("quality", points, each_length=True):
        row = each.rows.iloc[0]
        look, colour = marks(theme, each.model, 6), theme.colour(each.model)
        bar = (float(row["loss_low"]), float(row["loss_high"]))
        axes.plot([row[cost]] * 2, bar, color=colour, lw=1, zorder=2.5)
        axes.plot(row[cost], row["loss"], zorder=3, **look)
        name = f"{each.name}, {short(row['length'])}" if several else each.name
        ends.append(End(float(row[cost]), float(row["loss"]), name, colour, look["marker"], "", bar))
    axes.set_xscale("log")
    axes.margins(0.18, 0.12)
    _draw_front(axes, theme, front(points[points[cost].notna()], cost), cost)
    ticks_at_round_numbers(axes.xaxis)
    axes.set(xlabel=LABELS[cost], ylabel=f"{data}: {loss_label(points)}")
    failed = series_of("quality", rows[rows["data"] == data])
    return Drawn(ends, [s.failures(theme.colour(s.model), on_axis=False) for s in failed])


def _draw_front(axes, theme: Theme, best: pd.DataFrame, cost: str) -> None:
    """From the top of the axes down to the cheapest, by steps to the best, and on to the right."""
    (_, right), (_, top) = axes.get_xlim(), axes.get_ylim()
    x = [best[cost].iloc[0], *best[cost], right]
    y = [top, *best["loss"], best["loss"].iloc[-1]]
    axes.step(x, y, where="post", color=theme.muted, lw=1, ls=(0, (4, 2)), zorder=1)
    axes.set(xlim=(None, right), ylim=(None, top))
