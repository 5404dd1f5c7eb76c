"""Draws a figure's description on one pair of axes. sheet.py adds the names, the failures and the caption."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
from matplotlib.colors import LogNorm, to_hex

from lengthscale.bench.figures.mpl import marks, ticks
from lengthscale.bench.figures.mpl.labels import End
from lengthscale.bench.figures.mpl.theme import line, look, plt
from lengthscale.bench.figures.spec import AT_ENDS, AT_POINTS, IN_LEGEND, Bars, DrawnCurve, Ends, Figure, HeatMap
from lengthscale.bench.figures.style import PART_COLOURS, Theme, contrast

_MANY_LETTERS = 70  # a legend within the axes that has a longer name is written in small letters


def draw(axes, figure: Figure, theme: Theme) -> list[End]:
    """Draw the figure. Returns the ends of the curves that sheet.py must name; an empty list if it need not."""
    axes.set(xlabel=figure.x.label, ylabel=figure.y.label)
    if figure.heat:
        _draw_heat(axes, theme, figure.heat)
        return []
    for curve in figure.curves:
        _draw_curve(axes, theme, curve, figure)
    _scale(axes, figure)
    if figure.bars:
        _draw_bars(axes, figure.bars)
    marks.draw(axes, theme, figure)
    for axis, wanted in ((axes.xaxis, figure.x), (axes.yaxis, figure.y)):
        if wanted.ticks:
            ticks.at_places(axis, wanted)
        elif wanted.scale == "log" and not (wanted.lengths and axis is axes.xaxis):
            ticks.at_round_numbers(axis)
    if figure.names == IN_LEGEND:
        _draw_legend(axes)
    if figure.names not in (AT_ENDS, AT_POINTS):
        return []
    return [_end_of(curve, theme) for curve in figure.curves if not curve.faint]


def _scale(axes, figure: Figure) -> None:
    x, y = figure.x, figure.y
    axes.set_yscale(y.scale, **({"linthresh": y.linear_to} if y.scale == "symlog" else {}))
    if x.lengths:
        ticks.at_lengths(axes, x.lengths, x.trained)
    else:
        axes.set_xscale(x.scale)
    margins = {name: axis.margin for name, axis in (("x", x), ("y", y)) if axis.margin is not None}
    if margins:
        axes.margins(**margins)
    for axis, set_limits in ((x, axes.set_xlim), (y, axes.set_ylim)):
        if axis.limits:
            set_limits(axis.limits)


def _draw_curve(axes, theme: Theme, curve: DrawnCurve, figure: Figure) -> None:
    style = look(theme, curve.model, 5 if curve.joined else 6)
    colour, shade = style["color"], {"alpha": 1.0, "zorder": 2.5}
    if curve.faint:
        shade = {"alpha": 0.35, "zorder": 2}
    if curve.hollow:
        style |= {"mfc": "none", "mec": colour, "mew": 1}
    ls = line(curve.dash) if curve.joined else ""
    if not curve.x:
        axes.plot([], [], " ", label=curve.name)  # a text in the legend
        return
    if curve.planned:
        axes.plot(curve.x, curve.planned, ls=(0, (1, 1.5)), lw=1, alpha=0.8, **look(theme, curve.model, 2.5))
    axes.plot(curve.x, curve.y, ls=ls, label=curve.name, **style, **shade)
    if curve.beyond:
        axes.plot(*curve.beyond, color=colour, ls=(0, (2, 2)), lw=1.2)
    if curve.across:
        axes.hlines(curve.y, *_ends(curve.across, curve.x), color=colour, lw=1.4, zorder=2)
    if curve.faint:
        return
    if curve.interval and (figure.crowded or not curve.joined):
        axes.vlines(curve.x, *_ends(curve.interval, curve.y), color=colour, lw=1, zorder=2)
        return
    for ends, alpha in ((curve.spread, 0.1), (curve.interval, 0.2 if curve.spread else 0.13)):
        if ends and not figure.crowded:
            axes.fill_between(curve.x, ends.low, ends.high, color=colour, alpha=alpha, lw=0, zorder=1.5)


def _ends(ends: Ends, values: tuple[float, ...]) -> tuple[list[float], list[float]]:
    """The lower and upper ends at each point. Where there is no interval, both are the point's own value."""
    low, high = (
        [value if math.isnan(end) else end for end, value in zip(each, values, strict=True)]
        for each in (ends.low, ends.high)
    )
    return low, high


def _end_of(curve: DrawnCurve, theme: Theme) -> End:
    x, y = curve.beyond or (curve.x, curve.y)
    ends = curve.interval if not curve.joined else None
    bar = (ends.low[-1], ends.high[-1]) if ends else None
    style = look(theme, curve.model)
    name_line = line(curve.dash) if curve.joined else ""
    return End(float(x[-1]), float(y[-1]), curve.name, style["color"], style["marker"], name_line, bar)


def _draw_legend(axes) -> None:
    names = [text for each in axes.get_legend_handles_labels()[1] for text in each.split("\n")]
    if names:
        axes.legend(fontsize=7 if max(map(len, names)) > _MANY_LETTERS or len(names) > 6 else 8)


def _draw_bars(axes, bars: Bars) -> None:
    """Draw the bars with their labels, and below these the names of the groups."""
    groups = [bar.group for bar in bars.bars]
    x = np.arange(len(groups)) + 0.7 * np.cumsum([0, *(a != b for a, b in pairwise(groups))])
    heights = np.array([bar.heights for bar in bars.bars])
    for number, part in enumerate(bars.parts):
        below = heights[:, :number].sum(axis=1)
        axes.bar(x, heights[:, number], 0.9, below, color=PART_COLOURS[number % len(PART_COLOURS)], label=part)
    axes.set_xticks(x, [bar.label for bar in bars.bars], fontsize=7)
    axes.grid(False, axis="x")
    names = list(dict.fromkeys(groups))
    middles = [x[[group == name for group in groups]].mean() for name in names]
    below = axes.secondary_xaxis(-0.06)
    below.set_xticks(middles, names)
    below.set_xlabel(axes.get_xlabel())
    axes.set_xlabel("")
    below.tick_params(length=0)
    below.spines[:].set_visible(False)


def _draw_heat(axes, theme: Theme, heat: HeatMap) -> None:
    numbers = np.array(heat.values)
    colours, norm = plt.get_cmap("PuOr_r"), LogNorm(1 / heat.most, heat.most, clip=True)
    axes.imshow(np.ma.masked_invalid(numbers), cmap=colours, norm=norm, aspect="auto")
    for (row, column), value in np.ndenumerate(numbers):
        text, known = heat.texts[row][column], not math.isnan(value)
        ground = to_hex(colours(norm(value))) if known else theme.background
        ink = max(("#000000", "#ffffff"), key=lambda each: contrast(each, ground)) if known else theme.text
        size = 9 if known and "\n" not in text else 8 if known else 7
        axes.text(column, row, text, ha="center", va="center", fontsize=size, color=ink)
    axes.set_xticks(range(len(heat.columns)), heat.columns)
    axes.set_yticks(range(len(heat.rows)), heat.rows)
    axes.tick_params(length=0)
    axes.grid(False)
    axes.spines[:].set_visible(False)
