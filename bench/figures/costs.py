"""Builds the figures of costs against length: times, throughput, memory, state, compiling, share of the limit."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from lengthscale.bench.analysis.answer import PAIR
from lengthscale.bench.analysis.crossover import CROSSES
from lengthscale.bench.analysis.fit import LARGEST_ERROR
from lengthscale.bench.analysis.text import estimated
from lengthscale.bench.figures.run import Run, Series, caption, series_of
from lengthscale.bench.figures.spec import (
    CROWD,
    Axis,
    DrawnCrossing,
    DrawnCurve,
    Ends,
    Extrapolated,
    Failure,
    Failures,
    Figure,
    Mark,
    Numbers,
    Place,
    Slope,
)
from lengthscale.bench.results.csv_table import TextRow
from lengthscale.bench.results.result import MEASURED

STEPS = {
    "train": "Training step",
    "forward": "Prefill",
    "operator": "Operator alone",
    "decode": "Decoding",
    "generate": "Generation",
}
ONE_STEP = ("train", "forward", "decode")  # of these, a file shows all the times of compiling, and all the shares
MEASURES = (*STEPS, "quality")
X_LABELS = {"decode": "context (tokens)", "generate": "prompt (tokens)"}  # of the others: LENGTH
LENGTH = "sequence length (tokens)"


@dataclass(frozen=True)
class Cost:
    """A column that is drawn against the length, with its unit, its labels and its guides."""

    column: str
    factor: float  # converts the column's unit to the label's unit
    title: str
    label: str
    slopes: tuple[int, ...] = ()  # slopes of the guide lines
    follows_time: int = 0  # 1: it is proportional to the time, and so are its bands; -1: inversely proportional; 0: no
    quantity: str = ""  # its name in fits.csv


BANDS = "band: 95% interval of the median; pale: p10 to p90"
BARS = "bar: 95% interval of the median"
PLANNED = "dotted: planned by the compiler"
EXTRAPOLATED = f"dashed: extrapolated by the fit, where it predicted the longest length within {LARGEST_ERROR:.0%}"
COSTS = {
    "time": Cost("time_median_ms", 1, "time", "time of a step (ms)", (1, 2), 1, "time_ms"),
    "ttft": Cost("ttft_ms", 1, "time to first token", "time to the first token (ms)", (1, 2)),
    "tpot": Cost("tpot_ms", 1, "time per output token", "time of each further token (ms)", (1,)),
    "throughput": Cost("tokens_per_s", 1, "throughput", "tokens/s", (-1,), -1, "time_ms"),
    "memory": Cost("mem_peak_bytes", 1e-6, "memory", "peak memory (MB)", (1, 2), 0, "memory_bytes"),
    "state": Cost("state_bytes", 1e-6, "state", "state or KV cache (MB)", (1,), 0, "state_bytes"),
    "compile": Cost("compile_s", 1, "compiling", "compiling (s)"),
    "share": Cost("gemm_share", 100, "share of the machine's limit", "% of a matrix product's rate", (), -1),
}
FILES = {  # for each cost and measure, the picture that every run gets
    "time": {
        "train": "train_time",
        "forward": "forward_time",
        "operator": "operator_time",
        "decode": "decode_latency",
    },
    "ttft": {"generate": "generate_first_token"},
    "tpot": {"generate": "generate_token"},
    "throughput": {"train": "train_throughput", "forward": "forward_throughput"},
    "memory": {
        "train": "train_memory",
        "forward": "forward_memory",
        "operator": "operator_memory",
        "generate": "generate_memory",
    },
    "state": {"decode": "decode_state"},
    "compile": dict.fromkeys(ONE_STEP, "compile_time"),
    "share": dict.fromkeys(ONE_STEP, "machine_share"),
}
SLOPES = {1: "∝ L", 2: "∝ L²", -1: "∝ 1/L"}


def figures(run: Run) -> list[Figure]:
    """The figures of each cost and measure for which the run has values."""
    found = ((measure, y) for y in COSTS for measure in MEASURES)
    return [
        _figure(run, measure, y)
        for measure, y in found
        if any(row.has(COSTS[y].column) for row in run.rows.get(measure, ()))
    ]


def _figure(run: Run, measure: str, y: str) -> Figure:
    cost, rows = COSTS[y], run.cells(measure)
    series = series_of(measure, rows)
    curves = tuple(_curve(run, each, cost) for each in series if each.good(cost.column))
    x_label, y_label = axis_labels(measure, rows, cost)
    lengths = {row.length for row in rows} | {int(c.beyond[0][-1]) for c in curves if c.beyond}
    crowded = len(curves) > CROWD
    return Figure(
        title=f"{STEPS.get(measure, f'Training ({measure})')}: {cost.title}",
        x=Axis(x_label, "log", lengths=tuple(sorted(lengths))),
        y=Axis(y_label, "log"),
        curves=curves,
        marks=_marks(run, measure, cost, curves),
        failures=failures_of(series),
        crowded=crowded,
        about=caption(run, [measure]),
        notes=_notes(cost, crowded, any(curve.beyond for curve in curves)),
        place=_place(measure, y, several=len({row.length for row in rows}) > 1),
    )


def _place(measure: str, y: str, several: bool) -> Place:
    """The figure's place in the files and on the page.

    Costs of models that were trained at only one length make no curves, so they are in the page's table alone.
    """
    group = y if measure != "quality" or several else ""
    return Place(measure, y, name=f"{measure}-{y}", group=group, file=FILES[y].get(measure, ""))


def axis_labels(measure: str, rows: Iterable[TextRow], cost: Cost) -> tuple[str, str]:
    """The labels of the x axis and the y axis."""
    step = "a step"
    if measure == "decode" and {row.whole("batch") for row in rows} == {1}:  # a step is one token
        step = "a token"
    if measure == "generate":
        counts = {row.text("new_tokens") for row in rows if row.has("new_tokens")}
        step = f"a prompt and {counts.pop() if len(counts) == 1 else 'its'} new tokens"
    return X_LABELS.get(measure, LENGTH), cost.label.replace("a step", step)


def _notes(cost: Cost, crowded: bool, extrapolated: bool) -> tuple[str, ...]:
    """Notes for the caption that say what the lines mean. extrapolated: whether any curve is extrapolated."""
    notes = [BARS if crowded else BANDS] if cost.follows_time or cost.column in MEASURED else []
    notes += [PLANNED] if cost.column == "mem_peak_bytes" else []
    return (*notes, *([EXTRAPOLATED] if extrapolated else []))


def _curve(run: Run, each: Series, cost: Cost) -> DrawnCurve:
    good = each.good(cost.column)
    y = numbers(good, cost.column) * cost.factor
    memory = cost.column == "mem_peak_bytes"
    return DrawnCurve(
        model=each.model,
        name=each.name,
        x=tuple(row.length for row in good),
        y=tuple(y.tolist()),
        rows=tuple(row.number_in_file for row in good),
        dash=each.dash,
        interval=_interval(good, y, cost),
        spread=_ends(good, y, cost, "p10", "p90") if cost.follows_time else None,
        planned=tuple((numbers(good, "mem_planned_bytes") * cost.factor).tolist()) if memory else (),
        beyond=_extrapolation(run, each, cost, good),
    )


def numbers(rows: Iterable[TextRow], column: str) -> np.ndarray:
    """The values of a column as floats of shape (R,), for R rows; a blank is nan."""
    return np.array([row.number(column) for row in rows])


def _interval(good: list[TextRow], y: np.ndarray, cost: Cost) -> Ends | None:
    """The 95% interval of y, in the figure's unit: from the columns of its ends, or from those of the time."""
    if cost.column in MEASURED:
        ends = (numbers(good, column) * cost.factor for column in MEASURED[cost.column])
        return Ends(*(tuple(end.tolist()) for end in ends))
    return _ends(good, y, cost, "low", "high") if cost.follows_time else None


