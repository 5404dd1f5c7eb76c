"""How a model looks in a plot of the page: what bench/plots/style.py says, in plotly's words. No jax here."""

from __future__ import annotations

import plotly.graph_objects as go

from bench.plots.style import THEMES, line, look
from bench.report.markup import Markup, element

SYMBOLS = {
    "o": "circle",
    "s": "square",
    "^": "triangle-up",
    "D": "diamond",
    "v": "triangle-down",
    "P": "cross",
    "X": "x",
    "*": "star",
    "<": "triangle-left",
    ">": "triangle-right",
}
SHAPES = {  # the same, for the legends: 16 x 12, the middle at (8, 6)
    "o": "M12 6a4 4 0 1 1-8 0a4 4 0 1 1 8 0Z",
    "s": "M4.5 2.5h7v7h-7Z",
    "^": "M8 1.6L12.4 9.4H3.6Z",
    "D": "M8 1.2L12.8 6L8 10.8L3.2 6Z",
    "v": "M8 10.4L12.4 2.6H3.6Z",
    "P": "M6.4 1.5h3.2v2.9h2.9v3.2H9.6v2.9H6.4V7.6H3.5V4.4H6.4Z",
    "X": "M4.2 4.2L6.2 2.2L8 4L9.8 2.2L11.8 4.2L10 6L11.8 7.8L9.8 9.8L8 8L6.2 9.8L4.2 7.8L6 6Z",
    "*": "M8 .8L9.5 4.2L13.2 4.5L10.4 7L11.2 10.6L8 8.7L4.8 10.6L5.6 7L2.8 4.5L6.5 4.2Z",
    "<": "M3.4 6L11.2 1.6V10.4Z",
    ">": "M12.6 6L4.8 1.6V10.4Z",
}
DASHES = ("solid", "7px,3px", "2px,2px", "7px,3px,2px,3px")
_DASH_OF = {line(rank): dash for rank, dash in enumerate(DASHES)}


def colours(model: str) -> dict[str, str]:
    """In each theme."""
    return {name: theme.colour(model) for name, theme in THEMES.items()}


def inks() -> dict[str, str]:
    """Of what is no model's."""
    return {name: theme.text for name, theme in THEMES.items()}


def symbol(model: str, second: bool) -> str:
    """second: of the second of two runs: hollow."""
    return SYMBOLS[look(model)[1]] + ("-open" if second else "")


def dash(of: str | tuple) -> str:
    return _DASH_OF[of]


def swatch(model: str | None, hollow: bool = False) -> Markup:
    """A model's marker in its colour, for a legend; None: a circle in the text's."""
    marker = look(model)[1] if model else "o"
    fill = {"fill": "none", "stroke": "currentColor", "stroke_width": "1.5"} if hollow else {"fill": "currentColor"}
    path = element("path", d=SHAPES[marker], **fill)
    style = "; ".join(f"--{name}: {colour}" for name, colour in colours(model).items()) if model else None
    box = {"width": "16", "height": "12", "viewBox": "0 0 16 12", "aria_hidden": "true"}
    return element("svg", path, class_="swatch", style=style, **box)


def templates() -> dict[str, dict]:
    """plotly's templates: the house style's themes, the page's own background."""
    made = {}
    for name, theme in THEMES.items():
        axis = {
            "gridcolor": theme.grid,
            "linecolor": theme.muted,
            "zerolinecolor": theme.grid,
            "tickcolor": theme.muted,
            "showline": True,
            "ticks": "outside",
            "ticklen": 4,
        }
        clear = "rgba(0,0,0,0)"
        made[name] = go.layout.Template(
            layout={
                "paper_bgcolor": clear,
                "plot_bgcolor": clear,
                "font": {"color": theme.text, "size": 12, "family": "system-ui, sans-serif"},
                "modebar": {"bgcolor": clear, "color": theme.muted, "activecolor": theme.text},
                "xaxis": axis,
                "yaxis": axis,
            }
        ).to_plotly_json()
    return made
