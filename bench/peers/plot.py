"""peers.csv into a picture: how far ours is ahead, against length."""

# pandas' types cannot tell a column from a frame:
# pyright: reportArgumentType=false, reportCallIssue=false, reportGeneralTypeIssues=false, reportReturnType=false

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

from lengthscale.bench.analysis.answer import tokens
from lengthscale.bench.figures.mpl.theme import look, plt
from lengthscale.bench.figures.style import LIGHT
from lengthscale.bench.peers.files import FACTS, TABLE

# A row's colour and marker are those of the model that it is a part of.
_MODEL = {"attention": "transformer", "selective-scan": "s4d", "mamba-associative": "mamba"}
PANELS = ("forward", "train")


def plot_peers(folder: Path) -> list[Path]:
    """peers.png, peers.svg: a panel for each measure and number of cores. The paths; none where nothing has a ratio."""
    frame = pd.read_csv(folder / TABLE, dtype={"git_sha": str})  # some have digits alone
    frame = pd.DataFrame(frame[frame["measure"].isin(PANELS)])
    if not frame["ratio"].notna().any():
        return []
    cores = sorted(frame["cores"].unique())
    figure, grid = plt.subplots(
        len(cores), len(PANELS), figsize=(5.4 * len(PANELS), 3.9 * len(cores)), squeeze=False, layout="constrained"
    )
    for axes_row, n in zip(grid, cores, strict=True):
        for axes, measure in zip(axes_row, PANELS, strict=True):
            _draw(axes, pd.DataFrame(frame[(frame["measure"] == measure) & (frame["cores"] == n)]), measure, n)
    handles = {label: line for axes in grid.flat for line, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles.keys(), loc="outside upper center", ncols=5, fontsize=8)
    figure.supxlabel(_caption(folder, sorted(frame["git_sha"].dropna().unique())), fontsize=7, color="0.4")
    paths = [folder / f"peers.{kind}" for kind in ("png", "svg")]
    for path in paths:
        figure.savefig(path, dpi=130, metadata={"Date": None} if path.suffix == ".svg" else None)
    plt.close(figure)
    return paths


def _draw(axes, frame: pd.DataFrame, measure: str, cores: int) -> None:
    title = {"forward": "Forward", "train": "Forward + backward"}[measure]
    axes.set(xscale="log", yscale="log", xlabel="sequence length (tokens)", ylabel="fastest peer's time / ours")
    axes.set_title(f"{title}, {cores} core{'s' if cores > 1 else ''}", fontsize=10)
    axes.axhline(1, color="0.3", lw=1)
    lengths = sorted(int(length) for length in frame["length"].unique())
    axes.set_xticks(lengths, [tokens(length) for length in lengths])
    axes.minorticks_off()
    axes.grid(alpha=0.25)
    for (name, batch), points in frame.groupby(["row", "batch"]):
        style = look(LIGHT, _MODEL.get(name, name))
        colour, marker = style["color"], style["marker"]
        line = ":" if name == "mamba-associative" else "-" if batch == 1 else "--"
        good = points[points["ratio"].notna()].sort_values("length")
        label = name if batch == 1 else f"{name}, batch {batch}"
        axes.plot(good["length"], good["ratio"], line, color=colour, marker=marker, ms=5, label=label)
        low, high = good["ratio_low"].astype(float), good["ratio_high"].astype(float)
        axes.fill_between(good["length"], low, high, color=colour, alpha=0.15, lw=0)
        for _, bad in points[points["ratio"].isna()].iterrows():
            axes.plot(bad["length"], 1, "x", color=colour, ms=8, mew=2)
    _plain_ratios(axes)


def _plain_ratios(axes) -> None:
    low, high = axes.get_ylim()
    ticks = [tick for tick in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500) if low <= tick <= high]
    axes.set_yticks(ticks, [f"{tick:g}x" for tick in ticks])
    axes.minorticks_off()


def _caption(folder: Path, commits: list[str]) -> str:
    facts = json.loads((folder / FACTS).read_text())
    peers = ", ".join(f"{name} {version}" for name, version in facts["peers"].items() if version)
    dirty = " (modified)" if facts["git_dirty"] else ""
    return (
        f"{facts['cpu_model']} · {peers} · float32 · commit {', '.join(commits)}{dirty} · medians, "
        "paired 95% intervals · x: no peer could be timed"
    )
