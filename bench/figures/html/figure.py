"""What a plot of the report is made of; assets/charts.js draws it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from lengthscale.bench.figures.mpl.costs import BANDS, BARS, PLANNED
from lengthscale.bench.figures.mpl.guides import EXTRAPOLATED
from lengthscale.bench.figures.mpl.labels import MOST
from lengthscale.bench.figures.mpl.style import DARK, LIGHT, STYLE
from lengthscale.models import present_name

GROUPS = {
    "ratio": "B over A",
    "time": "Time",
    "throughput": "Throughput",
    "memory": "Memory",
    "state": "State and KV cache",
    "learned": "What length buys",
    "share": "Share of the machine's limit",
    "compile": "Compiling",
}
_SYMBOLS = {
    **{"o": "circle", "s": "square", "^": "triangle-up", "D": "diamond", "v": "triangle-down", "P": "cross"},
    **{"X": "x", "*": "star", "<": "triangle-left", ">": "triangle-right"},
}


@dataclass
class Curve:
    """A model's in one plot. Lists are as long as x; a number that is missing is None, and a list of none is empty."""

    model: str
    name: str  # the model's, with what else tells it from its neighbours
    x: list
    y: list
    rows: list[int]  # of the table of measurements: what is said of each point
    run: int = 0  # 1: the second folder's
    dash: str = "solid"
    low: list = field(default_factory=list)  # of the 95% interval
    high: list = field(default_factory=list)
    p10: list = field(default_factory=list)
    p90: list = field(default_factory=list)
    planned: list = field(default_factory=list)  # memory, as the compiler planned it
    beyond: tuple[list, list] | tuple = ()  # (x, y) of the extrapolation
    faint: bool = False  # of a group whose main curve has the name
    joined: bool = True  # False: points, no line


@dataclass
class Failed:
    """A curve's cells that are not ok."""

    model: str
    name: str
    x: list[int]
    rows: list[int]
    run: int = 0


@dataclass
class Figure:
    name: str  # such as train-time; the page's anchor
    group: str  # of GROUPS
    title: str
    x_label: str
    y_label: str
    curves: list[Curve]
    lengths: list[int] = field(default_factory=list)  # ticks of the x axis; none: round numbers
    y_log: bool = True  # to begin with; the x axis is logarithmic to begin with
    from_zero: bool = True  # the linear y axis
    failed: list[Failed] = field(default_factory=list)
    said: list[str] = field(default_factory=list)  # what failed, in words
    guides: list[tuple[str, list, list]] = field(default_factory=list)  # (name, x, y): lines behind the curves
    crossing: dict | None = None  # guides.Crossing
    crowded: bool = False  # bars instead of bands, which would be a fog
    about: str = ""  # what it was measured with
    notes: list[str] = field(default_factory=list)  # what its lines mean

    @property
    def caption(self) -> str:
        return " · ".join([*([self.about] if self.about else []), *self.notes])


def numbers(values: Iterable) -> list[float | None]:
    """For JSON, which knows no NaN: that and infinity are None."""
    return [float(value) if math.isfinite(value) else None for value in values]


def dash(line: str | tuple, width: float = 2) -> str:
    """matplotlib's style of a line as plotly's."""
    return "solid" if isinstance(line, str) else ",".join(f"{length * width:g}px" for length in line[1])


def look(model: str) -> dict:
    """{light, dark: [a model's colour, the same for letters], symbol}, as in every other picture."""
    _, marker = STYLE.get(present_name(model), ("", "o"))
    colours = {theme.name: theme.colour(model) for theme in (LIGHT, DARK)}
    inks = {theme.name: theme.readable(colours[theme.name]) for theme in (LIGHT, DARK)}
    return {**{name: [colour, inks[name]] for name, colour in colours.items()}, "symbol": _SYMBOLS[marker]}


def beside(first: list[Figure], second: list[Figure]) -> list[Figure]:
    """One set of two runs: the second's curves dashed in the first's figures, those of one alone as they are.

    What a line's style says is the run, so nothing else is drawn by lines: no plans, no extrapolations.
    """
    by_name = {figure.name: figure for figure in first}
    for letter, figures in (("A", first), ("B", second)):
        for figure in figures:
            figure.said = [f"{letter}: {each}" for each in figure.said]
            figure.crossing = None
            for curve in figure.curves:
                curve.name = f"{curve.name} {letter}"
                curve.run = "AB".index(letter)
                curve.dash, curve.planned, curve.beyond = ("solid", "dash")[curve.run], [], ()
            for failed in figure.failed:
                failed.name, failed.run = f"{failed.name} {letter}", "AB".index(letter)
    for figure in second:
        if (held := by_name.get(figure.name)) is None:
            by_name[figure.name] = figure
            continue
        held.curves += figure.curves
        held.failed += figure.failed
        held.said += figure.said
        held.lengths = sorted({*held.lengths, *figure.lengths})
        held.about = f"A: {held.about}; B: {figure.about}"
    for figure in by_name.values():
        figure.crowded = len(figure.curves) > MOST
        intervals = (BARS if figure.crowded else BANDS) if {BARS, BANDS} & {*figure.notes} else ""
        gone = {BARS, BANDS, PLANNED, EXTRAPOLATED}
        kept = [note for note in figure.notes if note not in gone]
        figure.notes = [*([intervals] if intervals else []), *kept, "A: solid and full, B: dashed and hollow"]
    return list(by_name.values())
