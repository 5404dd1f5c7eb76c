"""Cost against length, of one run or of two. No jax here."""

# pandas' types cannot tell a column from a frame:
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false

from __future__ import annotations

import pandas as pd

from bench.answer import PAIR
from bench.plots import costs, guides
from bench.plots.costs import COSTS
from bench.plots.data import series_of
from bench.report import trace
from bench.report.source import Source
from bench.report.trace import Plot

BARS = "Bars: 95% interval of the median."


def plot(sources: list[Source], measure: str, y: str) -> Plot | None:
    """None where no run has such figures."""
    cost = COSTS[y]
    sources = [source for source in sources if _has(source, measure, cost.column)]
    if not sources:
        return None
    traces, failed, names, notes = [], [], {}, []
    lengths: set[int] = set()
    for source in sources:
        for series in series_of(measure, source.run.cells(measure)):
            good = series.good(cost.column)
            figures = good[cost.column] * cost.factor
            if len(good):
                bars = costs._limits(good, figures, cost, "low", "high") if cost.follows_time else None
                traces.append(trace.points(source, series, good, good["length"], figures, bars))
                names[series.name] = series.model
                if farther := costs._continuation(source.run, series, cost, good) if len(sources) == 1 else None:
                    traces.append(trace.beyond(source, series, *farther, unit_of(cost.label)))
                    notes.append(f"{guides.EXTRAPOLATED[0].upper()}{guides.EXTRAPOLATED[1:]}.")
                    lengths.add(int(farther[0][-1]))
            if (series.rows["status"] != "ok").any():
                failed.append((source, series))
        lengths |= set(source.run.cells(measure)["length"].tolist())
    notes = [BARS] * bool(cost.follows_time) + list(dict.fromkeys(notes))
    for at, (source, series) in enumerate(reversed(failed)):
        traces.append(trace.failures(source, series, at))
    for source, series in failed:
        names.setdefault(series.name, series.model)
        notes.append(" ".join(filter(None, [source.label, f"{series.failures('')}."])))
    for row in _crossings(sources[0], measure) if y == "time" and len(sources) == 1 else []:
        traces.append(trace.crossing(sources[0], row))
        notes.append(f"At the bottom: {trace.crossing_text(row)}.")
    decode = measure == "decode"
    batches = {batch for source in sources for batch in source.run.cells(measure)["batch"].unique()}
    label = cost.label.replace("a step", "a token") if decode and batches == {1} else cost.label
    x = "context (tokens)" if decode else "sequence length (tokens)"
    figure = trace.figure(traces, x, label, len(failed))
    title = f"{cost.title[0].upper()}{cost.title[1:]}"
    return Plot(title, figure, sorted(lengths), (True, y != "share"), list(names), list(names.values()), notes)


def _has(source: Source, measure: str, column: str) -> bool:
    return measure in source.run.frames and bool(source.run.frames[measure][column].notna().any())


def unit_of(label: str) -> str:
    """ "time of a step (ms)" -> "ms"."""
    return label.partition("(")[2].rstrip(")") or label


def _crossings(source: Source, measure: str) -> list[pd.Series]:
    """Where the time of the one of PAIR passes the other's."""
    rows = source.run.crossovers
    if not len(rows):
        return []
    rows = rows[(rows["measure"] == measure) & (rows["quantity"] == "time_ms") & (rows["status"] == "crosses")]
    rows = rows[rows["model_short"].isin(PAIR) & rows["model_long"].isin(PAIR)]
    return [row for _, row in rows.iterrows()][:1]
