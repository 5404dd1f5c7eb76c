"""Builds the figures of recall against the bytes of the state: what a model remembers, for what it keeps.

A point is a model at one size; sizes such as state4k give all models the same state. The accuracy is that at the
training length, and the state that of one sequence of this length: a cache of keys and values counts as far as it is
filled.
"""

from __future__ import annotations

from lengthscale.bench.data.titles import title_of
from lengthscale.bench.figures.costs import failures_of
from lengthscale.bench.figures.learned import by_data
from lengthscale.bench.figures.run import Run, caption, series_of
from lengthscale.bench.figures.spec import AT_POINTS, Axis, DrawnCurve, Ends, Figure, Place, Reference
from lengthscale.bench.results.csv_table import TextRow


def figures(run: Run) -> list[Figure]:
    """The figure of each task and training length at which there are several states."""
    made = []
    for data, rows in by_data(run, "recall").items():
        for length in sorted({row.length for row in rows}):
            mine = [row for row in rows if row.length == length]
            if len({row.number("state_bytes") for row in points_of(mine)}) > 1:
                made.append(_figure(run, data, length, mine, f"recall-state-{len(made)}"))
    return made


def points_of(rows: list[TextRow]) -> list[TextRow]:
    """The row of each trained model on its own task at its own length."""
    good = [row for row in rows if row.ok and row.has("state_bytes") and row.has("accuracy")]
    return [row for row in good if row.number("eval_length") == row.length and not row.has("n_items")]


def _figure(run: Run, data: str, length: int, rows: list[TextRow], name: str) -> Figure:
    series = series_of("recall", rows)
    points = points_of(rows)
    curves = [
        DrawnCurve(
            model=each.model,
            name=each.name,
            x=tuple(row.number("state_bytes") for row in mine),
            y=tuple(row.number("accuracy") for row in mine),
            rows=tuple(row.number_in_file for row in mine),
            interval=Ends(*(tuple(row.number(f"accuracy_{end}") for row in mine) for end in ("low", "high"))),
            joined=False,
        )
        for each in series
        if (mine := points_of(each.rows))
    ]
    states = [row.number("state_bytes") for row in points]
    chances = {row.number("chance_accuracy") for row in points if row.has("chance_accuracy")}
    return Figure(
        title=f"Accuracy against the state: {title_of(data)}",
        subtitle=(f"{data}, {length} tokens",),
        x=Axis("state of one sequence (bytes)", "log", margin=0.18),
        y=Axis("accuracy", limits=(0.0, 1.03)),
        curves=tuple(curves),
        marks=tuple(Reference("chance", (min(states), max(states)), (chance, chance)) for chance in chances),
        failures=failures_of(series, on_axis=False),
        names=AT_POINTS,
        about=caption(run, ["recall"]),
        notes=("bar: 95% interval over sequences",),
        place=Place("recall", "accuracy", "state", name, "learned", "recall_state"),
    )
