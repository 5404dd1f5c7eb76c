"""What length buys: loss and accuracy against context and beyond the training length, gradients. No jax here."""

# pandas' types cannot tell a column from a frame:
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportReturnType=false, reportOptionalMemberAccess=false

from __future__ import annotations

import pandas as pd

from bench.plots.data import series_of
from bench.plots.learned import loss_label
from bench.plots.style import short
from bench.report import trace
from bench.report.source import Source
from bench.report.trace import Plot

AXES = {"context": "context before the targets (tokens)", "eval_length": "held-out sequence length (tokens)"}


def plots(sources: list[Source]) -> list[Plot]:
    """For each kind of data its loss, and its accuracy where it is a task."""
    made = []
    frames = [source.run.frames["quality"] for source in sources if "quality" in source.run.frames]
    for data in dict.fromkeys(name for frame in frames for name in frame["data"]):
        for x in AXES:
            for column in ("loss", "accuracy") if x == "eval_length" else ("loss",):
                made.append(_held_out(sources, data, x, column))
    made += [_gradients(sources, trained) for trained in (1, 0)]
    return [plot for plot in made if plot is not None]


def _held_out(sources: list[Source], data: str, x: str, column: str) -> Plot | None:
    """None where nothing of that data was measured against x, or nothing longer than what was trained on."""
    traces, names, failed = [], {}, []
    parts = []
    for source in sources:
        if "quality" not in source.run.frames:
            continue
        frame = source.run.frames["quality"]
        frame = frame[frame["data"] == data]
        failed += _failures(source, frame)
        frame = frame[(frame["status"] == "ok") & frame[x].notna() & frame[column].notna()]
        if frame.empty or (x == "eval_length" and not (frame[x] > frame["length"]).any()):
            continue
        parts.append(frame)
        longest = frame["length"].max()
        for series in series_of("quality", frame, each_length=True):
            rows = series.rows.sort_values(x)
            bars = rows[f"{column}_low"].astype(float), rows[f"{column}_high"].astype(float)
            faint = rows["length"].iloc[0] < longest
            traces.append(trace.points(source, series, rows, rows[x], rows[column], bars, faint))
            names[series.name] = series.model
    if not parts:
        return None
    every = pd.concat(parts)
    trained = every["length"].max()
    traces.append(trace.upright(sources[0], float(trained), f"trained on sequences of {short(trained)}"))
    notes = [f"Bars: 95% interval over sequences. Upright: the training length, {short(trained)}."]
    if every["length"].nunique() > 1:
        notes.append("Faint: trained at shorter lengths.")
    chance = every.groupby(x)[f"chance_{column}"].first().dropna()
    if len(chance):
        traces.append(trace.level(sources[0], chance.index.tolist(), chance.tolist(), "chance: of what reads no input"))
        notes.append("Level: chance.")
    ticks = sorted({int(length) for length in every[x]} | {int(trained)})
    figure = trace.figure(traces, AXES[x], column if column == "accuracy" else loss_label(every), 0)
    against = "context" if x == "context" else "length"
    title = f"{column.capitalize()} against {against}: {data}"
    return Plot(title, figure, ticks, (True, False), list(names), list(names.values()), notes + failed)


def _gradients(sources: list[Source], trained: int) -> Plot | None:
    traces, names, failed = [], {}, []
    longest = 1
    for source in sources:
        if "gradients" not in source.run.frames:
            continue
        frame = source.run.frames["gradients"]
        failed += _failures(source, frame)
        frame = frame[(frame["status"] == "ok") & (frame["trained"] == trained) & (frame["grad_norm"] > 0)]
        frame = frame[frame["length"] == frame["length"].max()]
        for series in series_of("gradients", frame, each_length=True):
            rows = series.rows.sort_values("distance")
            lag = rows["distance"] + 1  # so that the last step itself is at 1
            bars = rows["grad_norm_p10"].astype(float), rows["grad_norm_p90"].astype(float)
            traces.append(trace.points(source, series, rows, lag, rows["grad_norm"], bars))
            names[series.name] = series.model
            longest = max(longest, int(lag.max()))
    if not traces:
        return None
    figure = trace.figure(traces, "lag T - t + 1 (tokens)", "norm of d loss_T / d x_t (median)", 0)
    ticks = [2**power for power in range(longest.bit_length())]
    title = "Gradient of the last loss, trained" if trained else "Gradient of the last loss, at initialisation"
    return Plot(title, figure, ticks, (True, True), list(names), list(names.values()), ["Bars: p10 to p90.", *failed])


def _failures(source: Source, frame: pd.DataFrame) -> list[str]:
    """In words, as the axis is not that of the lengths they failed at."""
    measure = "quality" if "eval_length" in frame else "gradients"
    bad = [each for each in series_of(measure, frame) if (each.rows["status"] != "ok").any()] if len(frame) else []
    return [" ".join(filter(None, [source.label, f"{each.failures('')}."])) for each in bad]
