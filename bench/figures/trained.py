"""Builds the figures of loss against the training length, at equal numbers of training tokens.

All models are scored on the same held-out targets, each with the longest context that its training length has inside:
what training on longer sequences buys, however it does so.
"""

from __future__ import annotations

from lengthscale.bench.analysis import text
from lengthscale.bench.figures.costs import failures_of
from lengthscale.bench.figures.learned import heading, loss_label
from lengthscale.bench.figures.run import Group, Run, Series, caption, series_of
from lengthscale.bench.figures.spec import Axis, DrawnCurve, Ends, Figure, Place
from lengthscale.bench.results.csv_table import TextRow


def figures(run: Run) -> list[Figure]:
    """The figure of each kind of data and size that was trained at two lengths or more."""
    groups = enumerate(run.groups("quality").items())
    made = [_figure(run, group, rows, f"quality-trained-{number}") for number, (group, rows) in groups]
    return [figure for figure in made if any(len(curve.x) > 1 for curve in figure.curves)]


def points_of(series: Series) -> list[TextRow]:
    """For each training length, the row at the longest context that lies inside it."""
    best: dict[int, TextRow] = {}
    for row in series.good("context"):
        inside = row.whole("context") < row.length
        if inside and (row.length not in best or row.whole("context") > best[row.length].whole("context")):
            best[row.length] = row
    return [best[length] for length in sorted(best)]


def _figure(run: Run, group: Group, rows: list[TextRow], name: str) -> Figure:
    series = series_of("quality", rows)
    curves = tuple(_curve(each, mine) for each in series if (mine := points_of(each)))
    lengths = sorted({int(x) for curve in curves for x in curve.x})
    tokens = sorted({row.whole("train_tokens") for row in rows if row.ok})
    budget = " or ".join(f"{text.number(each)}" for each in tokens)
    return Figure(
        title=f"Loss against the training length: {heading(run, 'quality', group)}",
        x=Axis("training length (tokens)", "log", lengths=tuple(lengths)),
        y=Axis(loss_label(rows), from_zero=False),
        curves=curves,
        failures=failures_of(series),
        about=caption(run, ["quality"]),
        notes=(f"trained on {budget} tokens at each length", "same targets, with the longest context inside it"),
        place=Place("quality", "loss", "trained", name, "learned", "quality_trained"),
    )


def _curve(each: Series, points: list[TextRow]) -> DrawnCurve:
    return DrawnCurve(
        model=each.model,
        name=each.name,
        x=tuple(float(row.length) for row in points),
        y=tuple(row.number("loss") for row in points),
        rows=tuple(row.number_in_file for row in points),
        dash=each.dash,
        interval=Ends(*(tuple(row.number(f"loss_{end}") for row in points) for end in ("low", "high"))),
    )
