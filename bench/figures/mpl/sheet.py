"""Draws the figures of one file and their caption as one picture, in which no two texts overlap."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from textwrap import wrap

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Picture
from matplotlib.lines import Line2D

from lengthscale.bench.figures.mpl.axes import draw
from lengthscale.bench.figures.mpl.failures import ROW, Strip, stack
from lengthscale.bench.figures.mpl.labels import End, Label, attach, settle
from lengthscale.bench.figures.mpl.theme import applied, plt, save
from lengthscale.bench.figures.spec import AT_POINTS, CROWD, Figure, Sheet
from lengthscale.bench.figures.style import THEMES, Theme

_SIZES = {1: (5.8, 4.0), 2: (4.8, 2.7), 3: (3.8, 2.7)}  # columns of figures -> (width, height) of each in inches
_LINE = 11  # height of a subtitle's line in points
_TITLE_LINE, _TITLE_LETTER = 12, 6.6  # height of a title's line and width of its letters in points
_TITLE_MARGIN = 0.4  # inches of a figure's width that its title does not have
KINDS = (".png", ".svg")


def write(sheet: Sheet, home: Path, name: str) -> list[Path]:
    """Write a light and a dark picture of the sheet into the folder `home`. Returns the paths of the files."""
    return [path for theme in THEMES.values() for path in write_one(sheet, theme, paths_of(home, name, theme))]


def write_one(sheet: Sheet, theme: Theme, paths: Iterable[Path]) -> list[Path]:
    """Write the sheet in one theme to these paths. Returns the paths of the files."""
    with applied(theme):
        return save(render(sheet, theme), paths)


def paths_of(home: Path, name: str, theme: Theme) -> list[Path]:
    """The paths of a picture of this theme; names of light pictures have no suffix."""
    suffix = "" if theme.name == "light" else f"-{theme.name}"
    return [home / f"{name}{suffix}{kind}" for kind in KINDS]


def render(sheet: Sheet, theme: Theme) -> Picture:
    """The picture of the sheet, with its final layout. Apply the theme (`applied`) to this call and to the saving."""
    count = len(sheet.figures)
    columns = sheet.columns or (count if count <= 3 else 2)
    rows = -(-count // columns)
    each_width, each_height = sheet.size or _SIZES[columns]
    width, height = each_width * columns, each_height * rows
    picture, grid = plt.subplots(rows, columns, figsize=(width, height), squeeze=False, layout="constrained")
    for axes in grid.flat[count:]:
        axes.set_visible(False)
    letters = int((each_width - _TITLE_MARGIN) * 72 / _TITLE_LETTER)
    panels = [_Panel(axes, figure, theme, letters) for axes, figure in zip(grid.flat, sheet.figures, strict=False)]
    lines = _wrapped(sheet.caption, width)
    picture.supxlabel("\n".join(lines), x=0.01, ha="left", fontsize=7, color=theme.muted, linespacing=1.25)
    titles = max(panel.above + _TITLE_LINE * (panel.title_lines - 1) for panel in panels) / 72
    layout = _Layout(picture, panels, columns, height + 9 / 72 * len(lines) + titles)
    if sheet.legend_on_top:
        _draw_shared_legend(picture, panels)
        layout.lay_out()
    else:
        _name_curves(layout, theme)
    picture.set_layout_engine("none")
    return picture


class _Panel:
    """One figure, drawn on its axes without the names of its curves."""

    def __init__(self, axes: Axes, figure: Figure, theme: Theme, letters: int):
        """letters: of a line of the title."""
        self.axes, self.figure = axes, figure
        self.ends: list[End] = draw(axes, figure, theme)
        self.above = _LINE * len(figure.subtitle)  # points between the axes and the title
        title = wrap(figure.title, letters)
        self.title_lines = len(title)
        axes.set_title("\n".join(title))
        self.strips = [Strip(axes, failures, theme) for failures in figure.failures]
        if figure.subtitle:
            below = {"xycoords": "axes fraction", "textcoords": "offset points", "va": "bottom", "fontsize": 7.5}
            axes.annotate("\n".join(figure.subtitle), (0, 1), xytext=(0, 4), color=theme.text, **below)

    @property
    def at_points(self) -> bool:
        """Whether the names stand next to their points."""
        return self.figure.names == AT_POINTS


@dataclass(frozen=True)
class _Layout:
    picture: Picture
    panels: list[_Panel]
    columns: int
    height: float  # inches, without the strips

    def lay_out(self) -> None:
        """Compute the layout. If the words of failures need more lines than expected, compute it a second time."""
        self._stack()
        settled = [strip.settle() for panel in self.panels for strip in panel.strips]
        if not all(settled):
            self._stack()
            for strip in (strip for panel in self.panels for strip in panel.strips):
                strip.settle()

    def _stack(self) -> None:
        rows = [stack(panel.axes, panel.strips, panel.above) for panel in self.panels]
        highest = [max(rows[start : start + self.columns]) for start in range(0, len(rows), self.columns)]
        self.picture.set_figheight(self.height + ROW / 72 * sum(highest))
        self.picture.draw_without_rendering()


def _name_curves(layout: _Layout, theme: Theme) -> None:
    """Write the names at the ends of the curves, or in a legend if there are too many or there is no room."""
    labels: list[list[Label]] = []
    if all(len({end.text for end in panel.ends}) <= CROWD for panel in layout.panels):
        labels = [attach(panel.axes, panel.ends, theme, panel.at_points) for panel in layout.panels]
    else:
        _draw_legend(layout)
    layout.lay_out()
    named = zip(layout.panels, labels, strict=False)
    if all(settle(panel.axes, mine, panel.at_points) for panel, mine in named):
        return
    for _, label in (each for mine in labels for each in mine):
        label.remove()
    _draw_legend(layout)
    layout.lay_out()


def _draw_legend(layout: _Layout) -> None:
    """Draw one legend for all figures. Its order is that of the first figure's ends, with the highest first."""
    ends: dict[str, End] = {}
    for panel in layout.panels:
        for end in sorted(panel.ends, key=lambda end: -end.y):
            ends.setdefault(end.text, end)
    layout.picture.legend(
        handles=[Line2D([], [], color=e.colour, marker=e.marker, ls=e.line, label=name) for name, e in ends.items()],
        loc="outside right upper",
    )


def _draw_shared_legend(picture: Picture, panels: list[_Panel]) -> None:
    handles = {}
    for panel in panels:
        lines, names = panel.axes.get_legend_handles_labels()
        handles |= dict(zip(names, lines, strict=True))
    columns = min(5, int(picture.get_figwidth() / 1.7))  # 1.7 inches are enough for a name
    picture.legend(handles.values(), handles.keys(), loc="outside upper center", ncols=columns, fontsize=8)


def _wrapped(pieces: Iterable[str], width: float) -> list[str]:
    """The lines of a caption, which are broken between its pieces only. width: of the picture, in inches."""
    most = int(width * 72 / 4.0)  # a letter of a 7-point font is about 4 points wide
    lines: list[str] = []
    for piece in pieces:
        if lines and len(lines[-1]) + len(piece) + 3 <= most:
            lines[-1] += f" · {piece}"
        else:
            lines.append(piece)
    return lines
