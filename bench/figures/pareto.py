"""Builds the figures of loss against cost, with the Pareto front: time, FLOPs and energy of training, and the state."""

from __future__ import annotations

from dataclasses import dataclass

from lengthscale.bench.analysis import text
from lengthscale.bench.data.titles import title_of
from lengthscale.bench.figures.costs import failures_of
from lengthscale.bench.figures.learned import by_data, loss_label
from lengthscale.bench.figures.run import Run, caption, series_of
from lengthscale.bench.figures.spec import AT_POINTS, Axis, DrawnCurve, Ends, Figure, Place, Reference
from lengthscale.bench.results.csv_table import TextRow

TITLES = {
    "seconds": "Loss against training time",
    "operations": "Loss against training FLOPs",
    "joules": "Loss against training energy",
    "state": "Loss against the state",
}
LABELS = {
    "seconds": "training, without compiling (s)",
    "operations": "training (FLOPs)",
    "joules": "training (J)",
    "state": "state of a sequence of the training length (bytes)",
}


@dataclass(frozen=True)
class Point:
    """A trained model: its row at the longest context, and its cost."""

    row: TextRow
    cost: float

    @property
    def loss(self) -> float:
        """The loss in the point's row."""
        return self.row.number("loss")


def figures(run: Run) -> list[Figure]:
    """For each kind of data, a figure of the loss against each cost.

    The loss is that at the longest context; without contexts, that at the training length.
    """
    made = []
    for number, (data, rows) in enumerate(by_data(run).items()):
        for cost in TITLES:
            if points := points_of(rows, cost):
                made.append(_figure(run, data, points, cost, f"quality-{cost}-{number}"))
    return made


def points_of(rows: list[TextRow], cost: str) -> list[Point]:
    """A point for each trained model. rows: those of one kind of data. cost: a key of TITLES."""
    good = [row for row in rows if row.ok and row.has("loss")]
    longest = max((row.number("context") for row in good if row.has("context")), default=None)
    if longest is not None:
        read = [row for row in good if row.number("context") == longest]
    else:
        read = [row for row in good if row.number("eval_length") == row.length]
    points = [Point(row, _cost_of(row, cost)) for row in read]
    return [point for point in points if point.cost == point.cost]  # without those whose cost is nan


def _cost_of(row: TextRow, cost: str) -> float:
    if cost == "state":
        return row.number("state_bytes")
    if cost == "joules":
        return row.number("joules_per_token") * row.number("train_tokens")
    if cost == "operations":
        return row.number("flops") * row.number("steps")
    return row.number("time_median_ms") / 1e3 * row.number("steps")


def front(points: list[Point]) -> list[Point]:
    """The points of the Pareto front, which no other point beats in both cost and loss; cheap ones come first."""
    best: list[Point] = []
    for point in sorted(points, key=lambda point: (point.cost, point.loss)):
        if not best or point.loss < best[-1].loss:
            best.append(point)
    return best


def _figure(run: Run, data: str, points: list[Point], cost: str, name: str) -> Figure:
    by_row = {point.row.number_in_file: point for point in points}
    several = len({point.row.length for point in points}) > 1
    series = series_of("quality", [point.row for point in points], each_length=True)
    curves = []
    for each in series:
        named = f"{each.name}, {text.length(each.rows[0].length)}" if several else each.name
        curves.append(_curve(each.model, named, [by_row[row.number_in_file] for row in each.rows]))
    contexts = [point.row.whole("context") for point in points if point.row.has("context")]
    where = f"longest context, {text.length(max(contexts))}" if contexts else "training length"
    best = front(points)
    rows = by_data(run)[data]
    return Figure(
        title=f"{TITLES[cost]}: {title_of(data)}",
        x=Axis(LABELS[cost], "log", margin=0.18, from_zero=False),
        y=Axis(loss_label(point.row for point in points), margin=0.12, from_zero=False),
        curves=tuple(curves),
        marks=(Reference("", tuple(p.cost for p in best), tuple(p.loss for p in best), steps=True),),
        failures=failures_of(series_of("quality", rows), on_axis=False),
        names=AT_POINTS,
        about=caption(run, ["quality"]),
        notes=(f"{data}: loss at the {where}", "bar: 95% interval over sequences", "dashed: the Pareto front"),
        place=Place("quality", "loss", "cost", name, "learned" if len(points) > 1 else "", "quality_cost"),
    )


def _curve(model: str, name: str, points: list[Point]) -> DrawnCurve:
    rows = [point.row for point in points]
    return DrawnCurve(
        model=model,
        name=name,
        x=tuple(point.cost for point in points),
        y=tuple(point.loss for point in points),
        rows=tuple(row.number_in_file for row in rows),
        interval=Ends(
            tuple(row.number("loss_low") for row in rows),
            tuple(row.number("loss_high") for row in rows),
        ),
        joined=False,
    )
