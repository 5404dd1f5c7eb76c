"""The list of all figures of a run, and of the files that they go to.

A new figure is a builder in a file of its own and one line here. A builder makes the figures for which the run has
rows; the `Place` of each figure says to which file and to which group of the page it belongs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from lengthscale.bench.figures import (
    breakdown,
    costs,
    frontier,
    gradients,
    learned,
    pareto,
    recall_state,
    surface,
    trained,
)
from lengthscale.bench.figures.run import Run, caption
from lengthscale.bench.figures.spec import Figure, Sheet

BUILDERS: tuple[Callable[[Run], list[Figure]], ...] = (
    costs.figures,
    learned.figures,
    trained.figures,
    recall_state.figures,
    pareto.figures,
    gradients.figures,
    surface.figures,
    breakdown.figures,
    frontier.figures,
)
GROUPS = {  # the groups of the page and their headings
    "ratio": "B over A",
    "time": "Time",
    "ttft": "Time to first token",
    "tpot": "Time per output token",
    "throughput": "Throughput",
    "memory": "Memory",
    "state": "State and KV cache",
    "frontier": "What fits into the memory",
    "learned": "What length buys",
    "parts": "Where the time goes",
    "share": "Share of the machine's limit",
    "compile": "Compiling",
}
OVERVIEW = (("train", "time"), ("forward", "time"), ("train", "memory"), ("decode", "time"), ("decode", "state"))
LOSS_BY = ("context", "length", "trained", "cost", "items", "tokens", "seconds")
TIMED = ("train", "forward", "operator", "decode", "generate")


@dataclass(frozen=True)
class Single:
    """What `plot` can draw of one quantity of `--y`. The first value of each field is the default."""

    measures: tuple[str, ...]  # the measures that have the quantity
    by_x: tuple[str, ...]  # values of `plot --x`; without --x, the first one that has a figure


SINGLE = {
    **{y: Single((*TIMED, "quality"), ("length",)) for y in ("time", "throughput", "memory")},
    **{y: Single(("generate",), ("length",)) for y in ("ttft", "tpot")},
    "state": Single(("decode", "forward", "generate"), ("length",)),
    **{y: Single((*TIMED, "quality"), ("length",)) for y in ("compile", "share")},
    "loss": Single(("quality", "recall", "tracking"), LOSS_BY),
    "accuracy": Single(("quality", "recall", "tracking"), ("length", "context", "items", "state")),
    "gradient": Single(("gradients",), ("lag",)),
    "ratio": Single(("decode",), ("batch",)),
    "parts": Single(("breakdown",), ("length",)),
    **{y: Single(("frontier",), ("mode",)) for y in ("longest", "batch")},
}


def figures_of(run: Run) -> list[Figure]:
    """All figures for which the run has rows, in the order of BUILDERS."""
    return [figure for build in BUILDERS for figure in build(run)]


def select(figures: Iterable[Figure], measure: str, y: str, x: str = "") -> list[Figure]:
    """The figures of a measure's quantity y against x. x: "" selects the first one in SINGLE that has a figure."""
    mine = [each for each in figures if (each.place.measure, each.place.y) == (measure, y)]
    found = ([each for each in mine if each.place.x == at] for at in ([x] if x else SINGLE[y].by_x))
    return next((each for each in found if each), [])


def files_of(figures: list[Figure]) -> dict[str, list[Figure]]:
    """The name of each file -> its figures. The file `overview` has the most important figures."""
    files: dict[str, list[Figure]] = {}
    for figure in figures:
        if figure.place.file:
            files.setdefault(figure.place.file, []).append(figure)
    overview = [figure for each in OVERVIEW for figure in select(figures, *each)]
    overview += [*select(figures, "quality", "loss", "context")[:1], *_recall(figures)]
    return files | ({"overview": overview} if overview else {})


def _recall(figures: list[Figure]) -> list[Figure]:
    """The figure of recall in the overview: against the number of items, or else against the length."""
    found = (select(figures, "recall", "accuracy", x) for x in ("items", "length"))
    return next((each[:1] for each in found if each), [])


def sheet_of(run: Run, figures: list[Figure]) -> Sheet:
    """The sheet of these figures, with one caption for all of them."""
    notes = [note for figure in figures for note in figure.notes]
    about = caption(run, [figure.place.measure for figure in figures], notes)
    widest = max((len(figure.bars.bars) for figure in figures if figure.bars), default=0)
    if not widest:
        return Sheet(tuple(figures), about)
    return Sheet(tuple(figures), about, size=(max(5.8, 0.3 * widest), 3.6), legend_on_top=True)
