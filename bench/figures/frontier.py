"""Builds the figures of the frontier: the longest sequence, and the largest batch, that fit into the memory.

The x axis has the modes (prefill, training, decoding); each model has a point in each. What has no limit within the
search, or is not limited by memory at all, is on the dotted line at the top.
"""

from __future__ import annotations

from dataclasses import dataclass

from lengthscale.bench.analysis import frontier, text
from lengthscale.bench.figures.costs import failures_of
from lengthscale.bench.figures.run import Run, caption, series_of
from lengthscale.bench.figures.spec import CROWD, Axis, DrawnCurve, Figure, Mark, Place, Reference
from lengthscale.bench.results.csv_table import TextRow

MEASURE = "frontier"
WIDTH = 0.5  # of the x axis from one mode to the next, over which a mode's points are spread


@dataclass(frozen=True)
class Quantity:
    """What is searched: its columns, its labels and the end of the search."""

    column: str
    how: str
    title: str
    label: str
    cap: int  # as in bench/device/shapes.py


QUANTITIES = {
    "longest": Quantity(
        "longest_tokens", "longest_how", "The longest sequence that fits", "sequence length (tokens)", 1 << 24
    ),
    "batch": Quantity(
        "largest_batch", "largest_batch_how", "The largest batch that fits", "batch (sequences)", 1 << 16
    ),
}


def figures(run: Run) -> list[Figure]:
    """A figure of the longest sequences, and one of the largest batches for each length, where the run has any."""
    rows = run.rows.get(MEASURE, [])
    made = [_figure(run, frontier.longest(rows), "longest", "")]
    for length in sorted({row.length for row in rows}):
        made.append(_figure(run, [row for row in rows if row.length == length], "batch", text.length(length)))
    return [each for each in made if each]


def _figure(run: Run, rows: list[TextRow], y: str, at: str) -> Figure | None:
    """The figure of a quantity; None where it has no point. at: the length to which it belongs, in words, or ""."""
    quantity = QUANTITIES[y]
    shown = [row for row in rows if row.ok and value_of(row, quantity) is not None]
    if not shown:
        return None
    series: dict[str, list[TextRow]] = {}
    for each in series_of(MEASURE, shown):
        for row in each.rows:
            name = each.name.replace(f"{each.key.name}{each.key.in_chunks}", each.key.name)
            series.setdefault(name.replace(each.key.name, frontier.name_of(row)), []).append(row)
    modes = [mode for mode in frontier.MODES if any(row.text("mode") == mode for row in shown)]
    curves = tuple(
        _curve(name, mine, modes, (number + 0.5) / len(series) - 0.5, quantity)
        for number, (name, mine) in enumerate(series.items())
    )
    return Figure(
        title=quantity.title + (f" at {at} tokens" if at else ""),
        x=Axis("", ticks=tuple((float(place), frontier.MODES[mode]) for place, mode in enumerate(modes)), margin=0.1),
        y=Axis(quantity.label, "log", from_zero=False),
        curves=curves,
        marks=_cap(curves, quantity),
        failures=failures_of(series_of(MEASURE, run.cells(MEASURE)), on_axis=False),
        crowded=len(curves) > CROWD,
        about=caption(run, [MEASURE]),
        notes=("hollow: planned by the compiler; full: at least one point was confirmed by a run", _memory(run)),
        place=Place(MEASURE, y, "mode", f"{MEASURE}-{y}{f'-{at}' if at else ''}", MEASURE, MEASURE),
    )


def value_of(row: TextRow, quantity: Quantity) -> float | None:
    """The value that is drawn: the end of the search where there is no limit; None where nothing was found."""
    if row.text(quantity.how) == frontier.UNLIMITED:
        return quantity.cap
    return row.known(quantity.column)


def _curve(name: str, rows: list[TextRow], modes: list[str], aside: float, quantity: Quantity) -> DrawnCurve:
    """The points of one model. aside: where they are within a mode, from -0.5 to 0.5."""
    rows = sorted(rows, key=lambda row: modes.index(row.text("mode")))
    return DrawnCurve(
        model=rows[0].text("model"),
        name=name,
        x=tuple(modes.index(row.text("mode")) + WIDTH * aside for row in rows),
        y=tuple(float(value_of(row, quantity) or 0) for row in rows),
        rows=tuple(row.number_in_file for row in rows),
        joined=False,
        hollow=all(row.text(quantity.how) != frontier.CONFIRMED for row in rows),
    )


def _cap(curves: tuple[DrawnCurve, ...], quantity: Quantity) -> tuple[Mark, ...]:
    """The line of what has no limit, if anything is on it."""
    if not any(y == quantity.cap for curve in curves for y in curve.y):
        return ()
    ends = [x for curve in curves for x in curve.x]
    low, high = min(ends) - WIDTH / 4, max(ends) + WIDTH / 4
    cap = float(quantity.cap)
    return (Reference(f"{text.rounded_length(cap)} or more", (low, high), (cap, cap)),)


def _memory(run: Run) -> str:
    return f"memory: {frontier.limits(frontier.longest(run.rows[MEASURE]))}"
