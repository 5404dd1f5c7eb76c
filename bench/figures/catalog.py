"""Every figure of a run, and which of them make a file. A new figure is a builder in its own file, and a line here.

A builder makes the figures that the run has rows for; each says itself (`Place`) in which file and in which group of
the page it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from lengthscale.bench.figures import costs, gradients, learned, pareto, surface
from lengthscale.bench.figures.run import Run, caption
from lengthscale.bench.figures.spec import Figure, Sheet

BUILDERS: tuple[Callable[[Run], list[Figure]], ...] = (
    costs.figures,
    learned.figures,
    pareto.figures,
    gradients.figures,
    surface.figures,
)
GROUPS = {  # of the page
    "ratio": "B over A",
    "time": "Time",
    "throughput": "Throughput",
    "memory": "Memory",
    "state": "State and KV cache",
    "learned": "What length buys",
    "share": "Share of the machine's limit",
    "compile": "Compiling",
}
OVERVIEW = (("train", "time"), ("forward", "time"), ("train", "memory"), ("decode", "time"), ("decode", "state"))
TIMED = ("train", "forward", "decode")


@dataclass(frozen=True)
class Single:
    """What may be asked for with `plot --y`; the first of both is meant where nothing is said."""

    measures: tuple[str, ...]  # that have it
    by_x: tuple[str, ...]  # what it is drawn against: the first that there is anything of


SINGLE = {
    **{y: Single((*TIMED, "quality"), ("length",)) for y in ("time", "throughput", "memory")},
    "state": Single(("decode", "forward"), ("length",)),
    **{y: Single((*TIMED, "quality"), ("length",)) for y in ("compile", "share")},
    "loss": Single(("quality",), ("context", "length", "cost")),
    "accuracy": Single(("quality",), ("length", "context")),
    "gradient": Single(("gradients",), ("lag",)),
    "ratio": Single(("decode",), ("batch",)),
}


def figures_of(run: Run) -> list[Figure]:
    """Every figure that the run has rows for, in the order of BUILDERS."""
    return [figure for build in BUILDERS for figure in build(run)]


def select(figures: Iterable[Figure], measure: str, y: str, x: str = "") -> list[Figure]:
    """x: "" is the first one that there is anything to draw against."""
    mine = [each for each in figures if (each.place.measure, each.place.y) == (measure, y)]
    found = ([each for each in mine if each.place.x == at] for at in ([x] if x else SINGLE[y].by_x))
    return next((each for each in found if each), [])


def files_of(figures: list[Figure]) -> dict[str, list[Figure]]:
    """The name of each file -> its figures; `overview` is the most important of all."""
    files: dict[str, list[Figure]] = {}
    for figure in figures:
        if figure.place.file:
            files.setdefault(figure.place.file, []).append(figure)
    overview = [figure for each in OVERVIEW for figure in select(figures, *each)]
    overview += select(figures, "quality", "loss", "context")[:1]
    return files | ({"overview": overview} if overview else {})


def sheet_of(run: Run, figures: list[Figure]) -> Sheet:
    """The figures of one file, with the caption that is theirs together."""
    notes = [note for figure in figures for note in figure.notes]
    return Sheet(tuple(figures), caption(run, [figure.place.measure for figure in figures], notes))
