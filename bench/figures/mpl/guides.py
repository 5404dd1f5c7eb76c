"""What stands behind the curves: lines of known slope, where a fit takes over, where two models cross."""

# pandas' types cannot tell a column from a frame:
# pyright: reportArgumentType=false, reportCallIssue=false, reportGeneralTypeIssues=false, reportReturnType=false
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.transforms import offset_copy

from lengthscale.bench.analysis.answer import PAIR
from lengthscale.bench.analysis.text import number
from lengthscale.bench.figures.mpl.style import Theme

FOLLOWED = 0.15  # a fit that missed the longest length by more, foretold from the others, is not extrapolated
EXTRAPOLATED = f"dashed: extrapolated by the fit, where it foretold the longest length within {FOLLOWED:.0%}"
SLOPES = {1: "∝ L", 2: "∝ L²", -1: "∝ 1/L"}
_SMALL = 7
_BELOW = 26  # points at the bottom of the axes for where two models cross


def may_be_followed(fit: pd.Series) -> bool:
    error = fit["left_out_error"]
    return fit["status"] == "ok" and pd.notna(fit["predicted"]) and pd.notna(error) and abs(error) <= FOLLOWED


def growth(fit: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """(lengths, figures over the longest length's) from there to the predicted length, by a + b L + c L^2."""
    lengths = np.geomspace(fit["length_max"], fit["predicted_length"], 20)
    figures = fit["a"] + fit["b"] * lengths + fit["c"] * lengths**2
    return lengths, figures / figures[0]


def mark_extrapolated(axes, theme: Theme, longest: float, figures: list[float]) -> None:
    """Written into the widest gap between figures: where curves begin and end there."""
    _, right = axes.get_xlim()
    axes.axvspan(longest, right, color=theme.grid, alpha=0.5, lw=0, zorder=0)
    axes.set_xlim(None, right)
    heights = axes.transAxes.inverted().transform(axes.transData.transform([(longest, y) for y in figures]))[:, 1]
    ends = np.array([0.0, *sorted(heights), 1.0])
    widest = np.argmax(np.diff(ends))
    axes.annotate(
        "extrapolated",
        (longest, ends[widest : widest + 2].mean()),
        xycoords=("data", "axes fraction"),
        xytext=(3, 0),
        textcoords="offset points",
        rotation=90,
        ha="left",
        va="center",
        fontsize=_SMALL,
        color=theme.muted,
    )


def draw_slopes(axes, theme: Theme, good: pd.DataFrame, cost, decode: bool) -> None:
    """Faint lines of slope 1 (L) and 2 (L^2), from below the shortest points; as far as they are within the axes."""
    good = pd.DataFrame(good[good[cost.column].notna()])
    if good["length"].nunique() < 2:
        return
    ends = np.array([good["length"].min(), good["length"].max()], float)
    first = good.loc[good["length"] == ends[0], cost.column] * cost.factor
    bottom, top = axes.get_ylim()
    for slope in slopes_of(cost, decode):
        x = np.geomspace(*ends, 200)
        y = guide(slope, x, first)
        inside = (y <= top) & (y >= bottom)
        if inside.sum() < 20:
            continue
        axes.plot(x[inside], y[inside], color=theme.muted, lw=0.8, ls=(0, (1, 2.5)), zorder=1)
        index, across, up = _freest(axes, x[inside], y[inside], slope)
        axes.annotate(
            SLOPES[slope],
            (x[inside][index], y[inside][index]),
            xytext=(3 * across, 2 * up),
            textcoords="offset points",
            fontsize=_SMALL,
            color=theme.muted,
            ha="left" if across > 0 else "right",
            va="bottom" if up > 0 else "top",
            zorder=2,
        )
    axes.set_ylim(bottom, top)


def slopes_of(cost, decode: bool) -> list[int]:
    """What a guide is drawn for: nothing that decodes grows faster than its context."""
    return sorted(set(cost.slopes) & {1} if decode else cost.slopes)


def guide(slope: int, x: np.ndarray, first: Iterable[float]) -> np.ndarray:
    """A line of this slope over the lengths x, beside the curves' first figures."""
    start = max(first) * 1.25 if slope < 0 else min(first) / 1.25
    return start * (x / x[0]) ** slope


def _freest(axes, x: np.ndarray, y: np.ndarray, slope: int) -> tuple[int, int, int]:
    """(where along a guide, right or left, above or below): the name's place that is the farthest from all curves."""
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
            middle = along[index] + np.array([13 * side, 7 * up]) * per_point
            free = np.min(np.hypot((points[:, 0] - middle[0]) / 2, points[:, 1] - middle[1]))
            edge = min((middle[0] - left) / 2, (right - middle[0]) / 2, middle[1] - bottom, top - middle[1])
            if min(free, edge - 4 * per_point) > most:
                best, most = (index, side, up), min(free, edge - 4 * per_point)
    return best


@dataclass(frozen=True)
class Crossing:
    """Where the Transformer's time passes Mamba's, with its 95% interval (to the range's end where that is open)."""

    length: float
    low: float
    high: float
    text: str


def crossing(crossovers: pd.DataFrame, measure: str, frame: pd.DataFrame) -> Crossing | None:
    """The one of a measure's rows, where both models are among them and they cross."""
    if not len(crossovers):
        return None
    rows = crossovers[(crossovers["measure"] == measure) & (crossovers["quantity"] == "time_ms")]
    rows = rows[(rows["status"] == "crosses") & rows["model_short"].isin(PAIR) & rows["model_long"].isin(PAIR)]
    if not len(rows) or not set(PAIR) <= set(frame["model"]):
        return None
    row = rows.iloc[0]
    low, high = (float(row[name] if pd.notna(row[name]) else row[end]) for name, end in _INTERVAL)
    said = (number(row[name]) if pd.notna(row[name]) else "?" for name, _ in _INTERVAL)
    text = f"{row['model_long']} passes {row['model_short']} at {number(row['length'])} [{', '.join(said)}]"
    return Crossing(float(row["length"]), low, high, text)


def mark_crossing(axes, theme: Theme, crossovers: pd.DataFrame, measure: str, frame: pd.DataFrame) -> None:
    """Write `crossing` at the bottom of the axes."""
    found = crossing(crossovers, measure, frame)
    if found is None:
        return
    bottom, top = axes.get_ylim()
    share = _BELOW / (axes.bbox.height * 72 / axes.figure.dpi)
    axes.set_ylim(bottom / (top / bottom) ** share, top)
    bar = offset_copy(axes.get_xaxis_transform(), axes.figure, y=15, units="points")
    axes.plot([found.low, found.high], [0, 0], lw=2.5, color=theme.text, solid_capstyle="butt", transform=bar, zorder=3)
    axes.plot(found.length, 0, "|", ms=9, mew=1.2, color=theme.text, transform=bar, zorder=3)
    longest = frame["length"].max()
    late = found.length**2 > frame["length"].min() * longest
    axes.annotate(
        found.text,
        (longest if late else axes.get_xlim()[0], 0),
        xycoords=("data", "axes fraction"),
        xytext=(-3 if late else 3, 3),
        textcoords="offset points",
        ha="right" if late else "left",
        va="bottom",
        fontsize=_SMALL,
        color=theme.text,
    )


_INTERVAL = (("length_low", "range_min"), ("length_high", "range_max"))
