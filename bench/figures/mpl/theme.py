"""The style of all figures for matplotlib: the settings of a theme, the line of a model, and the writing of files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import matplotlib

from lengthscale.bench.figures import style
from lengthscale.bench.figures.style import Theme

matplotlib.use("Agg")
import matplotlib.pyplot as plt

_MARKERS = dict(zip(style.MARKERS, "os^DvPX*<>", strict=True))
_LARGER = {"*": 1.7, "P": 1.25, "X": 1.2}  # these markers look smaller than the others at the same size
DPI = 160
FINE_DOTS = (0, (1, 2.5))  # the line style of lines behind the curves


@contextmanager
def applied(theme: Theme) -> Iterator[None]:
    """A context in which matplotlib draws in this theme."""
    with matplotlib.rc_context(
        {
            **dict.fromkeys(("figure.facecolor", "axes.facecolor", "savefig.facecolor"), theme.background),
            **dict.fromkeys(("text.color", "axes.labelcolor", "axes.titlecolor"), theme.text),
            **dict.fromkeys(("axes.edgecolor", "xtick.color", "ytick.color"), theme.muted),
            **dict.fromkeys(("xtick.labelcolor", "ytick.labelcolor"), theme.text),
            "legend.frameon": False,
            "font.family": "DejaVu Sans",  # it comes with matplotlib, so it is the same everywhere
            "font.size": 9,
            "legend.fontsize": 8,
            "axes.titlesize": 10,
            "axes.titleweight": "bold",
            "axes.titlelocation": "left",
            "axes.labelsize": 9,
            **dict.fromkeys(("xtick.labelsize", "ytick.labelsize"), 8),
            **dict.fromkeys(("axes.spines.top", "axes.spines.right"), False),
            "axes.grid": True,
            "axes.axisbelow": True,
            "axes.linewidth": 0.8,
            "grid.color": theme.grid,
            "grid.linewidth": 0.6,
            "lines.linewidth": 1.6,
            "lines.markersize": 5,
            "figure.dpi": DPI,
            "savefig.dpi": DPI,
            "svg.hashsalt": "lengthscale",  # without it, the ids in an SVG would be different each time
        }
    ):
        yield


def look(theme: Theme, model: str, size: float = 5) -> dict:
    """Arguments of `axes.plot` for a model: its colour, and its marker with a thin edge that separates neighbours."""
    marker = _MARKERS[style.marker(model)]
    edge = {"mec": theme.background, "mew": 0.4}
    return {"color": theme.colour(model), "marker": marker, "ms": size * _LARGER.get(marker, 1), **edge}


def line(dash: int) -> str | tuple:
    """The line style of a model's curve in a figure. dash: the curve's index among those of its model."""
    dashes = style.dashes(dash)
    return (0, dashes) if dashes else "-"


def save(figure, paths: Iterable[Path]) -> list[Path]:
    """Write the figure to each path and close it. Returns the paths. The same figure gives the same bytes."""
    paths = list(paths)
    for path in paths:
        figure.savefig(path, metadata={"Date": None} if path.suffix in (".svg", ".pdf") else None)
    plt.close(figure)
    return paths