def _ends(good: list[TextRow], y: np.ndarray, cost: Cost, low: str, high: str) -> Ends:
    """The ends of an interval of y, in the figure's unit, from two columns of the time.

    Where y is inversely proportional to the time, the column `low` gives the upper end.
    """
    medians = numbers(good, "time_median_ms")
    ends = [y * (numbers(good, f"time_{name}_ms") / medians) ** cost.follows_time for name in (low, high)]
    return Ends(*(tuple(end.tolist()) for end in ends))


def _extrapolation(run: Run, series: Series, cost: Cost, good: list[TextRow]) -> tuple[Numbers, Numbers] | None:
    """(lengths, values) of the dashed line beyond the longest length; None where no fit may be extrapolated."""
    fit = run.fit_of(series.key, cost.quantity)
    if fit is None or fit.terms is None or fit.predicted is None or fit.length_max != good[-1].length:
        return None
    lengths = np.geomspace(fit.length_max, 2 * fit.length_max, 20)
    growth = fit.terms(lengths)
    growth = growth / growth[0]
    if cost.column == "tokens_per_s":
        growth = (1 if series.key.measure == "decode" else lengths / lengths[0]) / growth
    return tuple(lengths.tolist()), tuple((growth * good[-1].number(cost.column) * cost.factor).tolist())


