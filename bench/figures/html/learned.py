"""What length buys: loss and accuracy against context and beyond the training length, cost, gradients."""

# pandas' types cannot tell a column from a frame:
# pyright: reportArgumentType=false, reportCallIssue=false, reportGeneralTypeIssues=false, reportReturnType=false
# pyright: reportAttributeAccessIssue=false, reportOptionalMemberAccess=false, reportAssignmentType=false

from __future__ import annotations

import pandas as pd

from lengthscale.bench.figures.html.figure import Curve, Figure, dash, numbers
from lengthscale.bench.figures.mpl import pareto
from lengthscale.bench.figures.mpl.data import Run, Series, caption, series_of
from lengthscale.bench.figures.mpl.learned import FAINT, loss_label
from lengthscale.bench.figures.mpl.style import short

_AGAINST = {  # column -> (the plot's title, the axis)
    "context": ("on the same targets", "context before the targets (tokens)"),
    "eval_length": ("beyond the training length", "held-out sequence length (tokens)"),
}


def figures(run: Run, place: dict[str, int]) -> list[Figure]:
    """Of every kind of data that was learned. place: where a measure's rows begin in the table."""
    made = []
    if "quality" in run.frames:
        for number, data in enumerate(run.frames["quality"]["data"].unique()):
            rows = run.frames["quality"][run.frames["quality"]["data"] == data]
            made += _held_out(run, rows, str(data), number, place["quality"])
            made += _cost(run, rows, str(data), number, place["quality"])
    if "gradients" in run.frames:
        made += _gradients(run, place["gradients"])
    return made


def _held_out(run: Run, rows: pd.DataFrame, data: str, number: int, place: int) -> list[Figure]:
    made = []
    for x, (title, label) in _AGAINST.items():
        good = rows[(rows["status"] == "ok") & rows[x].notna()]
        if x == "eval_length" and not (good["eval_length"] > good["length"]).any():
            continue
        for column in ("loss", "accuracy"):
            if not good[column].notna().any():
                continue
            longest = good["length"].max()
            curves = [
                _curve(each, each.good(x).sort_values(x), x, column, longest, place)
                for each in series_of("quality", rows, each_length=True)
                if len(each.good(x)) and each.good(x)[column].notna().any()
            ]
            notes = [f"band: 95% interval over sequences; trained at {short(longest)} tokens"]
            notes += [FAINT] if any(curve.faint for curve in curves) else []
            chance = good.groupby(x)[f"chance_{column}"].first().dropna()
            made.append(
                Figure(
                    name=f"quality-{column}-{x.replace('_', '-')}-{number}",
                    group="learned",
                    title=f"{column.capitalize()} {title}: {data}",
                    x_label=label,
                    y_label=column if column == "accuracy" else loss_label(good),
                    curves=curves,
                    lengths=sorted({int(length) for length in good[x]}),
                    y_log=False,
                    from_zero=False,
                    said=_said("quality", rows),
                    guides=[("chance", numbers(chance.index), numbers(chance))] if len(chance) else [],
                    about=" · ".join(caption(run, ["quality"], [])),
                    notes=notes,
                )
            )
    return made


def _curve(each: Series, points: pd.DataFrame, x: str, column: str, longest: float, place: int) -> Curve:
    points = points[points[column].notna()]
    full = points["length"].iloc[0] == longest
    return Curve(
        model=each.model,
        name=each.name if full else f"{each.name}, trained at {short(points['length'].iloc[0])}",
        x=numbers(points[x]),
        y=numbers(points[column]),
        rows=[place + int(index) for index in points.index],
        dash=dash(each.line),
        low=numbers(points[f"{column}_low"].astype(float)),
        high=numbers(points[f"{column}_high"].astype(float)),
        faint=not full,
    )


def _cost(run: Run, rows: pd.DataFrame, data: str, number: int, place: int) -> list[Figure]:
    """A point each: the loss where the model read most, over the seconds and the FLOPs of its training."""
    points = pareto.trained(rows)
    made = []
    for cost, title in pareto.TITLES.items():
        mine = points[points[cost].notna()] if len(points) else points
        if len(mine) < 2:
            continue
        several = mine["length"].nunique() > 1
        curves = []
        for each in series_of("quality", mine, each_length=True):
            row = each.rows
            at = short(row["length"].iloc[0])
            curves.append(
                Curve(
                    model=each.model,
                    name=f"{each.name}, {at}" if several else each.name,
                    x=numbers(row[cost]),
                    y=numbers(row["loss"]),
                    rows=[place + int(index) for index in row.index],
                    low=numbers(row["loss_low"].astype(float)),
                    high=numbers(row["loss_high"].astype(float)),
                    joined=False,
                )
            )
        best = pareto.front(mine, cost)
        notes = ["bar: 95% interval over sequences", *(["dotted: the Pareto front"] if len(best) > 1 else [])]
        made.append(
            Figure(
                name=f"quality-{cost}-{number}",
                group="learned",
                title=f"{title}: {data}",
                x_label=pareto.LABELS[cost],
                y_label=loss_label(mine),
                curves=curves,
                y_log=False,
                from_zero=False,
                said=_said("quality", rows),
                guides=[("", numbers(best[cost]), numbers(best["loss"]))] if len(best) > 1 else [],
                about=" · ".join(caption(run, ["quality"], [])),
                notes=notes,
            )
        )
    return made


def _gradients(run: Run, place: int) -> list[Figure]:
    frame = run.frames["gradients"]
    good = frame[(frame["status"] == "ok") & (frame["grad_norm"] > 0)]
    if good.empty:
        return []
    good = good[good["length"] == good["length"].max()]
    titles = {1: "Gradient of the last loss, trained", 0: "Gradient of the last loss, at initialisation"}
    made = []
    for trained, title in titles.items():
        mine = good[good["trained"] == trained]
        if mine.empty:
            continue
        curves = []
        for each in series_of("gradients", mine, each_length=True):
            points = each.rows.sort_values("distance")
            floor = points["grad_norm"].min() / 10
            curves.append(
                Curve(
                    model=each.model,
                    name=each.name,
                    x=numbers(points["distance"] + 1),
                    y=numbers(points["grad_norm"]),
                    rows=[place + int(index) for index in points.index],
                    dash=dash(each.line),
                    p10=numbers(points["grad_norm_p10"].clip(lower=floor)),
                    p90=numbers(points["grad_norm_p90"]),
                )
            )
        notes = ["band: p10 to p90", "a curve ends where its gradient is 0"]
        made.append(
            Figure(
                name=f"gradients-{'trained' if trained else 'initial'}",
                group="learned",
                title=title,
                x_label=f"lag T - t + 1 (tokens), T = {short(mine['length'].iloc[0])}",
                y_label="norm of d loss_T / d x_t (median)",
                curves=curves,
                said=_said("gradients", frame),
                about=" · ".join(caption(run, ["gradients"], [])),
                notes=notes,
            )
        )
    return made


def _said(measure: str, rows: pd.DataFrame) -> list[str]:
    """Its failures are of training lengths, which these axes do not show."""
    return [str(s.failures("")) for s in series_of(measure, rows) if (s.rows["status"] != "ok").any()]
