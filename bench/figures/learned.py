"""Builds the figures of what length buys: loss and accuracy against the context, and beyond the training length.

Losses on text, images and tasks are not comparable, so each kind of data has figures of its own. If there are several
training lengths, the curves of the longest are in full colour and have names; the others are faint.
"""

from __future__ import annotations

from collections.abc import Iterable

from lengthscale.bench.analysis import text
from lengthscale.bench.figures.costs import failures_of
from lengthscale.bench.figures.run import Run, Series, caption, series_of
from lengthscale.bench.figures.spec import Axis, DrawnCurve, Ends, Figure, Mark, Place, Reference, Rule
from lengthscale.bench.results.csv_table import TextRow

FAINT = "faint: trained at shorter lengths"
_AGAINST = {  # column -> (end of the title, label of the axis, its name in `plot --x`)
    "context": ("on the same targets", "context before the targets (tokens)", "context"),
    "eval_length": ("beyond the training length", "held-out sequence length (tokens)", "length"),
}


def figures(run: Run) -> list[Figure]:
    """The figures of loss and accuracy for each kind of training data.

    Streams give figures against the context. Figures against the length of held-out sequences are made where any of
    these sequences is longer than the training length.
    """
    made = []
    for number, (data, rows) in enumerate(by_data(run).items()):
        for x in _AGAINST:
            good = [row for row in rows if row.ok and row.has(x)]
            if x == "eval_length" and not any(row.number(x) > row.length for row in good):
                continue
            columns = [column for column in ("loss", "accuracy") if any(row.has(column) for row in good)]
            for column in columns:
                place = Place("quality", column, _AGAINST[x][2], file=_file(x, column, columns))
                made.append(_figure(run, data, x, place, f"quality-{column}-{x.replace('_', '-')}-{number}"))
    return made


def by_data(run: Run) -> dict[str, list[TextRow]]:
    """The rows of each kind of data, in the order of the file."""
    found: dict[str, list[TextRow]] = {}
    for row in run.rows.get("quality", ()):
        found.setdefault(row.text("data"), []).append(row)
    return found


def _file(x: str, column: str, columns: list[str]) -> str:
    """The picture that the figure is a part of. Beyond the training length it shows the accuracy if there is one."""
    if x == "context":
        return "quality_loss" if column == "loss" else ""
    return "quality_beyond" if column == columns[-1] else ""


def loss_label(rows: Iterable[TextRow]) -> str:
    """The label of a loss's axis. Rows without an accuracy are of a regression, whose loss is the squared error."""
    return "loss (nats a target)" if any(row.has("accuracy") for row in rows) else "squared error"


def data_name(data: str) -> str:
    """The name of the data, shortened if it is too long for a title."""
    return data if len(data) <= 24 else f"...{data[-21:]}"


def _figure(run: Run, data: str, x: str, place: Place, name: str) -> Figure:
    rows, column = by_data(run)[data], place.y
    good = [row for row in rows if row.ok and row.has(x)]
    longest = max(row.length for row in good)
    title, label, _ = _AGAINST[x]
    series = [each for each in series_of("quality", rows, each_length=True) if _points(each, x, column)]
    curves = tuple(_curve(each, x, column, longest) for each in series)
    faint = [FAINT] if any(curve.faint for curve in curves) else []
    return Figure(
        title=f"{column.capitalize()} {title}: {data_name(data)}",
        x=Axis(label, "log", lengths=tuple(sorted({row.whole(x) for row in good})), trained=longest),
        y=Axis(column if column == "accuracy" else loss_label(good), from_zero=False),
        curves=curves,
        marks=(Rule(x=float(longest)), *_chance(good, x, column)),
        failures=failures_of(series_of("quality", rows), on_axis=False),
        about=caption(run, ["quality"]),
        notes=(f"{column}'s band: 95% interval over sequences", *faint),
        place=Place(place.measure, place.y, place.x, name, "learned", place.file),
    )


def _points(each: Series, x: str, column: str) -> list[TextRow]:
    points = [row for row in each.good(x) if row.has(column)]
    return sorted(points, key=lambda row: row.number(x))


def _curve(each: Series, x: str, column: str, longest: int) -> DrawnCurve:
    points = _points(each, x, column)
    full = points[0].length == longest
    low, high = (tuple(row.number(f"{column}_{end}") for row in points) for end in ("low", "high"))
    return DrawnCurve(
        model=each.model,
        name=each.name if full else f"{each.name}, trained at {text.length(points[0].length)}",
        x=tuple(row.number(x) for row in points),
        y=tuple(row.number(column) for row in points),
        rows=tuple(row.number_in_file for row in points),
        dash=each.dash,
        interval=Ends(low, high),
        faint=not full,
    )


def _chance(good: list[TextRow], x: str, column: str) -> list[Mark]:
    """The level of chance at each x, as a line behind the curves; an empty list where it is not known."""
    found: dict[float, float] = {}
    for row in good:
        if row.has(f"chance_{column}"):
            found.setdefault(row.number(x), row.number(f"chance_{column}"))
    return [Reference("chance", tuple(sorted(found)), tuple(found[at] for at in sorted(found)))] if found else []
