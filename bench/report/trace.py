"""What plots are made of: points with bars, what failed, where a fit goes on, where two models cross. No jax here.

A point's customdata is its row in the page's full table, which is what the page shows of it. `meta` tells the page
whose trace it is (legends show and hide it by its name and its run), its colour in each theme, and what it says where
it is no row's.
"""

# pandas' types cannot tell a column from a frame:
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd
import plotly.graph_objects as go

from bench.answer import number
from bench.plots.data import Series
from bench.report import look
from bench.report.source import Source

ROW_HEIGHT = 0.055  # of what failed, in parts of a plot's height


@dataclass(frozen=True)
class Plot:
    title: str
    figure: go.Figure
    ticks: list[int]  # lengths on the x axis
    log: tuple[bool, bool]  # x, y: how it opens
    names: list[str]  # in its legend, with the model that each looks like
    models: list[str]
    notes: list[str]


def points(
    source: Source,
    series: Series,
    rows: pd.DataFrame,
    x: pd.Series,
    y: pd.Series,
    bars: Iterable[pd.Series] | None,
    faint: bool = False,
) -> go.Scatter:
    """bars: where each point's interval begins and ends. The second of two runs has hollow points on dotted lines."""
    second = source.label == "B"
    error = None
    if bars is not None:
        low, high = bars
        error = {"type": "data", "symmetric": False, "array": _plain(high - y), "arrayminus": _plain(y - low)}
        error |= {"thickness": 1.2, "width": 3}
    return go.Scatter(
        x=x.tolist(),
        y=_plain(y),
        error_y=error,
        name=series.name,
        mode="lines+markers",
        opacity=0.4 if faint else 1,
        line={"width": 1.8, "dash": look.DASHES[2] if second else look.dash(series.line)},
        marker={"symbol": look.symbol(series.model, second), "size": 8},
        customdata=rows.index.tolist(),
        hoverinfo="none",
        meta=_meta(source, series.name, look.colours(series.model)),
    )


def beyond(source: Source, series: Series, lengths: Iterable[float], figures: Iterable[float], unit: str) -> go.Scatter:
    """A dashed line beyond the longest length."""
    x, y = list(map(float, lengths)), list(map(float, figures))
    said = f"extrapolated by the fit: {number(y[-1])} {unit} at {number(x[-1])} tokens"
    return go.Scatter(
        x=x,
        y=y,
        name=series.name,
        mode="lines",
        line={"width": 1.4, "dash": "4px,4px"},
        hoverinfo="none",
        meta=_meta(source, series.name, look.colours(series.model), said),
    )


def failures(source: Source, series: Series, at_row: int) -> go.Scatter:
    """A cross for each cell that is not ok, in a strip above the axes."""
    bad = series.rows[series.rows["status"] != "ok"]
    return go.Scatter(
        x=bad["length"].tolist(),
        y=[at_row] * len(bad),
        yaxis="y2",
        name=series.name,
        mode="markers",
        marker={"symbol": "x-thin", "size": 8, "line": {"width": 2.5}},
        customdata=bad.index.tolist(),
        cliponaxis=False,
        hoverinfo="none",
        meta=_meta(source, series.name, look.colours(series.model)),
    )


def crossing(source: Source, row: pd.Series) -> go.Scatter:
    """Where the first model passes the second, with its interval, at the bottom of the axes."""
    low, high = (row[name] if pd.notna(row[name]) else row[end] for name, end in INTERVAL)
    return go.Scatter(
        x=[float(low), float(row["length"]), float(high)],
        y=[0.035] * 3,
        yaxis="y3",
        mode="lines+markers+text",
        text=["", f"{row['model_long']} passes at {number(row['length'])}", ""],
        textposition="top center",
        textfont={"size": 11},
        line={"width": 2.5},
        marker={"symbol": "line-ns", "size": [0, 13, 0], "line": {"width": 2}},
        hoverinfo="none",
        meta=_meta(source, "", look.inks(), crossing_text(row)),
    )


INTERVAL = (("length_low", "range_min"), ("length_high", "range_max"))


def crossing_text(row: pd.Series) -> str:
    interval = ", ".join(number(row[name]) if pd.notna(row[name]) else "?" for name, _ in INTERVAL)
    return f"{row['model_long']} passes {row['model_short']} at {number(row['length'])} tokens [{interval}]"


def upright(source: Source, x: float, said: str) -> go.Scatter:
    """A dotted line across the axes."""
    return go.Scatter(
        x=[x, x],
        y=[0, 1],
        yaxis="y3",
        mode="lines",
        line={"width": 1, "dash": "2px,3px"},
        hoverinfo="none",
        meta=_meta(source, "", look.inks(), said),
    )


def level(source: Source, x: list[float], y: list[float], said: str) -> go.Scatter:
    line = {"width": 1, "dash": "2px,3px"}
    meta = _meta(source, "", look.inks(), said)
    return go.Scatter(x=x, y=y, mode="lines", line=line, hoverinfo="none", meta=meta)


def figure(traces: list[go.Scatter], x: str, y: str, failed: int) -> go.Figure:
    """x, y: the axes' titles. failed: lines that the strip of what failed takes."""
    top = 1 - ROW_HEIGHT * failed
    hidden = {"visible": False, "fixedrange": True, "anchor": "x"}
    return go.Figure(
        traces,
        go.Layout(
            height=320,
            margin={"l": 64, "r": 16, "t": 10, "b": 48},
            showlegend=False,
            hovermode="closest",
            hoverdistance=24,
            xaxis={"title": {"text": x, "standoff": 8}},
            yaxis={"title": {"text": y, "standoff": 6}, "domain": [0, top], "automargin": True, "tickformat": ",.6~g"},
            yaxis2={**hidden, "domain": [min(top, 0.999), 1], "range": [-0.6, max(failed, 1) - 0.4]},
            yaxis3={**hidden, "overlaying": "y", "range": [0, 1]},
        ),
    )


def _plain(values: pd.Series) -> list[float | None]:
    """None where nothing was measured: JSON has no NaN."""
    return [float(value) if pd.notna(value) else None for value in values]


def _meta(source: Source, name: str, colours: dict[str, str], said: str = "") -> dict:
    return {"name": name, "source": source.label, "colours": colours, "said": said}
