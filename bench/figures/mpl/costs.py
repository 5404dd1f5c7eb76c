"""A cost against length: time, throughput, memory, state, compiling, share of the machine's limit."""

# pandas' types cannot tell a column from a frame:
# pyright: reportArgumentType=false, reportCallIssue=false, reportGeneralTypeIssues=false, reportReturnType=false
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import pandas as pd

from lengthscale.bench.figures.mpl import guides
from lengthscale.bench.figures.mpl.data import Run, Series, series_of
from lengthscale.bench.figures.mpl.figure import Drawn, Panel
from lengthscale.bench.figures.mpl.labels import MOST, End
from lengthscale.bench.figures.mpl.style import Theme, marks, ticks_at_lengths, ticks_at_round_numbers

STEPS = {"train": "Training step", "forward": "Prefill", "decode": "Decoding"}


@dataclass(frozen=True)
class Cost:
    column: str
    factor: float  # from the column's unit to the label's
    title: str
    label: str
    slopes: tuple[int, ...] = ()  # of the guides
    follows_time: int = 0  # 1: it grows as the time does, and so do its bands; -1: it is something over the time
    quantity: str = ""  # in fits.csv


BANDS = "band: 95% interval of the median; pale: p10 to p90"
BARS = "bar: 95% interval of the median"
PLANNED = "dotted: planned by the compiler"
COSTS = {
    "time": Cost("time_median_ms", 1, "time", "time of a step (ms)", (1, 2), 1, "time_ms"),
    "throughput": Cost("tokens_per_s", 1, "throughput", "tokens/s", (-1,), -1, "time_ms"),
    "memory": Cost("mem_peak_bytes", 1e-6, "memory", "peak memory (MB)", (1, 2), 0, "memory_bytes"),
    "state": Cost("state_bytes", 1e-6, "state", "state or KV cache (MB)", (1,), 0, "state_bytes"),
    "compile": Cost("compile_s", 1, "compiling", "compiling (s)"),
    "share": Cost("gemm_share", 100, "share of the machine's limit", "% of a matrix product's rate", (), -1),
}


def panels(run: Run, measure: str, y: str) -> list[Panel]:
    """None where the folder has no such figures."""
    cost = COSTS[y]
    if measure not in run.frames or not run.frames[measure][cost.column].notna().any():
        return []
    series = series_of(measure, run.cells(measure))
    followed = any(continuation(run, each, cost, each.good(cost.column)) for each in series)
    drawing = partial(draw, run=run, measure=measure, cost=cost)
    return [Panel(measure, title_of(measure, cost), drawing, tuple(meanings(series, cost, followed)))]


def title_of(measure: str, cost: Cost) -> str:
    return f"{STEPS.get(measure, f'Training ({measure})')}: {cost.title}"


def axis_labels(measure: str, frame: pd.DataFrame, cost: Cost) -> tuple[str, str]:
    """Of x and y."""
    if measure != "decode":
        return "sequence length (tokens)", cost.label
    alone = set(frame["batch"]) == {1}  # a step is a token
    return "context (tokens)", cost.label.replace("a step", "a token") if alone else cost.label


def meanings(series: list[Series], cost: Cost, followed: bool) -> list[str]:
    """What the lines mean, for a caption. followed: whether any goes on beyond what was measured."""
    notes = [BARS if is_crowded(series, cost) else BANDS] if cost.follows_time else []
    notes += [PLANNED] if cost.column == "mem_peak_bytes" else []
    return notes + ([guides.EXTRAPOLATED] if followed else [])


def draw(axes, theme: Theme, *, run: Run, measure: str, cost: Cost) -> Drawn:
    frame = run.cells(measure)
    series = series_of(measure, frame)
    crowded = is_crowded(series, cost)
    ends, lengths, beyond = [], set(frame["length"]), []
    for each in series:
        good = each.good(cost.column)
        if good.empty:
            continue
        look, colour = marks(theme, each.model), theme.colour(each.model)
        x, y = good["length"], good[cost.column] * cost.factor
        axes.plot(x, y, ls=each.line, zorder=2.5, **look)
        if cost.follows_time and crowded:
            axes.vlines(x, *limits(good, y, cost, "low", "high"), color=colour, lw=1, zorder=2)
        elif cost.follows_time:
            axes.fill_between(x, *limits(good, y, cost, "p10", "p90"), color=colour, alpha=0.1, lw=0, zorder=1.5)
            axes.fill_between(x, *limits(good, y, cost, "low", "high"), color=colour, alpha=0.2, lw=0, zorder=1.5)
        if cost.column == "mem_peak_bytes":
            planned = good["mem_planned_bytes"] * cost.factor
            axes.plot(x, planned, ls=(0, (1, 1.5)), lw=1, alpha=0.8, **marks(theme, each.model, 2.5))
        end = (float(x.iloc[-1]), float(y.iloc[-1]))
        if farther := continuation(run, each, cost, good):
            axes.plot(*farther, color=colour, ls=(0, (2, 2)), lw=1.2)
            end = (float(farther[0][-1]), float(farther[1][-1]))
            lengths.add(int(end[0]))
            beyond += [farther[1][0], farther[1][-1]]
        ends.append(End(*end, each.name, colour, look["marker"], each.line))
    axes.set_yscale("log")
    ticks_at_lengths(axes, lengths)
    x_label, y_label = axis_labels(measure, frame, cost)
    axes.set(xlabel=x_label, ylabel=y_label)
    if len(lengths) > frame["length"].nunique():
        guides.mark_extrapolated(axes, theme, frame["length"].max(), beyond)
    guides.draw_slopes(axes, theme, frame[frame["status"] == "ok"], cost, measure == "decode")
    if cost.column == "time_median_ms":
        guides.mark_crossing(axes, theme, run.crossovers, measure, frame)
    ticks_at_round_numbers(axes.yaxis)
    return Drawn(ends, [s.failures(theme.colour(s.model)) for s in series])


def limits(good: pd.DataFrame, y: pd.Series, cost: Cost, *names: str) -> list[pd.Series]:
    """Of the interval that these two columns of the time bound, in the figure's unit."""
    return [y * (good[f"time_{name}_ms"] / good["time_median_ms"]) ** cost.follows_time for name in names]


def is_crowded(series: list[Series], cost: Cost) -> bool:
    """Whether bands would be a fog."""
    return sum(len(each.good(cost.column)) > 0 for each in series) > MOST


def continuation(run: Run, series: Series, cost: Cost, good: pd.DataFrame):
    """(lengths, figures) of the dashed line beyond the longest length, where there is a fit that may be followed."""
    row = series.row_of(run.fits, cost.quantity) if len(good) else None
    if row is None or not guides.may_be_followed(row) or row["length_max"] != good["length"].iloc[-1]:
        return None
    lengths, growth = guides.growth(row)
    if cost.column == "tokens_per_s":
        tokens = 1 if series.measure == "decode" else lengths / lengths[0]
        growth = tokens / growth
    return lengths, growth * good[cost.column].iloc[-1] * cost.factor
