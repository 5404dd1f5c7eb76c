"""The house style: a colour and a marker a model in every picture, light and dark, sizes, ticks, how files are written.

The colours are Okabe and Ito's, then Tol's muted ones; a model's variants share its colour, with other markers. On the
dark background four of them would vanish and are lighter. Two colours that some eyes take for one have markers of
their own (tests/figures/test_plots.py checks contrast and distance, also as the colour blind see them).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.colors import to_hex, to_rgb
from matplotlib.ticker import MaxNLocator

from lengthscale.bench.analysis.text import length as short
from lengthscale.models import MODELS, every_model, is_known, present_name, spec_of

matplotlib.use("Agg")
import matplotlib.pyplot as plt

_COLOURS = (
    *("#E69F00", "#009E73", "#56B4E9", "#D55E00", "#CC79A7", "#882255", "#999933", "#117733", "#0072B2"),
    *("#000000", "#44AA99", "#AA4499", "#332288", "#888888", "#661100", "#6699CC"),
)
_LIGHTER = {"#882255": "#B84065", "#000000": "#F0F0F0", "#332288": "#7B6CF0", "#661100": "#B5653F"}
_MARKERS = "os^DvPX*<>"
_LARGER = {"*": 1.7, "P": 1.25, "X": 1.2}  # to look as large as the others
_LINES = ("-", (0, (5, 1.5)), (0, (1.5, 1)), (0, (5, 1.5, 1.5, 1.5)))
_BASES = [name for name, spec in MODELS.items() if not spec.variant_of]
_FAMILY = {name: [m for m in every_model() if name in (m.partition(":")[0], spec_of(m).variant_of)] for name in _BASES}
STYLE = {
    model: (_COLOURS[number % len(_COLOURS)], _MARKERS[(number + rank) % len(_MARKERS)])
    for number, base in enumerate(_BASES)
    for rank, model in enumerate(_FAMILY[base])
}
_UNKNOWN = ("#888888", "o")  # a model of another version's results
READABLE = 4.5  # contrast of text (WCAG 2.2, 1.4.3)
DPI = 160


@dataclass(frozen=True)
class Theme:
    name: str
    background: str
    text: str
    muted: str  # guides, captions
    grid: str

    def colour(self, model: str) -> str:
        colour, _ = STYLE.get(present_name(model), _UNKNOWN)
        return _LIGHTER.get(colour, colour) if self.name == "dark" else colour

    def readable(self, colour: str) -> str:
        """The colour, towards that of the text until letters in it can be read."""
        for share in np.linspace(0, 1, 21):
            mixed = (1 - share) * np.array(to_rgb(colour)) + share * np.array(to_rgb(self.text))
            if contrast(to_hex(mixed), self.background) >= READABLE:
                return to_hex(mixed)
        return self.text

    @contextmanager
    def applied(self) -> Iterator[None]:
        with matplotlib.rc_context(
            {
                **dict.fromkeys(("figure.facecolor", "axes.facecolor", "savefig.facecolor"), self.background),
                **dict.fromkeys(("text.color", "axes.labelcolor", "axes.titlecolor"), self.text),
                **dict.fromkeys(("axes.edgecolor", "xtick.color", "ytick.color"), self.muted),
                **dict.fromkeys(("xtick.labelcolor", "ytick.labelcolor"), self.text),
                "legend.frameon": False,
                "font.family": "DejaVu Sans",  # comes with matplotlib: the same everywhere
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
                "grid.color": self.grid,
                "grid.linewidth": 0.6,
                "lines.linewidth": 1.6,
                "lines.markersize": 5,
                "figure.dpi": DPI,
                "savefig.dpi": DPI,
                "svg.hashsalt": "lengthscale",  # or its ids would be other ones each time
            }
        ):
            yield


LIGHT = Theme("light", "#ffffff", "#1f2328", "#6e7781", "#e8eaed")
DARK = Theme("dark", "#0d1117", "#e6edf3", "#8b949e", "#21262d")
THEMES = {theme.name: theme for theme in (LIGHT, DARK)}


def look(model: str, method: str = "auto") -> tuple[str, str, str | tuple]:
    """A model's colour on white and its marker; the line is its method's."""
    methods = ("auto", *spec_of(model).methods) if is_known(model) else ("auto",)
    return *STYLE.get(present_name(model), _UNKNOWN), line(methods.index(method) if method in methods else 0)


def marks(theme: Theme, model: str, size: float = 5) -> dict:
    """Arguments of `axes.plot`: a model's colour and marker, set apart from its neighbours by a thin edge."""
    _, marker = STYLE.get(present_name(model), _UNKNOWN)
    edge = {"mec": theme.background, "mew": 0.4}
    return {"color": theme.colour(model), "marker": marker, "ms": size * _LARGER.get(marker, 1), **edge}


def line(rank: int) -> str | tuple:
    """Of a model's rank-th curve in a picture."""
    return _LINES[rank % len(_LINES)]


def contrast(one: str, other: str) -> float:
    """Of two colours, 1 to 21 (WCAG 2.2)."""
    dark, light = sorted(_luminance(colour) for colour in (one, other))
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: str) -> float:
    channels = np.array(to_rgb(colour))
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ (0.2126, 0.7152, 0.0722))


def ticks_at_lengths(axes, lengths: Iterable[float], trained: float | None = None) -> None:
    """A logarithmic x axis with a tick at each length, but for those that would run into their neighbour.

    trained: one that is always there, and says so.
    """
    kept = [int(trained)] if trained else []
    every: list[int] = sorted({int(length) for length in lengths} | set(kept))
    width_points = axes.figure.get_figwidth() * axes.get_position().width * 72
    least = np.log(every[-1] / every[0]) * 26 / width_points
    for length in reversed(every):
        if all(abs(np.log(other / length)) >= least for other in kept):
            kept.append(length)
    axes.set_xscale("log")
    axes.set_xticks(kept, [short(length) + ("\ntrained" if length == trained else "") for length in kept])
    axes.set_xticks([], minor=True)


def ticks_at_round_numbers(axis) -> None:
    """On a logarithmic axis (axes.xaxis, axes.yaxis) whose limits are final: 1, 2, 5, ... or powers of ten."""
    low, high = axis.get_view_interval()
    powers = np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
    for factors in ((1,), (1, 3), (1, 2, 5)):
        ticks = [f * 10.0**p for p in powers for f in factors if low <= f * 10.0**p <= high]
        if len(ticks) >= 3:
            break
    else:
        ticks = [tick for tick in MaxNLocator(4).tick_values(low, high) if low <= tick <= high]
    ticks = ticks[:: -(-len(ticks) // 7)]
    scientific = min(ticks) < 1e-4 or max(ticks) >= 1e7
    axis.set_ticks(ticks, labels=[_power(tick) if scientific else f"{tick:,.6g}" for tick in ticks])
    axis.set_ticks([], minor=True)


def _power(value: float) -> str:
    exponent = int(np.floor(np.log10(value) + 1e-9))
    factor = value / 10.0**exponent
    return f"$10^{{{exponent}}}$" if abs(factor - 1) < 1e-6 else f"${factor:g} \\times 10^{{{exponent}}}$"


def save(figure, paths: Iterable[Path]) -> list[Path]:
    """The paths written; the same figure gives the same bytes. The figure is closed."""
    paths = list(paths)
    for path in paths:
        figure.savefig(path, metadata={"Date": None} if path.suffix in (".svg", ".pdf") else None)
    plt.close(figure)
    return paths
