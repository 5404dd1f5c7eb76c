"""A figure described once, for the renderer of files (mpl/) and for the page (html/).

A `Figure` is one pair of axes: curves, marks behind them, what failed, notes. A `Sheet` is the figures of one file. A
description holds plain numbers and words and knows neither matplotlib nor plotly; a number that is missing is nan.
Builders (costs.py, learned.py, ...) make descriptions of a run; a renderer decides on pixels, never on data.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby

from lengthscale.bench.analysis import text

Numbers = tuple[float, ...]
AT_ENDS, AT_POINTS, IN_LEGEND, NOWHERE = "at ends", "at points", "in a legend", ""  # where curves have their names


@dataclass(frozen=True)
class Axis:
    """Ticks stand at `lengths` as far as there is room, or exactly at `ticks`; without either at round numbers."""

    label: str
    scale: str = "linear"  # or log, or symlog: linear up to `linear_to`, logarithmic beyond
    lengths: tuple[int, ...] = ()
    trained: int | None = None  # a length that always has its tick, which says that models were trained at it
    ticks: tuple[tuple[float, str], ...] = ()
    upright: bool = True  # False: the ticks' words are turned
    limits: tuple[float, float] | None = None
    margin: float | None = None  # share of the axis that stays free at both ends
    linear_to: float = 1.0
    from_zero: bool = True  # where the page shows it as a linear axis


@dataclass(frozen=True)
class Ends:
    """The lower and upper ends at each point of a curve."""

    low: Numbers
    high: Numbers


@dataclass(frozen=True)
class Curve:
    """Of one model, which gives its colour and marker. One without points is words in the legend."""

    model: str  # "": none; grey
    name: str  # the model's, with what else tells it from its neighbours
    x: Numbers
    y: Numbers
    rows: tuple[int, ...] = ()  # of each point the number of its row in the measure's CSV
    dash: int = 0  # rank of the line's style (style.DASHES)
    interval: Ends | None = None  # 95%, of y
    spread: Ends | None = None  # p10 to p90, of y
    across: Ends | None = None  # 95%, of x
    planned: Numbers = ()  # memory, as the compiler planned it
    beyond: tuple[Numbers, Numbers] | None = None  # (x, y) of the extrapolation
    faint: bool = False  # of a group whose main curve has the name
    joined: bool = True  # False: points, no line
    hollow: bool = False
    run: int = 0  # 1: the second folder's


@dataclass(frozen=True)
class Reference:
    """A line behind the curves, such as chance; `steps`: constant up to the next x."""

    name: str
    x: Numbers
    y: Numbers
    steps: bool = False


@dataclass(frozen=True)
class Slope:
    """A line of known slope on logarithmic axes, from (start, value) to `end`, as far as it is within the axes."""

    name: str
    slope: int
    start: float
    end: float
    value: float


@dataclass(frozen=True)
class Rule:
    """A line across the whole axes, at one x or one y."""

    x: float | None = None
    y: float | None = None
    solid: bool = False
    model: str = ""  # whose colour it has
    name: str = ""  # in the legend


@dataclass(frozen=True)
class Span:
    """A shaded part of the y axis."""

    low: float
    high: float


@dataclass(frozen=True)
class Words:
    """On the right of a point."""

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
    """The part of the x axis that was not measured begins here."""

    start: float


@dataclass(frozen=True)
class Crossing:
    """Where one curve passes another, with its 95% interval (to the range's end where that is open)."""

    length: float
    low: float
    high: float
    text: str


Mark = Reference | Slope | Rule | Span | Words | Cross | Extrapolated | Crossing


@dataclass(frozen=True)
class Failure:
    """A cell that is not ok, where its curve would have had a point."""

    length: int
    status: str
    row: int  # its number in the measure's CSV


@dataclass(frozen=True)
class Failures:
    """A curve's cells that are not ok."""

    model: str
    name: str
    at: tuple[Failure, ...]
    lengths: tuple[int, ...]  # all that were asked for
    on_axis: bool = True  # whether the x axis is that of these lengths
    run: int = 0

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
    """A ratio in each place, the first row on top; nan: none, then the text says why."""

    columns: tuple[str, ...]
    rows: tuple[str, ...]
    values: tuple[Numbers, ...]
    texts: tuple[tuple[str, ...], ...]
    most: float  # the ratio at which the colours end, and its inverse


@dataclass(frozen=True)
class Place:
    """What a figure is about, and where it is shown."""

    measure: str = ""  # whose rows its points are; "": they are numbers in the page's own table
    y: str = ""  # the quantity, as `plot --y` calls it
    x: str = "length"  # what it is drawn against, as `plot --x` calls it
    name: str = ""  # such as train-time: the page's anchor
    group: str = ""  # of the page's groups; "": it is not on the page
    file: str = ""  # the picture in plots/ that it is a part of; "": none, but it may be asked for


@dataclass(frozen=True)
class Figure:
    """One picture: its axes and what is on them."""

    title: str
    x: Axis
    y: Axis
    curves: tuple[Curve, ...] = ()
    marks: tuple[Mark, ...] = ()
    failures: tuple[Failures, ...] = ()
    heat: HeatMap | None = None
    names: str = AT_ENDS
    subtitle: tuple[str, ...] = ()
    crowded: bool = False  # bars instead of bands, which would be a fog
    about: tuple[str, ...] = ()  # what it was measured with, piece by piece
    notes: tuple[str, ...] = ()  # what its lines mean
    place: Place = Place()
    of_two_runs: bool = False  # then A and B are told apart by the curves' and failures' `run`


@dataclass(frozen=True)
class Sheet:
    """The figures of one file."""

    figures: tuple[Figure, ...]
    caption: tuple[str, ...]
    columns: int = 0  # 0: by the number of figures
    size: tuple[float, float] | None = None  # inches of each figure; None: by the number of columns
    legend_on_top: bool = False  # one for all figures


CROWD = 9  # at most so many names next to one pair of axes, and bands in it; beyond, a legend and bars