def _marks(run: Run, measure: str, cost: Cost, curves: tuple[DrawnCurve, ...]) -> tuple[Mark, ...]:
    rows = run.cells(measure)
    marks: list[Mark] = []
    if any(curve.beyond for curve in curves):
        marks.append(Extrapolated(max(row.length for row in rows)))
    marks += _slopes(curves, set(cost.slopes) & {1} if measure == "decode" else set(cost.slopes))
    if cost.column == "time_median_ms" and (found := _crossing(run, measure, rows)):
        marks.append(found)
    return tuple(marks)


def _slopes(curves: tuple[DrawnCurve, ...], slopes: set[int]) -> list[Slope]:
    """Guide lines over the curves' lengths, which start next to the first values."""
    if len({length for curve in curves for length in curve.x}) < 2:
        return []
    start, end = min(curve.x[0] for curve in curves), max(curve.x[-1] for curve in curves)
    first = [curve.y[0] for curve in curves if curve.x[0] == start]
    values = {slope: max(first) * 1.25 if slope < 0 else min(first) / 1.25 for slope in slopes}
    return [Slope(SLOPES[slope], slope, start, end, values[slope]) for slope in sorted(slopes)]


def _crossing(run: Run, measure: str, rows: list[TextRow]) -> DrawnCrossing | None:
    """The mark where the times of the Transformer and Mamba cross; None if one is missing or they do not cross."""
    if not set(PAIR) <= {row.text("model") for row in rows}:
        return None
    for each in run.crossings:
        if (each.series.measure, each.quantity, each.status) == (measure, "time_ms", CROSSES) and each.length:
            low, high = each.length.low or each.range_min, each.length.high or each.range_max
            if {each.model_short, each.model_long} <= set(PAIR) and low and high:
                text = f"{each.model_long} passes {each.model_short} at {estimated(each.length)}"
                return DrawnCrossing(each.length.value, low, high, text)
    return None


def failures_of(series: Iterable[Series], on_axis: bool = True) -> tuple[Failures, ...]:
    """The failures of each series that has any. on_axis: whether the figure's x axis shows the failed lengths."""
    return tuple(
        Failures(
            each.model,
            each.name,
            tuple(Failure(row.length, row.text("status"), row.number_in_file) for row in each.bad),
            tuple(row.length for row in each.rows),
            on_axis,
        )
        for each in series
        if each.bad
    )
