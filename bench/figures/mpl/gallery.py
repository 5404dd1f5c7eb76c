"""The set of pictures of a results folder, and each single one that may be asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from lengthscale.bench.figures.mpl import costs, learned, pareto, surface
from lengthscale.bench.figures.mpl.data import Run, caption, read_run
from lengthscale.bench.figures.mpl.figure import Panel, render
from lengthscale.bench.figures.mpl.style import THEMES, Theme, save

KINDS = (".png", ".svg")
TIMED = ("train", "forward", "decode")

Draw = Callable[[Run, str], list[Panel]]  # of a run and a measure; no panels where the CSVs do not have it


@dataclass(frozen=True)
class Single:
    """A quantity that may be asked for: the measures that have it, and what it is drawn against."""

    measures: tuple[str, ...]  # the first is meant where none is named
    by_x: dict[str, Draw]  # so is the first of these


def _cost(y: str, measures: tuple[str, ...] = (*TIMED, "quality")) -> Single:
    return Single(measures, {"length": lambda run, measure: costs.panels(run, measure, y)})


SINGLE = {
    "time": _cost("time"),
    "throughput": _cost("throughput"),
    "memory": _cost("memory"),
    "state": _cost("state", ("decode", "forward")),
    "compile": _cost("compile"),
    "share": _cost("share"),
    "loss": Single(
        ("quality",),
        {
            "context": lambda run, _: learned.context_panels(run, "loss"),
            "length": lambda run, _: learned.beyond_panels(run, "loss"),
            "cost": lambda run, _: pareto.panels(run),
        },
    ),
    "accuracy": Single(
        ("quality",),
        {
            "length": lambda run, _: learned.beyond_panels(run, "accuracy"),
            "context": lambda run, _: learned.context_panels(run, "accuracy"),
        },
    ),
    "gradient": Single(("gradients",), {"lag": lambda run, _: learned.gradient_panels(run)}),
    "ratio": Single(("decode",), {"batch": lambda run, _: surface.panels(run)}),
}


def panels_of(run: Run, measure: str, y: str, x: str = "") -> list[Panel]:
    """x: "" is the first one that there is anything to draw against."""
    by_x = SINGLE[y].by_x
    found = (by_x[each](run, measure) for each in ([x] if x else by_x))
    return next((panels for panels in found if panels), [])


def _several(measures: Iterable[str], y: str) -> Callable[[Run], list[Panel]]:
    return lambda run: [panel for measure in measures for panel in panels_of(run, measure, y)]


def _overview(run: Run) -> list[Panel]:
    of_costs = (("train", "time"), ("forward", "time"), ("train", "memory"), ("decode", "time"), ("decode", "state"))
    panels = [panel for each in of_costs for panel in panels_of(run, *each)]
    return panels + learned.context_panels(run, "loss")[:1]


# file name -> its panels; a picture without any is not drawn
PICTURES: dict[str, Callable[[Run], list[Panel]]] = {
    "train_time": _several(["train"], "time"),
    "train_throughput": _several(["train"], "throughput"),
    "train_memory": _several(["train"], "memory"),
    "forward_time": _several(["forward"], "time"),
    "forward_throughput": _several(["forward"], "throughput"),
    "forward_memory": _several(["forward"], "memory"),
    "decode_latency": _several(["decode"], "time"),
    "decode_state": _several(["decode"], "state"),
    "decode_ratio": _several(["decode"], "ratio"),
    "compile_time": _several(TIMED, "compile"),
    "machine_share": _several(TIMED, "share"),
    "quality_loss": lambda run: learned.context_panels(run, "loss"),
    "quality_beyond": learned.beyond_panels,
    "quality_cost": pareto.panels,
    "gradients": _several(["gradients"], "gradient"),
    "overview": _overview,
}


def plot_folder(folder: Path) -> list[Path]:
    """Draw everything the folder's CSVs allow, light and dark; the paths written. Raises JournalError where there is
    nothing.
    """
    run = read_run(folder)
    home = folder / "plots"
    home.mkdir(exist_ok=True)
    written = []
    for name, panels_in in PICTURES.items():
        if panels := panels_in(run):
            for theme in THEMES.values():
                written += draw(run, panels, theme, paths_of(home, name, theme))
    return written


def paths_of(home: Path, name: str, theme: Theme) -> list[Path]:
    suffix = "" if theme.name == "light" else f"-{theme.name}"
    return [home / f"{name}{suffix}{kind}" for kind in KINDS]


def draw(run: Run, panels: list[Panel], theme: Theme, paths: Iterable[Path]) -> list[Path]:
    notes = [note for panel in panels for note in panel.notes]
    with theme.applied():
        return save(render(panels, theme, caption(run, [panel.measure for panel in panels], notes)), paths)
