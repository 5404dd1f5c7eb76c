"""Draws the marks behind the curves: guide lines, rules, extrapolated parts, crossings of two models and the like."""

from __future__ import annotations

import numpy as np
from matplotlib.transforms import offset_copy

from lengthscale.bench.figures.mpl.theme import FINE_DOTS
from lengthscale.bench.figures.spec import (
    Cross,
    DrawnCrossing,
    Extrapolated,
    Figure,
    Reference,
    Rule,
    Slope,
    Span,
    Words,
)
from lengthscale.bench.figures.style import Theme

_SMALL = 7
_LETTER = 4.2  # points, of a letter of this size
_BELOW = 26  # points at the bottom of the axes that a crossing needs


def draw(axes, theme: Theme, figure: Figure) -> None:
    """Draw the figure's marks. The curves must be drawn already, and the axes must have their scales."""
    for mark in figure.marks:
        match mark:
            case Reference():
                _draw_reference(axes, theme, mark)
            case Rule():
                _draw_rule(axes, theme, mark)
            case Span():
                axes.axhspan(mark.low, mark.high, color=theme.muted, alpha=0.17, lw=0, zorder=0)
            case Words():
                at = {"xytext": (6, 0), "textcoords": "offset points", "va": "center", "fontsize": 8}
                axes.annotate(mark.text, (mark.x, mark.y), color=theme.text, **at)
            case Cross():
                axes.plot(mark.x, mark.y, "x", color=theme.colour(mark.model), ms=7, mew=1.6, zorder=4)
            case Extrapolated():
                _draw_extrapolated(axes, theme, mark.start, figure)
            case Slope():
                _draw_slope(axes, theme, mark)
            case DrawnCrossing():
                _draw_crossing(axes, theme, mark, figure)


def _draw_reference(axes, theme: Theme, line: Reference) -> None:
    """Draw a reference line with its name, or steps, which have no name.

    The steps start at the top of the axes, and the last one ends at the right of the axes.
    """
    if not line.steps:
        axes.plot(line.x, line.y, color=theme.muted, lw=0.8, ls=FINE_DOTS, zorder=1)
        axes.get_xlim(), axes.get_ylim()  # the limits with this line
        corners = axes.transData.transform(np.stack([line.x, line.y], axis=1))
        steps = np.linspace(0, len(corners) - 1, 200)
        path = np.stack([np.interp(steps, range(len(corners)), corners[:, i]) for i in (0, 1)], axis=1)
        x, y = axes.transData.inverted().transform(path).T
        _write_name(axes, theme, line.name, x, y, 1 if y[-1] > y[0] else -1)
        return
    (_, right), (_, top) = axes.get_xlim(), axes.get_ylim()
    x, y = [line.x[0], *line.x, right], [top, *line.y, line.y[-1]]
    axes.step(x, y, where="post", color=theme.muted, lw=1, ls=(0, (4, 2)), zorder=1)
    axes.set(xlim=(None, right), ylim=(None, top))


def _draw_rule(axes, theme: Theme, rule: Rule) -> None:
    colour = theme.colour(rule.model)
    style = {"color": colour, "lw": 0.8, "ls": "-" if rule.solid else FINE_DOTS, "zorder": 1}
    style |= {"label": rule.name} if rule.name else {}
    if rule.x is not None:
        axes.axvline(rule.x, **style)
    if rule.y is not None:
        axes.axhline(rule.y, **style)


def _draw_extrapolated(axes, theme: Theme, start: float, figure: Figure) -> None:
    """Shade the extrapolated part and write its name into the widest gap between the dashed curves' ends."""
    values = [curve.beyond[1][end] for curve in figure.curves if curve.beyond for end in (0, -1)]
    _, right = axes.get_xlim()
    axes.axvspan(start, right, color=theme.grid, alpha=0.5, lw=0, zorder=0)
    axes.set_xlim(None, right)
    heights = axes.transAxes.inverted().transform(axes.transData.transform([(start, y) for y in values]))[:, 1]
    ends = np.array([0.0, *sorted(heights), 1.0])
    widest = np.argmax(np.diff(ends))
    axes.annotate(
        "extrapolated",
        (start, ends[widest : widest + 2].mean()),
        xycoords=("data", "axes fraction"),
        xytext=(3, 0),
        textcoords="offset points",
        rotation=90,
        ha="left",
        va="center",
        fontsize=_SMALL,
        color=theme.muted,
    )


