"""Writes names at the ends of the curves instead of a legend.

Names that would overlap are moved apart as little as possible. The final positions are known only after the layout,
when sizes in pixels are known. Therefore `attach` first writes the names next to the axes, so that the layout leaves
room for them, and `settle` moves them afterwards.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from matplotlib.text import Annotation, Text
from matplotlib.transforms import Bbox, offset_copy

from lengthscale.bench.figures.mpl.theme import FINE_DOTS
from lengthscale.bench.figures.style import Theme

SIZE = 8
_GAP = 7  # points from the axes to the names
_FAR = 0.25  # share of the axes between the end of a curve and its name, from which on the leader line is dotted
Label = tuple["End", Annotation]
# The directions (x, y) from a point in which its name may stand; the first ones are tried first.
_AROUND = ((1, 0.6), (1, -0.6), (-1, 0.6), (-1, -0.6), (1, 0), (-1, 0), (0, 1), (0, -1))


@dataclass(frozen=True)
class End:
    """The end of a curve in the coordinates of the data, with the curve's name and style."""

    x: float
    y: float
    text: str
    colour: str
    marker: str
    line: str | tuple = "-"
    bar: tuple[float, float] | None = None  # an interval of y that no name may cover


def attach(axes, ends: Iterable[End], theme: Theme, at_points: bool) -> list[Label]:
    """Write a name for each end, and return these labels. Of several ends with the same name, the first gets it.

    at_points: whether the names stand next to their points instead of to the right of the axes.
    """
    margin = offset_copy(axes.transAxes, axes.figure, x=_GAP, units="points")
    by_name = {end.text: end for end in reversed(list(ends))}
    labels = []
    for end in reversed(by_name.values()):
        leader = {"arrowstyle": "-", "color": end.colour, "lw": 0.7, "shrinkA": 1, "shrinkB": 3}
        label = axes.annotate(
            end.text,
            (end.x, end.y),
            xytext=(0, 0) if at_points else (1, 0.5),
            textcoords="offset points" if at_points else margin,
            color=theme.readable(end.colour),
            fontsize=SIZE,
            ha="center" if at_points else "left",
            va="center",
            arrowprops=None if at_points else leader,
            bbox={"facecolor": theme.background, "alpha": 0.75, "lw": 0, "pad": 0.6} if at_points else None,
            annotation_clip=False,
            zorder=3,
        )
        label.set_in_layout(not at_points)
        labels.append((end, label))
    return labels


def settle(axes, labels: list[Label], at_points: bool) -> bool:
    """Move the names apart, after the layout is done. Returns False if there is not enough room for them."""
    return _settle_around(axes, labels) if at_points else _settle_on_the_right(axes, labels)


def _settle_on_the_right(axes, labels: list[Label]) -> bool:
    if not labels:
        return True
    box = axes.bbox
    at = [axes.transData.transform((end.x, end.y)) for end, _ in labels]
    wanted = [float(y - box.y0) for _, y in at]
    height = max(_extent(label).height for _, label in labels) * 1.04
    placed = spread(wanted, height, 0, box.height)
    if placed is None:
        return False
    for (_, label), (x, _), y in zip(labels, at, placed, strict=True):
        label.set_position((1, y / box.height))
        if label.arrow_patch and box.x1 - x > _FAR * box.width:  # or it would look like a part of the curve
            label.arrow_patch.set(linestyle=FINE_DOTS, alpha=0.6)
    return True


def spread(wanted: list[float], height: float, low: float, high: float) -> list[float] | None:
    """The centres closest to the wanted ones (least squares) that are at least `height` apart and in [low, high].

    Returns None if there is not enough room. With u_i = centre_i - i * height this is isotonic regression, which is
    solved by pooling neighbours (Barlow et al. 1972).
    """
    if len(wanted) * height > high - low:
        return None
    order = np.argsort(wanted, kind="stable")
    pools: list[tuple[float, int]] = []  # mean, members
    for rank, index in enumerate(order):
        mean, count = wanted[index] - rank * height, 1
        while pools and pools[-1][0] > mean:
            before, members = pools.pop()
            mean, count = (before * members + mean * count) / (members + count), members + count
        pools.append((mean, count))
    level = np.repeat([mean for mean, _ in pools], [count for _, count in pools])
    level = np.clip(level, low + height / 2, high - height / 2 - (len(wanted) - 1) * height)
    centres = np.empty(len(wanted))
    centres[order] = level + np.arange(len(wanted)) * height
    return centres.tolist()


def _settle_around(axes, labels: list[Label]) -> bool:
    """Move each name to the nearest free place around its point within the axes. False: there is no free place."""
    per_point = axes.figure.dpi / 72
    taken = []
    for end, _ in labels:
        (x, low), (_, high) = axes.transData.transform([(end.x, y) for y in end.bar or (end.y, end.y)])
        y = axes.transData.transform((end.x, end.y))[1]
        taken += [Bbox([[x - per_point, low], [x + per_point, high]]), Bbox([[x, y], [x, y]]).padded(5 * per_point)]
    for end, label in labels:
        x, y = axes.transData.transform((end.x, end.y))
        size = _extent(label)
        places = (
            Bbox.from_bounds(
                x + across * (gap * per_point + size.width / 2) - size.width / 2,
                y + up * (gap * per_point + size.height / 2) - size.height / 2,
                size.width,
                size.height,
            )
            for gap in (5, 8, 12, 18, 28)
            for across, up in _AROUND
        )
        free = [box for box in places if _inside(axes.bbox, box) and not any(box.overlaps(other) for other in taken)]
        if not free:
            return False
        label.set_position(
            ((free[0].x0 + size.width / 2 - x) / per_point, (free[0].y0 + size.height / 2 - y) / per_point)
        )
        taken.append(free[0])
    return True


def _inside(outer: Bbox, box: Bbox) -> bool:
    return outer.x0 <= box.x0 and box.x1 <= outer.x1 and outer.y0 <= box.y0 and box.y1 <= outer.y1


def _extent(label: Annotation) -> Bbox:
    """The box of the label's letters, without its leader line."""
    return Text.get_window_extent(label)
