"""The style of all figures: a colour, a marker and dashes for each model, in light and dark files and pages.

The colours are those of Okabe and Ito, then Tol's muted ones. Variants of a model share its colour and have other
markers. Four colours are too dark for the dark background and are made lighter there. Models whose colours look alike
to some readers have different markers (tests/figures/test_style.py checks contrast and distance, also for colour-blind
readers).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lengthscale.models import MODELS, every_model, present_name, spec_of

_COLOURS = (
    *("#E69F00", "#009E73", "#56B4E9", "#D55E00", "#CC79A7", "#882255", "#999933", "#117733", "#0072B2"),
    *("#000000", "#44AA99", "#AA4499", "#332288", "#888888", "#661100", "#6699CC"),
)
_LIGHTER = {"#882255": "#B84065", "#000000": "#F0F0F0", "#332288": "#7B6CF0", "#661100": "#B5653F"}
MARKERS = (  # plotly's names
    *("circle", "square", "triangle-up", "diamond", "triangle-down", "cross", "x", "star"),
    *("triangle-left", "triangle-right"),
)
# The lengths of strokes and gaps of a model's first curve in a figure, of its second curve, and so on.
DASHES = ((), (5, 1.5), (1.5, 1), (5, 1.5, 1.5, 1.5))
_BASES = [name for name, spec in MODELS.items() if not spec.variant_of]
_FAMILY = {name: [m for m in every_model() if name in (m.partition(":")[0], spec_of(m).variant_of)] for name in _BASES}
STYLE = {
    model: (_COLOURS[number % len(_COLOURS)], MARKERS[(number + rank) % len(MARKERS)])
    for number, base in enumerate(_BASES)
    for rank, model in enumerate(_FAMILY[base])
}
# The colours of the parts of a bar, after Okabe and Ito; the last one is for what is idle.
PART_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7", "#999999")
_UNKNOWN = ("#888888", "circle")  # for a model that is only in the results of another version
READABLE = 4.5  # the lowest contrast at which text can be read (WCAG 2.2, 1.4.3)


@dataclass(frozen=True)
class Theme:
    """The colours of a light or a dark picture."""

    name: str
    background: str
    text: str
    muted: str  # the colour of guides and captions
    grid: str

    def colour(self, model: str) -> str:
        """The colour of a model. model: "" is for what belongs to no model."""
        colour = STYLE.get(present_name(model), _UNKNOWN)[0] if model else self.muted
        return _LIGHTER.get(colour, colour) if self.name == "dark" else colour

    def readable(self, colour: str) -> str:
        """The colour, mixed with as much of the text's colour as letters need to be readable."""
        for share in np.linspace(0, 1, 21):
            mixed = to_hex((1 - share) * to_rgb(colour) + share * to_rgb(self.text))
            if contrast(mixed, self.background) >= READABLE:
                return mixed
        return self.text


LIGHT = Theme("light", "#ffffff", "#1f2328", "#6e7781", "#e8eaed")
DARK = Theme("dark", "#0d1117", "#e6edf3", "#8b949e", "#21262d")
THEMES = {theme.name: theme for theme in (LIGHT, DARK)}


def marker(model: str) -> str:
    """The marker of a model, one of MARKERS. model: "" is for what belongs to no model."""
    return STYLE.get(present_name(model), _UNKNOWN)[1] if model else "diamond"


def dashes(rank: int) -> tuple[float, ...]:
    """The lengths of the strokes and gaps of a model's line, in line widths; () is a solid line.

    rank: 0 for the model's first curve in a figure, 1 for its second, and so on.
    """
    return DASHES[rank % len(DASHES)]


def to_rgb(colour: str) -> np.ndarray:
    """The red, green and blue of a colour such as "#1f2328", as floats from 0 to 1 of shape (3,)."""
    return np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)]) / 255


def to_hex(channels: np.ndarray) -> str:
    """The colour of these channels, such as "#1f2328". channels: floats from 0 to 1 of shape (3,)."""
    return "#" + "".join(f"{round(float(value) * 255):02x}" for value in channels)


def contrast(one: str, other: str) -> float:
    """The contrast of two colours, from 1 to 21 (WCAG 2.2)."""
    dark, light = sorted(_luminance(colour) for colour in (one, other))
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: str) -> float:
    channels = to_rgb(colour)
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ (0.2126, 0.7152, 0.0722))
