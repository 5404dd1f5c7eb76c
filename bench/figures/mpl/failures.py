"""Draws the failures of each curve above the axes: a cross at each length that failed, and words that say why.

The words stand in the widest gap between the crosses. If they do not fit there, they get a line of their own.
"""

from __future__ import annotations

from itertools import pairwise

from matplotlib.transforms import blended_transform_factory, offset_copy

from lengthscale.bench.figures.spec import Failures
from lengthscale.bench.figures.style import Theme

ROW = 11  # height of a line in points
_FIRST = 6  # points from the axes to the middle of the first line
_GAP = 7  # points between a cross and the words
_SIZE = 7


class Strip:
    """The drawn failures of one curve: its crosses and its words."""

    def __init__(self, axes, failures: Failures, theme: Theme):
        self._axes = axes
        self._lengths = sorted({failure.length for failure in failures.at}) if failures.on_axis else []
        colour = theme.colour(failures.model)
        cross = {"color": colour, "ms": 5, "mew": 1.6, "clip_on": False, "zorder": 4}
        self._crosses = [axes.plot(x, 1, "x", scalex=False, scaley=False, **cross)[0] for x in self._lengths or [0.01]]
        self._text = axes.text(0, 1, str(failures), va="center", fontsize=_SIZE, color=theme.readable(colour))
        self._text.set_in_layout(False)
        self.rows = 1

    def move_up(self, row: int) -> None:
        """Move the crosses and the words up. row: how many lines are below this strip."""
        axes, figure = self._axes, self._axes.figure
        up = offset_copy(axes.transAxes, figure, y=_FIRST + ROW * row, units="points")
        for cross in self._crosses:
            cross.set_transform(blended_transform_factory(axes.transData, up) if self._lengths else up)
        words = _FIRST + ROW * (row + self.rows - 1)
        self._text.set_transform(offset_copy(axes.transAxes, figure, x=_GAP, y=words, units="points"))

    def settle(self) -> bool:
        """Move the words to where they fit, after the layout is done. Returns False if they need a second line."""
        box = self._axes.bbox
        gap = _GAP * self._axes.figure.dpi / 72
        if not self._lengths:
            self._text.set_x(0.01)
            return True
        places = [float(self._axes.transData.transform((length, 1))[0]) for length in self._lengths]
        left, right = max(pairwise([box.x0 - gap, *places, box.x1 + gap]), key=lambda ends: ends[1] - ends[0])
        fits = left + self._text.get_window_extent().width + 2 * gap <= right
        self._text.set_x(((left if fits else box.x0 - gap) - box.x0) / box.width)
        if fits or self.rows == 2:
            return True
        self.rows = 2
        return False


def stack(axes, strips: list[Strip], above: float = 0) -> int:
    """Stack the strips above the axes, the first one on top, and put the title above them.

    above: points that stay free between the strips and the title. Returns the number of lines of all strips.
    """
    rows = 0
    for strip in reversed(strips):
        strip.move_up(rows)
        rows += strip.rows
    axes.set_title(axes.get_title(loc="left"), pad=7 + above + ROW * rows)
    return rows
