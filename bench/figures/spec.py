"""Descriptions of figures. Both renderers draw the same ones: mpl/ writes files and html/ writes the page.

A `Figure` is one pair of axes: its curves, the marks behind them, its failures and its notes. A `Sheet` is the figures
of one file. A description holds plain numbers and words and uses neither matplotlib nor plotly; a missing number is
nan. Builders (costs.py, learned.py, ...) describe the figures of a run; a renderer decides on pixels, never on data.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby

from lengthscale.bench.analysis import text

Numbers = tuple[float, ...]
AT_ENDS, AT_POINTS, IN_LEGEND, NOWHERE = "at ends", "at points", "in a legend", ""  # where the curves' names stand


@dataclass(frozen=True)
class Axis:
    """An axis of a figure: its label, scale, limits and ticks.

    The ticks are at `lengths` as far as there is room, or at exactly `ticks`; without either, at round numbers.
    """

    label: str
    scale: str = "linear"  # or log, or symlog: linear up to `linear_to`, logarithmic beyond
    lengths: tuple[int, ...] = ()
    trained: int | None = None  # the length of training: it always has a tick, which says "trained"
    ticks: tuple[tuple[float, str], ...] = ()  # (position, text)
    upright: bool = True  # False: the texts of the ticks are rotated by 90 degrees
    limits: tuple[float, float] | None = None
    margin: float | None = None  # share of the axis that stays free at each end
    linear_to: float = 1.0
    from_zero: bool = True  # whether the axis starts at 0 while the page shows it with a linear scale


@dataclass(frozen=True)
class Ends:
    """The lower and the upper end of an interval at each point of a curve."""

    low: Numbers
    high: Numbers


@dataclass(frozen=True)
class DrawnCurve:
    """A curve of one model, which determines its colour and marker. A curve without points is a text in the legend."""

    model: str  # "": the curve belongs to no model and is grey
    name: str  # the model's name and what distinguishes this curve from similar ones
    x: Numbers
    y: Numbers
    rows: tuple[int, ...] = ()  # for each point, the number of its row in the measure's CSV
    dash: int = 0  # index of the line's style (style.DASHES)
    interval: Ends | None = None  # the 95% interval of y
    spread: Ends | None = None  # p10 to p90 of y
    across: Ends | None = None  # the 95% interval of x
    planned: Numbers = ()  # memory, as the compiler planned it
    beyond: tuple[Numbers, Numbers] | None = None  # (x, y) of the extrapolation
    faint: bool = False  # True: a pale curve without a name, next to a main curve that has one
    joined: bool = True  # False: points without a line
    hollow: bool = False  # whether the markers are hollow
    run: int = 0  # 0: the first folder, A; 1: the second folder, B


@dataclass(frozen=True)
class Reference:
    """A line behind the curves, such as the level of chance. steps: y is constant up to the next x."""

    name: str
    x: Numbers
    y: Numbers
    steps: bool = False


@dataclass(frozen=True)
class Slope:
    """A guide line of known slope on logarithmic axes, from x = start, y = value to x = end, cut off at the axes."""

    name: str
    slope: int
    start: float
    end: float
    value: float


@dataclass(frozen=True)
class Rule:
    """A line across the whole axes, at one x or at one y."""

    x: float | None = None
    y: float | None = None
    solid: bool = False
    model: str = ""  # the model whose colour it has; "": grey
    name: str = ""  # its name in the legend; "": it is not in the legend


@dataclass(frozen=True)
class Span:
    """A shaded band across the whole axes, from y = low to y = high."""

    low: float
    high: float


@dataclass(frozen=True)
class Words:
    """Words to the right of a point."""

    text: str
    x: float
    y: float


@dataclass(frozen=True)
class Cross:
    """A point that could not be measured."""

    model: str
    x: float
    y: float


@dataclass(frozen=True)
class Extrapolated:
    """The part of the x axis that was not measured. It begins at `start`."""

    start: float


@dataclass(frozen=True)
class DrawnCrossing:
    """The length where two curves cross, with its 95% interval; an open interval ends at the end of the range."""

    length: float
    low: float
    high: float
    text: str


Mark = Reference | Slope | Rule | Span | Words | Cross | Extrapolated | DrawnCrossing


@dataclass(frozen=True)
class Failure:
    """A cell that is not ok, at the length where its curve would have a point."""

    length: int
    status: str
    row: int  # the number of its row in the measure's CSV


@dataclass(frozen=True)
class Failures:
    """The cells of one curve that are not ok. As text, they read like "mamba: timeout at 8k to 32k"."""

    model: str
    name: str
    at: tuple[Failure, ...]
    lengths: tuple[int, ...]  # all requested lengths of the curve
    on_axis: bool = True  # whether the figure's x axis shows these lengths
    run: int = 0  # as in DrawnCurve

    def __str__(self) -> str:
        status = {failure.length: failure.status for failure in self.at}
        what: dict[str, list[str]] = {}
        for key, run in groupby(sorted(set(self.lengths)), key=status.get):
            if key:
                what.setdefault(key, []).append(_range([text.length(length) for length in run]))
        return f"{self.name}: " + "; ".join(f"{key} at {', '.join(where)}" for key, where in what.items())


def _range(lengths: list[str]) -> str:
    return ", ".join(lengths) if len(lengths) < 3 else f"{lengths[0]} to {lengths[-1]}"


@dataclass(frozen=True)
class HeatMap:
    """A table of coloured ratios, with the first row on top. Where a value is nan, its text says why."""

    columns: tuple[str, ...]  # labels
    rows: tuple[str, ...]  # labels
    values: tuple[Numbers, ...]  # for each row, the value of each column
    texts: tuple[tuple[str, ...], ...]  # for each value, what is written there
    most: float  # the colours range from 1 / most to most


@dataclass(frozen=True)
class Bar:
    """A bar of stacked parts. Bars of the same group stand together."""

    model: str
    group: str  # the model's name and what distinguishes these bars from similar ones
    label: str  # its text below the axis
    heights: Numbers  # of each part
    rows: tuple[int, ...]  # for each part, the number of its row in the measure's CSV
    run: int = 0  # as in DrawnCurve


@dataclass(frozen=True)
class Bars:
    """Stacked bars, from left to right, and the names of their parts, from the bottom up."""

    parts: tuple[str, ...]
    bars: tuple[Bar, ...]


@dataclass(frozen=True)
class Place:
    """What a figure is about, and where it is shown."""

    measure: str = ""  # DrawnCurve.rows counts this measure's rows; "": it counts the rows of the page's table
    y: str = ""  # the quantity on the y axis, by its name in `plot --y`
    x: str = "length"  # the quantity on the x axis, by its name in `plot --x`
    name: str = ""  # its anchor on the page, such as train-time
    group: str = ""  # its group on the page (catalog.GROUPS); "": it is not on the page
    file: str = ""  # the picture in plots/ that it is a part of; "": none, but `plot --y` can draw it


@dataclass(frozen=True)
class Figure:
    """One pair of axes and everything that is drawn on them."""

    title: str
    x: Axis
    y: Axis
    curves: tuple[DrawnCurve, ...] = ()
    marks: tuple[Mark, ...] = ()
    failures: tuple[Failures, ...] = ()
    heat: HeatMap | None = None
    bars: Bars | None = None
    names: str = AT_ENDS
    subtitle: tuple[str, ...] = ()
    crowded: bool = False  # True: intervals are bars, because so many bands would cover each other
    about: tuple[str, ...] = ()  # parts of the caption: the device, the versions and the settings of the measurement
    notes: tuple[str, ...] = ()  # parts of the caption: what the lines mean
    place: Place = Place()
    of_two_runs: bool = False  # whether it shows A and B, which the `run` of curves and failures distinguishes

    def models(self) -> dict[str, str]:
        """The name of each curve and of each group of bars -> its model."""
        bars = self.bars.bars if self.bars else ()
        return {curve.name: curve.model for curve in self.curves} | {bar.group: bar.model for bar in bars}


@dataclass(frozen=True)
class Sheet:
    """The figures of one file."""

    figures: tuple[Figure, ...]
    caption: tuple[str, ...]
    columns: int = 0  # 0: the number of figures determines it
    size: tuple[float, float] | None = None  # of each figure, in inches; None: the number of columns determines it
    legend_on_top: bool = False  # whether all figures share one legend above them


CROWD = 9  # with more curves than this, a figure has a legend and bars instead of names at the curves and bands
