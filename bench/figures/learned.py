"""Builds the figures of what length buys: loss and accuracy against context, length, items, and while training.

Losses on text, images and tasks are not comparable, so each kind of data has figures of its own, and so has each size
of the models. If there are several training lengths, the curves of the one at which a model learned best (by its
training loss) are in full colour and have names; the others are faint.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from lengthscale.bench.analysis import text
from lengthscale.bench.analysis.learned import LEARNED, UNTUNED, best_lengths, is_untuned
from lengthscale.bench.data.titles import title_of
from lengthscale.bench.figures.costs import failures_of
from lengthscale.bench.figures.published import published
from lengthscale.bench.figures.run import Group, Run, Series, caption, series_of
from lengthscale.bench.figures.spec import Axis, DrawnCurve, Ends, Figure, Mark, Place, Reference, Rule
from lengthscale.bench.plan.series import size_name
from lengthscale.bench.results.csv_table import TextRow

FAINT = "faint: trained at other lengths, with a higher training loss"


class Against(NamedTuple):
    """What a figure of this kind has on its x axis."""

    title: str  # the end of the figure's title
    label: str
    x: str  # its name in `plot --x`
    is_length: bool = True  # the training length can be marked on the axis


AGAINST = {  # by column
    "context": Against("on the same targets", "context before the targets (tokens)", "context"),
    "eval_length": Against("beyond the training length", "held-out sequence length (tokens)", "length"),
    "n_items": Against("with more to remember", "items to remember", "items", is_length=False),
    "seen_tokens": Against("while training", "tokens trained on", "tokens", is_length=False),
    "seen_s": Against("while training, in time", "training, without compiling (s)", "seconds", is_length=False),
}
TRAINING = ("seen_tokens", "seen_s")


def figures(run: Run) -> list[Figure]:
    """The figures of each measure and each group of rows, for every column of AGAINST that has points."""
    made = []
    for measure in LEARNED:
        for number, (group, rows) in enumerate(run.groups(measure).items()):
            for x in AGAINST:
                columns = _columns(rows, x)
                for column in columns:
                    y = "loss" if column == "seen_loss" else column
                    name = f"{measure}-{y}-{x.replace('_', '-')}-{number}"
                    place = Place(
                        measure, y, AGAINST[x].x, name, "learned", _file(measure, x, column, column == columns[-1])
                    )
                    made.append(_figure(run, group, x, column, place))
    return made


def _columns(rows: list[TextRow], x: str) -> list[str]:
    """The columns that are drawn against x."""
    good = [row for row in rows if row.ok and row.has(x)]
    if x == "eval_length" and not any(row.number(x) > row.length for row in good):
        return []
    if x in TRAINING:
        return ["seen_loss"] if good else []
    return [column for column in ("loss", "accuracy") if any(row.has(column) for row in good)]


def by_data(run: Run, measure: str = "quality") -> dict[str, list[TextRow]]:
    """The rows of each kind of data, in the order of the file."""
    found: dict[str, list[TextRow]] = {}
    for row in run.rows.get(measure, ()):
        found.setdefault(row.text("data"), []).append(row)
    return found


def heading(run: Run, measure: str, group: Group) -> str:
    """The data in plain words, with the size of the models where the measure has several."""
    several = len({each.size for each in run.groups(measure)}) > 1
    return f"{title_of(group.data)}{f' ({size_name(group.size)})' if several else ''}"


def _file(measure: str, x: str, column: str, last: bool) -> str:
    """The picture that the figure is a part of; "": none. last: it is the last column; accuracy, if there is one."""
    if x in TRAINING:
        return f"{measure}_training"
    if measure != "quality":
        return measure if column == "accuracy" else ""
    if x == "context":
        return "quality_loss" if column == "loss" else ""
    return "quality_beyond" if last else ""


def loss_label(rows: Iterable[TextRow]) -> str:
    """The label of a loss's axis. Rows without an accuracy are of a regression, whose loss is the squared error."""
    return "loss (nats a target)" if any(row.has("accuracy") for row in rows) else "squared error"


