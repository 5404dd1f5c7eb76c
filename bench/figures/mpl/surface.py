"""Mamba's decoding tokens a second over those of each model with a cache, over context and batch.

Where one of the two failed, the place says so.
"""

# pandas' types cannot tell a column from a frame:
# pyright: reportArgumentType=false, reportCallIssue=false, reportGeneralTypeIssues=false, reportReturnType=false

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
from matplotlib.colors import LogNorm, to_hex

from lengthscale.bench.figures.mpl.data import Run
from lengthscale.bench.figures.mpl.figure import Drawn, Panel
from lengthscale.bench.figures.mpl.style import Theme, contrast, plt, short
from lengthscale.models import is_known, spec_of

FAST = "mamba"
MOST = 8.0  # a ratio at which the colours end, and its inverse


def panels(run: Run) -> list[Panel]:
    """None where there was one batch alone, or nothing to compare with."""
    if "decode" not in run.frames:
        return []
    frame = run.cells("decode")
    frame = pd.DataFrame(frame[(frame["method"] == "auto")])
    slow = [name for name in frame["model"].unique() if is_known(name) and not spec_of(name).streams]
    if frame["batch"].nunique() < 2 or FAST not in set(frame["model"]):
        return []
    note = "each place: the ratio of the medians"
    return [
        Panel("decode", f"Decoding: {FAST}'s tokens/s over {name}'s", partial(_draw, frame=frame, slow=name), (note,))
        for name in slow
    ]


def ratios(frame: pd.DataFrame, slow: str) -> pd.DataFrame:
    """Batch (rows) by context (columns); a number, the failure's status, or None where it was not measured."""
    table = {}
    for (batch, length), place in frame.groupby(["batch", "length"]):
        rows = [place[place["model"] == model] for model in (FAST, slow)]
        if all(len(each) for each in rows):
            firsts = [each.iloc[0] for each in rows]
            bad = [f"{first['model']}\n{first['status']}" for first in firsts if first["status"] != "ok"]
            ratio = firsts[0]["tokens_per_s"] / firsts[1]["tokens_per_s"]
            table[int(batch), int(length)] = "\n".join(bad) if bad else float(ratio)
    series = pd.Series(table, dtype=object)
    return series.unstack() if len(series) else pd.DataFrame()


def _draw(axes, theme: Theme, *, frame: pd.DataFrame, slow: str) -> Drawn:
    table = ratios(frame, slow).sort_index(ascending=False)
    numbers = table.map(lambda value: value if isinstance(value, float) else np.nan).to_numpy(float)
    colours = plt.get_cmap("PuOr_r")
    norm = LogNorm(1 / MOST, MOST, clip=True)
    axes.imshow(np.ma.masked_invalid(numbers), cmap=colours, norm=norm, aspect="auto")
    for row, column in np.ndindex(table.shape):
        value = table.iat[row, column]
        if isinstance(value, str):
            axes.text(column, row, value, ha="center", va="center", fontsize=7, color=theme.text)
        elif isinstance(value, float) and np.isfinite(value):
            ground = to_hex(colours(norm(value)))
            ink = max(("#000000", "#ffffff"), key=lambda each: contrast(each, ground))
            axes.text(column, row, f"{value:.3g}x", ha="center", va="center", color=ink)
    axes.set_xticks(range(len(table.columns)), [short(length) for length in table.columns])
    axes.set_yticks(range(len(table.index)), [str(batch) for batch in table.index])
    axes.tick_params(length=0)
    axes.grid(False)
    axes.spines[:].set_visible(False)
    axes.set(xlabel="context (tokens)", ylabel="batch (sequences)")
    return Drawn([], [])
