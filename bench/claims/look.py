"""How models and lengths look in a picture, in the theme that is being drawn.

matplotlib is imported when something is drawn: the command line starts without it.
"""

from __future__ import annotations

from collections.abc import Iterable


def look(model: str) -> dict:
    """Arguments of `axes.plot`: the model's colour and marker, as in all other pictures."""
    import matplotlib

    from lengthscale.bench.figures.mpl import theme as drawn
    from lengthscale.bench.figures.style import LIGHT, THEMES

    background = matplotlib.rcParams["axes.facecolor"]
    theme = next((theme for theme in THEMES.values() if theme.background == background), LIGHT)
    return {"color": theme.colour(model), "marker": drawn.look(theme, model)["marker"], "ls": "-"}


def ticks_at_lengths(axes, lengths: Iterable[int]) -> None:
    """A logarithmic x axis with a tick at each length, such as 4k; nothing where there are fewer than two."""
    from lengthscale.bench.figures.mpl import ticks

    if len(lengths := set(lengths)) > 1:
        ticks.at_lengths(axes, lengths)
