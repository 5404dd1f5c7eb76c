"""What length buys: loss against context, beyond the training length, against its cost; gradients.

Text, images and tasks are not to be compared: each kind of data has a panel of its own. Of several training lengths
the longest is in full colour and has its names, the others are faint.
"""

# pandas' types cannot tell a column from a frame:
# pyright: reportArgumentType=false, reportCallIssue=false, reportGeneralTypeIssues=false, reportReturnType=false
# pyright: reportAttributeAccessIssue=false, reportOptionalMemberAccess=false

from __future__ import annotations

from functools import partial

import pandas as pd

from lengthscale.bench.figures.mpl.data import Run, series_of
from lengthscale.bench.figures.mpl.figure import Drawn, Panel
from lengthscale.bench.figures.mpl.labels import End
from lengthscale.bench.figures.mpl.style import Theme, marks, short, ticks_at_lengths, ticks_at_round_numbers

FAINT = "faint: trained at shorter lengths"


def context_panels(run: Run, column: str) -> list[Panel]:
    """Loss or accuracy on the same targets against the context before them, where the data are streams."""
    title = f"{column.capitalize()} on the same targets"
    return _panels_of_data(run, "context", column, title, "context before the targets (tokens)")


def beyond_panels(run: Run, column: str = "") -> list[Panel]:
    """Against the length of held-out sequences, where any is longer than what was trained on.

    column: loss or accuracy; "": the accuracy where there is one, else the loss.
    """
    title = "Beyond the training length"
    panels = []
    for data in _data_of(run, "eval_length"):
        part = _rows_of(run, data)
        chosen = column or ("accuracy" if part["accuracy"].notna().any() else "loss")
        if (part["eval_length"] > part["length"]).any() and part[chosen].notna().any():
            panels += _panels_of_data(run, "eval_length", chosen, title, "held-out sequence length (tokens)", [data])
    return panels


def gradient_panels(run: Run) -> list[Panel]:
    if "gradients" not in run.frames or not run.frames["gradients"]["grad_norm"].notna().any():
        return []
    frame = run.frames["gradients"]
    frame = frame[(frame["length"] == frame["length"].max()) | (frame["status"] != "ok")]
    notes = ["band: p10 to p90"]
    if (frame["grad_norm"] == 0).any():
        notes.append("a curve ends where its gradient is 0")
    titles = {1: "Gradient of the last loss, trained", 0: "The same, at initialisation"}
    return [
        Panel("gradients", title, partial(_draw_gradients, frame=frame, trained=trained), tuple(notes))
        for trained, title in titles.items()
        if (frame["trained"] == trained).any()
    ]


def _data_of(run: Run, x: str) -> list[str]:
    frame = run.frames.get("quality")
    return [] if frame is None else list(frame.loc[frame[x].notna(), "data"].unique())


def _rows_of(run: Run, data: str) -> pd.DataFrame:
    frame = run.frames["quality"]
    return frame[frame["data"] == data]


def _panels_of_data(run: Run, x: str, column: str, title: str, label: str, data=None) -> list[Panel]:
    panels = []
    for each in _data_of(run, x) if data is None else data:
        rows = _rows_of(run, each)
        if not rows.loc[rows[x].notna(), column].notna().any():
            continue
        interval = f"{column}'s band: 95% interval over sequences"
        notes = (interval, FAINT) if rows.loc[rows[x].notna(), "length"].nunique() > 1 else (interval,)
        draw = partial(_draw_held_out, rows=rows, x=x, column=column, label=label)
        panels.append(Panel("quality", f"{title}: {_data_name(each)}", draw, notes))
    return panels


def loss_label(rows: pd.DataFrame) -> str:
    """Where there are no classes to be right about, the loss is that of numbers."""
    return "loss (nats a target)" if rows["accuracy"].notna().any() else "squared error"


def _data_name(data: str) -> str:
    return data if len(data) <= 24 else f"...{data[-21:]}"


def _draw_held_out(axes, theme: Theme, *, rows: pd.DataFrame, x: str, column: str, label: str) -> Drawn:
    series = series_of("quality", rows, each_length=True)
    good = rows[(rows["status"] == "ok") & rows[x].notna()]
    longest = good["length"].max()
    ends = []
    for each in series:
        points = each.good(x).sort_values(x)
        if points.empty:
            continue
        look, colour = marks(theme, each.model), theme.colour(each.model)
        full = points["length"].iloc[0] == longest
        shade = {"alpha": 1.0 if full else 0.35, "zorder": 2.5 if full else 2}
        axes.plot(points[x], points[column], ls=each.line, **look, **shade)
        if full:
            low, high = points[f"{column}_low"].astype(float), points[f"{column}_high"].astype(float)
            axes.fill_between(points[x], low, high, color=colour, alpha=0.12, lw=0, zorder=1.5)
            end = (float(points[x].iloc[-1]), float(points[column].iloc[-1]))
            ends.append(End(*end, each.name, colour, look["marker"], each.line))
    ticks_at_lengths(axes, good[x], trained=longest)
    axes.set(xlabel=label, ylabel=column if column == "accuracy" else loss_label(good))
    axes.axvline(longest, color=theme.muted, lw=0.8, ls=(0, (1, 2.5)), zorder=1)
    chance = good.groupby(x)[f"chance_{column}"].first().dropna()
    if len(chance):
        axes.plot(chance.index, chance, color=theme.muted, lw=0.8, ls=(0, (1, 2.5)), zorder=1)
        at = {"xytext": (2, 3), "textcoords": "offset points"}
        axes.annotate("chance", (chance.index[0], chance.iloc[0]), fontsize=7, color=theme.muted, **at)
    return Drawn(ends, [s.failures(theme.colour(s.model), on_axis=False) for s in series_of("quality", rows)])


def _draw_gradients(axes, theme: Theme, *, frame: pd.DataFrame, trained: int) -> Drawn:
    """Against T - t + 1, so that the last step itself is at 1."""
    series = series_of("gradients", frame, each_length=True)
    ends, longest = [], 1
    for each in series:
        points = each.good("grad_norm")
        points = points[(points["trained"] == trained) & (points["grad_norm"] > 0)].sort_values("distance")
        if points.empty:
            continue
        look, colour = marks(theme, each.model, 4), theme.colour(each.model)
        x = points["distance"] + 1
        axes.plot(x, points["grad_norm"], ls=each.line, zorder=2.5, **look)
        low, high = points["grad_norm_p10"], points["grad_norm_p90"]
        axes.fill_between(x, low.clip(lower=points["grad_norm"].min() / 10), high, color=colour, alpha=0.08, lw=0)
        ends.append(
            End(float(x.iloc[-1]), float(points["grad_norm"].iloc[-1]), each.name, colour, look["marker"], each.line)
        )
        longest = max(longest, int(x.iloc[-1]))
    axes.set_yscale("log")
    ticks_at_lengths(axes, [2**power for power in range(longest.bit_length())])
    length = frame.loc[frame["grad_norm"].notna(), "length"].max()
    axes.set(xlabel=f"lag T - t + 1 (tokens), T = {short(length)}", ylabel="norm of d loss_T / d x_t (median)")
    ticks_at_round_numbers(axes.yaxis)
    failed = series_of("gradients", frame) if trained == frame["trained"].max() else []
    return Drawn(ends, [s.failures(theme.colour(s.model), on_axis=False) for s in failed])
