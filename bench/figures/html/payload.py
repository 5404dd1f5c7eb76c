"""A figure's description as JSON for assets/charts.js. JSON has no nan and no infinity; both become null."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable
from dataclasses import asdict

import numpy as np

from lengthscale.bench.figures import style
from lengthscale.bench.figures.spec import (
    Bars,
    DrawnCrossing,
    DrawnCurve,
    Ends,
    Failures,
    Figure,
    Reference,
    Rule,
    Slope,
)

_WIDTH = 2  # width of a line in pixels
_REACH = 0.93  # share of the x axis that a guide covers, so that its name has room
_FEWEST = 6  # a guide with fewer points within the figure is too short to be drawn
Place = Callable[[int], int]  # number of a run -> the table's row where that run's rows of the figure's measure begin


def payload(figure: Figure, place: Place) -> dict:
    """The figure as charts.js expects it. place: where the rows of its curves begin in the table of measurements."""
    crossings = [mark for mark in figure.marks if isinstance(mark, DrawnCrossing)]
    trained = [mark.x for mark in figure.marks if isinstance(mark, Rule) and mark.x is not None]
    made = {
        "name": figure.place.name,
        "group": figure.place.group,
        "title": figure.title,
        "x_label": figure.x.label,
        "y_label": figure.y.label,
        "curves": [_curve(curve, place(curve.run)) for curve in figure.curves],
        "lengths": figure.x.lengths,
        "trained": trained[0] if trained else None,
        "y_log": figure.y.scale == "log",
        "from_zero": figure.y.from_zero,
        "failed": [_failed(each, place(each.run), figure) for each in figure.failures if each.on_axis],
        "guides": _guides(figure),
        "crossing": asdict(crossings[0]) if crossings else None,
        "crowded": figure.crowded,
        **({"ticks": figure.x.ticks} if figure.x.ticks else {}),
    }
    return made | ({"bars": _bars(figure.bars, place)} if figure.bars else {})


def failure_texts(figure: Figure) -> list[str]:
    """The figure's failures, as a text for each curve."""
    return [f"{'AB'[each.run]}: {each}" if figure.of_two_runs else str(each) for each in figure.failures]


def look(model: str) -> dict:
    """A model's style in all figures: {light and dark: [colour of lines, colour of letters], symbol: marker}."""
    colours = {theme.name: theme.colour(model) for theme in style.THEMES.values()}
    inks = {theme.name: theme.readable(colours[theme.name]) for theme in style.THEMES.values()}
    return {**{name: [colour, inks[name]] for name, colour in colours.items()}, "symbol": style.marker(model)}


def _curve(curve: DrawnCurve, place: int) -> dict:
    interval, spread = curve.interval or Ends((), ()), curve.spread or Ends((), ())
    dashes = style.dashes(curve.dash)
    return {
        "model": curve.model,
        "name": curve.name,
        "x": _numbers(curve.x),
        "y": _numbers(curve.y),
        "rows": [row + place for row in curve.rows],
        "run": curve.run,
        "dash": "dash" if curve.run else ",".join(f"{length * _WIDTH:g}px" for length in dashes) or "solid",
        "low": _numbers(interval.low),
        "high": _numbers(interval.high),
        "p10": _numbers(spread.low),
        "p90": _numbers(spread.high),
        "planned": _numbers(curve.planned),
        "beyond": [_numbers(each) for each in curve.beyond or ()],
        "faint": curve.faint,
        "joined": curve.joined,
        **({"hollow": True} if curve.hollow else {}),
    }


def _bars(drawn: Bars, place: Place) -> dict:
    """The bars as charts.js draws them: the parts, each with its colour, and the bars."""
    colours = itertools.cycle(style.PART_COLOURS)
    return {
        "parts": [{"name": part, "colour": colour} for part, colour in zip(drawn.parts, colours, strict=False)],
        "bars": [
            {
                **{name: getattr(bar, name) for name in ("model", "group", "label")},
                "heights": _numbers(bar.heights),
                "rows": [row + place(bar.run) for row in bar.rows],
            }
            for bar in drawn.bars
        ],
    }


def _failed(failures: Failures, place: int, figure: Figure) -> dict:
    letter = f" {'AB'[failures.run]}" if figure.of_two_runs else ""
    return {
        "model": failures.model,
        "name": failures.name + letter,
        "x": [failure.length for failure in failures.at],
        "rows": [failure.row + place for failure in failures.at],
        "run": failures.run,
    }


def _guides(figure: Figure) -> list[dict]:
    lines = []
    for mark in figure.marks:
        if isinstance(mark, Reference) and len(mark.x) > 1:
            lines.append({"name": mark.name, "x": _numbers(mark.x), "y": _numbers(mark.y), "steps": mark.steps})
        elif isinstance(mark, Slope):
            lines += _slope(mark, [y for curve in figure.curves for y in curve.y if y])
    return lines


def _slope(mark: Slope, values: list[float]) -> list[dict]:
    """The part of a guide line that is between the curves' lowest and highest values; none if it is too short."""
    x = np.geomspace(mark.start, mark.end**_REACH * mark.start ** (1 - _REACH), 60)
    y = mark.value * (x / x[0]) ** mark.slope
    inside = (y <= max(values)) & (y >= min(values) / 1.25)
    if inside.sum() < _FEWEST:
        return []
    return [{"name": mark.name, "x": _numbers(x[inside]), "y": _numbers(y[inside]), "steps": False}]


def _numbers(values: Iterable[float]) -> list[float | None]:
    return [float(value) if math.isfinite(value) else None for value in values]