def _figure(run: Run, group: Group, x: str, column: str, place: Place) -> Figure:
    measure, kind = place.measure, AGAINST[x]
    rows = run.groups(measure)[group]
    good = [row for row in rows if row.ok and row.has(x)]
    best = best_lengths(rows, measure)
    series = [each for each in series_of(measure, rows, each_length=True) if _points(each, x, column)]
    trained = {best.get(each.key, each.rows[0].length) for each in series}
    only = trained.pop() if len(trained) == 1 and kind.is_length else None
    several = len({each.rows[0].length for each in series}) > 1
    curves = [_curve(each, x, column, best, several) for each in series]
    others = published(group, x, column, only, {curve.model for curve in curves})
    lengths = () if x in TRAINING else tuple(sorted({row.whole(x) for row in good}))
    notes = [] if x in TRAINING else [f"{column}'s band: 95% interval"]
    notes += [FAINT] if any(curve.faint for curve in curves) else []
    notes += dict.fromkeys(note for _, note in others)
    unit = column if column == "accuracy" else loss_label(row for row in rows if row.ok)
    return Figure(
        title=f"{place.y.capitalize()} {kind.title}: {heading(run, measure, group)}",
        subtitle=(group.data,) if title_of(group.data) != group.data else (),
        x=Axis(kind.label, "log", lengths=lengths, trained=only),
        y=Axis(unit, from_zero=False, limits=(0.0, 1.03) if measure != "quality" and column == "accuracy" else None),
        curves=(*curves, *(curve for curve, _ in others)),
        marks=(
            *([Rule(x=float(only))] if only else []),
            *_references(run, group.data, x, column),
            *_chance(good, x, column),
        ),
        failures=failures_of(series_of(measure, rows), on_axis=False),
        about=caption(run, [measure]),
        notes=tuple(notes),
        place=place,
    )


def _points(each: Series, x: str, column: str) -> list[TextRow]:
    points = [row for row in each.good(x) if row.has(column)]
    if x == "n_items":  # the training task has no number of its own in its rows
        return sorted(points, key=lambda row: row.number(x))
    points = [row for row in points if not row.has("n_items")]
    return sorted(points, key=lambda row: row.number(x))


def _curve(each: Series, x: str, column: str, best: dict, several: bool) -> DrawnCurve:
    points = _points(each, x, column)
    length = points[0].length
    full = best.get(each.key, length) == length
    name = f"{each.name}{f' ({UNTUNED})' if is_untuned(points[0]) else ''}"
    low, high = (tuple(row.number(f"{column}_{end}") for row in points) for end in ("low", "high"))
    return DrawnCurve(
        model=each.model,
        name=f"{name}, trained at {text.length(length)}" if several else name,
        x=tuple(row.number(x) for row in points),
        y=tuple(row.number(column) for row in points),
        rows=tuple(row.number_in_file for row in points),
        dash=each.dash,
        interval=None if column == "seen_loss" else Ends(low, high),
        faint=not full,
    )


def _references(run: Run, data: str, x: str, column: str) -> list[Mark]:
    """The losses of n-grams, each at the context that it reads, and of LZMA, as lines behind the curves."""
    if (x, column) != ("context", "loss"):
        return []
    mine = [point for point in run.references if point.data == data and point.context]
    lines: list[Mark] = []
    for name, points in (
        ("n-grams", [point for point in mine if point.name != "LZMA"]),
        ("LZMA", [point for point in mine if point.name == "LZMA"]),
    ):
        if points:
            lines.append(Reference(name, tuple(float(p.context) for p in points), tuple(p.loss for p in points)))
    return lines


def _chance(good: list[TextRow], x: str, column: str) -> list[Mark]:
    """The level of chance at each x, as a line behind the curves; an empty list where it is not known."""
    found: dict[float, float] = {}
    for row in good:
        if row.has(f"chance_{column}"):
            found.setdefault(row.number(x), row.number(f"chance_{column}"))
    return [Reference("chance", tuple(sorted(found)), tuple(found[at] for at in sorted(found)))] if found else []
