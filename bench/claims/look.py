"""How models and lengths look in a picture, in the theme that is being drawn.

matplotlib is imported when something is drawn: the command line starts without it.
"""

from __future__ import annotations

from collections.abc import Iterable


def look(model: str, method: str = "auto") -> dict:
    """Arguments of `axes.plot`: the model's colour and marker, as in all other pictures; the line is its method's."""
    import matplotlib

    from lengthscale.bench.figures.mpl.style import LIGHT, THEMES
    from lengthscale.bench.figures.mpl.style import look as on_white

    background = matplotlib.rcParams["axes.facecolor"]
    theme = next((theme for theme in THEMES.values() if theme.background == background), LIGHT)
    _, marker, line = on_white(model, method)
    return {"color": theme.colour(model), "marker": marker, "ls": line}


def ticks_at_lengths(axes, lengths: Iterable[int]) -> None:
    """A logarithmic x axis with a tick at each length, such as 4k; nothing where there are fewer than two."""
    from lengthscale.bench.figures.mpl import style

    if len(lengths := set(lengths)) > 1:
        style.ticks_at_lengths(axes, lengths)