def _draw_slope(axes, theme: Theme, mark: Slope) -> None:
    """Draw a faint guide line, as far as it is within the axes, with its name."""
    bottom, top = axes.get_ylim()
    x = np.geomspace(mark.start, mark.end, 200)
    y = mark.value * (x / x[0]) ** mark.slope
    inside = (y <= top) & (y >= bottom)
    if inside.sum() < 20:
        return
    x, y = x[inside], y[inside]
    axes.plot(x, y, color=theme.muted, lw=0.8, ls=FINE_DOTS, zorder=1)
    _write_name(axes, theme, mark.name, x, y, mark.slope)
    axes.set_ylim(bottom, top)


def _write_name(axes, theme: Theme, name: str, x: np.ndarray, y: np.ndarray, slope: int) -> None:
    """Write a line's name at the place along it that is farthest from all curves. slope: its sign counts."""
    index, across, up = _freest(axes, x, y, slope, _LETTER * len(name) / 2)
    axes.annotate(
        name,
        (x[index], y[index]),
        xytext=(3 * across, 2 * up),
        textcoords="offset points",
        fontsize=_SMALL,
        color=theme.muted,
        ha="left" if across > 0 else "right",
        va="bottom" if up > 0 else "top",
        zorder=2,
    )


def _freest(axes, x: np.ndarray, y: np.ndarray, slope: int, half: float) -> tuple[int, int, int]:
    """The place for a line's name that is farthest from all curves. half: of the name's width, in points.

    Returns (index of a point of the guide, 1 for the right or -1 for the left of it, 1 for above or -1 for below it).
    """
    per_point = axes.figure.dpi / 72
    along = axes.transData.transform(np.stack([x, y], axis=1))
    curves = []
    for each in axes.lines:
        path = each.get_transform().transform(each.get_xydata())
        if each.get_marker() != "None":
            steps = np.linspace(0, len(path) - 1, 20 * len(path))
            curves.append(np.stack([np.interp(steps, range(len(path)), path[:, i]) for i in (0, 1)], axis=1))
    points = np.concatenate(curves)
    (left, bottom), (right, top) = axes.bbox.get_points()
    best, most = (len(x) - 1, 1, -1), -np.inf
    for index in range(len(x) // 3, len(x), 4):
        for side in (1, -1):
            up = -side if slope > 0 else side
            middle = along[index] + np.array([(half + 5) * side, 7 * up]) * per_point
            free = np.min(np.hypot((points[:, 0] - middle[0]) / 2, points[:, 1] - middle[1]))
            edge = min((middle[0] - left) / 2, (right - middle[0]) / 2, middle[1] - bottom, top - middle[1])
            if min(free, edge - 4 * per_point) > most:
                best, most = (index, side, up), min(free, edge - 4 * per_point)
    return best


def _draw_crossing(axes, theme: Theme, found: DrawnCrossing, figure: Figure) -> None:
    """Draw a crossing and its interval at the bottom of the axes, which are extended to give it room."""
    bottom, top = axes.get_ylim()
    share = _BELOW / (axes.bbox.height * 72 / axes.figure.dpi)
    axes.set_ylim(bottom / (top / bottom) ** share, top)
    bar = offset_copy(axes.get_xaxis_transform(), axes.figure, y=15, units="points")
    axes.plot([found.low, found.high], [0, 0], lw=2.5, color=theme.text, solid_capstyle="butt", transform=bar, zorder=3)
    axes.plot(found.length, 0, "|", ms=9, mew=1.2, color=theme.text, transform=bar, zorder=3)
    measured = [x for curve in figure.curves for x in curve.x]
    late = found.length**2 > min(measured) * max(measured)
    axes.annotate(
        found.text,
        (max(measured) if late else axes.get_xlim()[0], 0),
        xycoords=("data", "axes fraction"),
        xytext=(-3 if late else 3, 3),
        textcoords="offset points",
        ha="right" if late else "left",
        va="bottom",
        fontsize=_SMALL,
        color=theme.text,
    )
