"""Builds the figures of the gradient of the last loss with respect to the input at step t.

The x axis is the lag T - t + 1, so that the last step is at 1 and has a place on a logarithmic axis.
"""

from __future__ import annotations

from lengthscale.bench.analysis import text
from lengthscale.bench.figures.costs import failures_of
from lengthscale.bench.figures.run import Run, Series, caption, series_of
from lengthscale.bench.figures.spec import Axis, DrawnCurve, Ends, Figure, Place

_TITLES = {1: "Gradient of the last loss, trained", 0: "Gradient of the last loss, at initialisation"}


def figures(run: Run) -> list[Figure]:
    """The figures of the gradients of the longest sequences, after training and at initialisation."""
    rows = [row for row in run.rows.get("gradients", ()) if row.ok and row.number("grad_norm") > 0]
    longest = max((row.length for row in rows), default=0)
    made = []
    for trained, title in _TITLES.items():
        mine = [row for row in rows if row.length == longest and row.whole("trained") == trained]
        if not mine:
            continue
        series = series_of("gradients", mine, each_length=True)
        farthest = 1 + max(row.whole("distance") for row in mine)
        is_first = not made  # both figures are in one file, which needs the failures only once
        zero = any(row.number("grad_norm") == 0 for row in run.rows["gradients"])
        made.append(
            Figure(
                title=title,
                x=Axis(
                    f"lag T - t + 1 (tokens), T = {text.length(longest)}",
                    "log",
                    lengths=tuple(2**power for power in range(farthest.bit_length())),
                ),
                y=Axis("norm of d loss_T / d x_t (median)", "log"),
                curves=tuple(_curve(each) for each in series),
                failures=failures_of(series_of("gradients", run.rows["gradients"]), on_axis=False) if is_first else (),
                about=caption(run, ["gradients"]),
                notes=("band: p10 to p90", *(["a curve ends where its gradient is 0"] if zero else [])),
                place=Place(
                    *("gradients", "gradient", "lag", f"gradients-{'trained' if trained else 'initial'}"),
                    group="learned",
                    file="gradients",
                ),
            )
        )
    return made


def _curve(each: Series) -> DrawnCurve:
    points = sorted(each.rows, key=lambda row: row.number("distance"))
    floor = min(row.number("grad_norm") for row in points) / 10
    return DrawnCurve(
        model=each.model,
        name=each.name,
        x=tuple(row.number("distance") + 1 for row in points),
        y=tuple(row.number("grad_norm") for row in points),
        rows=tuple(row.number_in_file for row in points),
        dash=each.dash,
        spread=Ends(
            tuple(max(row.number("grad_norm_p10"), floor) for row in points),
            tuple(row.number("grad_norm_p90") for row in points),
        ),
    )
