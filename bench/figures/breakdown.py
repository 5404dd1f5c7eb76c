"""Builds the figures of where the time goes: the share of each kind of operator in a step, stacked, against length."""

from __future__ import annotations

from lengthscale.bench.analysis import text
from lengthscale.bench.figures.costs import STEPS, failures_of
from lengthscale.bench.figures.run import Run, Series, caption, series_of
from lengthscale.bench.figures.spec import NOWHERE, Axis, Bar, Bars, Figure, Place
from lengthscale.bench.results.csv_table import TextRow

MODES = ("train", "forward")
PERTURBED = "*: the profiler slowed the step by more than 15%"


def figures(run: Run) -> list[Figure]:
    """A figure for each mode for which the run has shares."""
    rows = run.rows.get("breakdown", [])
    return [figure for mode in MODES if (figure := _figure(run, rows, mode))]


def _figure(run: Run, rows: list[TextRow], mode: str) -> Figure | None:
    mine = [row for row in rows if row.ok and row.text("mode") == mode and row.has("part_share")]
    if not mine:
        return None
    parts = tuple(dict.fromkeys(row.text("part") for row in mine))
    bars = tuple(bar for each in series_of("breakdown", mine) for bar in _bars(each, parts))
    perturbed = any(bar.label.endswith("*") for bar in bars)
    return Figure(
        title=f"{STEPS[mode]}: where the time goes",
        x=Axis("sequence length (tokens)"),
        y=Axis("share of a step's time", limits=(0.0, 1.0)),
        bars=Bars(parts, bars),
        failures=failures_of(series_of("breakdown", rows), on_axis=False),
        names=NOWHERE,
        about=caption(run, ["breakdown"]),
        notes=("measured with jax's profiler", *([PERTURBED] if perturbed else [])),
        place=Place("breakdown", "parts", name=f"{mode}-parts", group="parts", file=f"{mode}_parts"),
    )


def _bars(each: Series, parts: tuple[str, ...]) -> list[Bar]:
    """A bar for each length."""
    by_length: dict[int, dict[str, TextRow]] = {}
    for row in each.rows:
        by_length.setdefault(row.length, {}).setdefault(row.text("part"), row)
    return [
        Bar(
            model=each.model,
            group=each.name,
            label=text.length(length) + ("*" if "perturbed" in found[parts[0]].text("flags") else ""),
            heights=tuple(found[part].number("part_share") for part in parts),
            rows=tuple(found[part].number_in_file for part in parts),
        )
        for length, found in by_length.items()
    ]
