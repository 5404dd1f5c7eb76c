"""A picture is panels and a caption; here they become a figure in which no text lies on another."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lengthscale.bench.figures.mpl.failures import ROW, Failures, Strip, stack
from lengthscale.bench.figures.mpl.labels import MOST, End, Label, attach, settle
from lengthscale.bench.figures.mpl.style import Theme, plt

_SIZES = {1: (5.8, 4.0), 2: (4.8, 2.7), 3: (3.8, 2.7)}  # panels beside each other -> inches of each


@dataclass(frozen=True)
class Drawn:
    """What a panel leaves to be written around its axes."""

    ends: list[End]
    failures: list[Failures]  # of each curve, also where nothing failed


@dataclass(frozen=True)
class Panel:
    measure: str
    title: str
    draw: Callable[..., Drawn]  # (axes, theme)
    notes: tuple[str, ...] = ()  # for the caption: what its lines mean
    beside: bool = False  # whether names stand at their points, and not at the right


def render(panels: list[Panel], theme: Theme, caption: Iterable[str]) -> Figure:
    """The figure, its layout done for good. Call it, and what saves it, with the theme applied."""
    columns = len(panels) if len(panels) <= 3 else 2
    rows = -(-len(panels) // columns)
    width, height = _SIZES[columns][0] * columns, _SIZES[columns][1] * rows
    figure, grid = plt.subplots(rows, columns, figsize=(width, height), squeeze=False, layout="constrained")
    for axes in grid.flat[len(panels) :]:
        axes.set_visible(False)
    every = list(zip(grid.flat, panels, strict=False))
    drawn = [panel.draw(axes, theme) for axes, panel in every]
    lines = _wrapped(caption, width)
    figure.supxlabel("\n".join(lines), x=0.01, ha="left", fontsize=7, color=theme.muted, linespacing=1.25)
    strips = []
    for (axes, panel), each in zip(every, drawn, strict=True):
        axes.set_title(panel.title)
        strips.append([Strip(axes, failures, theme) for failures in each.failures if failures.at])
    _write(_Sheet(figure, every, strips, columns, height + 9 / 72 * len(lines)), drawn, theme)
    figure.set_layout_engine("none")
    return figure


@dataclass(frozen=True)
class _Sheet:
    figure: Figure
    every: list[tuple[Axes, Panel]]
    strips: list[list[Strip]]  # of each panel
    columns: int
    height: float  # inches, without the strips

    def lay_out(self) -> None:
        """Once more where what failed takes more lines than there are."""
        self._stack()
        settled = [strip.settle() for mine in self.strips for strip in mine]
        if not all(settled):
            self._stack()
            for strip in (strip for mine in self.strips for strip in mine):
                strip.settle()

    def _stack(self) -> None:
        rows = [stack(axes, mine) for (axes, _), mine in zip(self.every, self.strips, strict=True)]
        highest = [max(rows[start : start + self.columns]) for start in range(0, len(rows), self.columns)]
        self.figure.set_figheight(self.height + ROW / 72 * sum(highest))
        self.figure.draw_without_rendering()


def _write(sheet: _Sheet, drawn: list[Drawn], theme: Theme) -> None:
    """Names at the ends; where there are too many for that, or they have no room, in a legend."""
    labels: list[list[Label]] = []
    if all(len({end.text for end in each.ends}) <= MOST for each in drawn):
        for (axes, panel), each in zip(sheet.every, drawn, strict=True):
            labels.append(attach(axes, each.ends, theme, panel.beside))
    else:
        _draw_legend(sheet.figure, drawn)
    sheet.lay_out()
    if all(settle(axes, mine, panel.beside) for (axes, panel), mine in zip(sheet.every, labels, strict=False)):
        return
    for _, label in (each for mine in labels for each in mine):
        label.remove()
    _draw_legend(sheet.figure, drawn)
    sheet.lay_out()


def _draw_legend(figure, drawn: list[Drawn]) -> None:
    """In the order of the first panel's ends, the highest first."""
    ends: dict[str, End] = {}
    for each in drawn:
        for end in sorted(each.ends, key=lambda end: -end.y):
            ends.setdefault(end.text, end)
    figure.legend(
        handles=[Line2D([], [], color=e.colour, marker=e.marker, ls=e.line, label=name) for name, e in ends.items()],
        loc="outside right upper",
    )


def _wrapped(pieces: Iterable[str], width: float) -> list[str]:
    """Lines of a caption, broken between its pieces."""
    most = int(width * 72 / 4.0)  # letters of 7 points
    lines: list[str] = []
    for piece in pieces:
        if lines and len(lines[-1]) + len(piece) + 3 <= most:
            lines[-1] += f" · {piece}"
        else:
            lines.append(piece)
    return lines
