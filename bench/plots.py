"""CSVs in, pictures out: cost and loss against length, PNG and SVG. Failures are marked, never dropped. No jax here."""

# pandas' types cannot tell a column from a frame:
# pyright: reportArgumentType=false, reportCallIssue=false, reportGeneralTypeIssues=false, reportReturnType=false
# pyright: reportAssignmentType=false

from __future__ import annotations

import json
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd

from bench.journal import JournalError
from bench.measures import MEASURES
from bench.summary import size_name
from models import MODELS

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.ticker import FuncFormatter

# Okabe and Ito's colour-blind safe colours, then Tol's muted ones: a colour a model, everywhere; its variants share it.
_COLOURS = (
    *("#E69F00", "#009E73", "#56B4E9", "#D55E00", "#CC79A7", "#882255", "#999933", "#117733", "#0072B2"),
    *("#000000", "#44AA99", "#AA4499", "#332288", "#888888", "#661100", "#6699CC"),
)
_MARKERS = "os^DvPX*<>"
_BASES = [name for name, spec in MODELS.items() if not spec.variant_of]
STYLE = {
    name: (_COLOURS[_BASES.index(spec.variant_of or name) % len(_COLOURS)], _MARKERS[i % len(_MARKERS)])
    for i, (name, spec) in enumerate(MODELS.items())
}
_LINES = ("-", "--", ":", "-.")  # one a method

TIME, THROUGHPUT, MEMORY = "time of a step (ms)", "tokens/s", "peak memory (MB)"
# file name -> (measure, column, factor, title, label of the y axis, slopes of the guides)
CURVES = {
    "train_time": ("train", "time_median_ms", 1, "Training step: time", TIME, (1, 2)),
    "train_throughput": ("train", "tokens_per_s", 1, "Training: throughput", THROUGHPUT, (-1,)),
    "train_memory": ("train", "mem_peak_bytes", 1e-6, "Training step: memory", MEMORY, (1, 2)),
    "forward_time": ("forward", "time_median_ms", 1, "Prefill: time", TIME, (1, 2)),
    "forward_throughput": ("forward", "tokens_per_s", 1, "Prefill: throughput", THROUGHPUT, (-1,)),
    "forward_memory": ("forward", "mem_peak_bytes", 1e-6, "Prefill: memory", MEMORY, (1, 2)),
    "decode_latency": ("decode", "time_median_ms", 1, "Decoding: time of one token", "time of a token (ms)", (1,)),
    "decode_state": ("decode", "state_bytes", 1e-6, "Decoding: state", "state or KV cache (MB)", (1,)),
}
TITLES = {
    "quality": "Loss on the same targets against context",
    "beyond": "Held-out sequences of other lengths",
    "gradients": "How far back the last step's gradient reaches",
}
OVERVIEW = ("train_time", "forward_time", "train_memory", "decode_latency", "decode_state")


def plot_folder(folder: Path) -> list[Path]:
    """Draw everything the folder's CSVs allow; the paths written. Raises JournalError where there is nothing."""
    frames = {name: pd.read_csv(folder / f"{name}.csv") for name in MEASURES if (folder / f"{name}.csv").exists()}
    if not frames:
        raise JournalError(f"{folder} holds no CSV of {', '.join(MEASURES)}")
    caption = _caption(folder, frames)
    (folder / "plots").mkdir(exist_ok=True)
    written = []
    for name, (measure, *_) in CURVES.items():
        if measure in frames and frames[measure][CURVES[name][1]].notna().any():
            figure, axes = plt.subplots(figsize=(6.4, 4.6), layout="constrained")
            _draw_curves(axes, frames[measure], name)
            axes.legend(fontsize=8)
            written += _save(figure, folder, name, caption)
    for name, (measure, column, draw) in LEARNED.items():
        if measure in frames and frames[measure][column].notna().any():
            figure, axes = plt.subplots(figsize=(6.4, 4.6), layout="constrained")
            draw(axes, frames[measure])
            axes.legend(fontsize=7)
            written += _save(figure, folder, name, caption)
    written += _overview(folder, frames, caption)
    return written


def _overview(folder: Path, frames: dict, caption: str) -> list[Path]:
    names = [name for name in OVERVIEW if CURVES[name][0] in frames]
    loss = "quality" in frames and frames["quality"]["context"].notna().any()
    panels = len(names) + loss
    columns = min(3, panels)
    figure, grid = plt.subplots(
        -(-panels // columns),
        columns,
        figsize=(4.4 * columns, 3.7 * -(-panels // columns)),
        squeeze=False,
        layout="constrained",
    )
    for axes in grid.flat[panels:]:
        axes.set_visible(False)
    for axes, name in zip(grid.flat, names, strict=False):
        _draw_curves(axes, frames[CURVES[name][0]], name)
    if loss:
        _draw_loss(grid.flat[panels - 1], frames["quality"], longest_only=True)
    handles, labels = grid.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=min(max(1, len(labels)), 9), fontsize=9)
    return _save(figure, folder, "overview", caption)


def _draw_curves(axes, frame: pd.DataFrame, name: str) -> None:
    measure, column, factor, title, label, slopes = CURVES[name]
    _decorate(axes, title, label, "context length" if measure == "decode" else "sequence length", frame["length"])
    highest = frame[column].max() * factor
    for key, curve in _curves(frame):
        colour, marker, line = _style(*key)
        good = curve[curve["status"] == "ok"].sort_values("length")
        axes.plot(good["length"], good[column] * factor, line, color=colour, marker=marker, ms=5, label=_name(*key))
        if column == "time_median_ms":
            axes.fill_between(good["length"], good["time_p10_ms"], good["time_p90_ms"], color=colour, alpha=0.2, lw=0)
        for _, bad in curve[curve["status"] != "ok"].iterrows():
            axes.plot(bad["length"], highest, "x", color=colour, ms=8, mew=2)
            axes.annotate(bad["status"], (bad["length"], highest), fontsize=6, rotation=45, color=colour)
    _guides(axes, frame[frame["status"] == "ok"], column, factor, slopes)


def _guides(axes, good: pd.DataFrame, column: str, factor: float, slopes) -> None:
    """Faint lines of slope 1 (L) and 2 (L^2), from the middle of the shortest points."""
    good = good[good[column].notna()]
    if good["length"].nunique() < 2:
        return
    ends = np.array([good["length"].min(), good["length"].max()], float)
    start = good.loc[good["length"] == ends[0], column].median() * factor
    bottom, top = axes.get_ylim()
    for slope in slopes:
        x = np.geomspace(*ends, 50)
        y = start * (x / ends[0]) ** slope
        inside = (y <= top) & (y >= bottom)
        if inside.sum() < 2:
            continue
        axes.plot(x[inside], y[inside], color="0.6", lw=0.8, ls=(0, (4, 4)), zorder=0)
        text = {1: "L", 2: "L²", -1: "1/L"}[slope]
        axes.annotate(text, (x[inside][-1], y[inside][-1]), fontsize=8, color="0.4", ha="right", va="top")
    axes.set_ylim(bottom, top)


def _draw_loss(axes, frame: pd.DataFrame, longest_only: bool = False) -> None:
    _decorate(axes, TITLES["quality"], "loss (nats a byte)", "tokens of context before the targets", frame["context"])
    axes.set_yscale("linear")
    good = frame[(frame["status"] == "ok") & frame["context"].notna()]
    longest = good["length"].max()
    for key, curve in _curves(good):
        colour, marker, _ = _style(*key)
        for length, points in curve.groupby("length"):
            if longest_only and length != longest:
                continue
            points = points.sort_values("context")
            shade = 1.0 if length == longest else 0.45
            label = _name(*key) + ("" if longest_only else f", trained at {length}")
            axes.plot(points["context"], points["loss"], color=colour, marker=marker, ms=5, alpha=shade, label=label)
            if length == longest:
                axes.fill_between(
                    points["context"], points["loss_low"], points["loss_high"], color=colour, alpha=0.1, lw=0
                )
    axes.axvline(longest, color="0.6", lw=0.8, ls=":")
    text = {"fontsize": 7, "color": "0.4", "ha": "right", "va": "center", "rotation": 90}
    axes.annotate("trained at", (longest, 0.5), xycoords=("data", "axes fraction"), **text)
    for _, bad in frame[frame["status"] != "ok"].iterrows():
        colour, _, _ = _style(bad["model"], bad["method"])
        axes.plot([], [], "x", color=colour, label=f"{bad['model']} L={bad['length']}: {bad['status']}")


def _draw_beyond(axes, frame: pd.DataFrame) -> None:
    """Accuracy (where there are no classes: loss) on sequences of other lengths than the training's."""
    good = pd.DataFrame(frame[(frame["status"] == "ok") & frame["eval_length"].notna()])
    column = "accuracy" if good["accuracy"].notna().any() else "loss"
    _decorate(axes, TITLES["beyond"], column, "length of the held-out sequences", good["eval_length"])
    axes.set_yscale("linear" if column == "accuracy" else "log")
    for (model, method), curve in _curves(good):
        colour, marker, _ = _style(model, method)
        for (data, length), points in curve.groupby(["data", "length"]):
            points = points.sort_values("eval_length")
            label = f"{_name(model, method)}, {data}, trained at {length}"
            axes.plot(points["eval_length"], points[column], color=colour, marker=marker, ms=5, label=label)
            low, high = points[f"{column}_low"].astype(float), points[f"{column}_high"].astype(float)
            axes.fill_between(points["eval_length"], low, high, color=colour, alpha=0.1, lw=0)


def _draw_gradients(axes, frame: pd.DataFrame) -> None:
    good = pd.DataFrame(frame[frame["grad_norm"].notna()])
    good = pd.DataFrame(good[good["length"] == good["length"].max()]).assign(step=good["distance"] + 1)
    _decorate(axes, TITLES["gradients"], "norm of d loss_T / d x_t", "T - t + 1", good["step"])
    for (model, method), curve in _curves(good):
        colour, marker, _ = _style(model, method)
        for trained, points in curve.groupby("trained"):
            points = points[points["grad_norm"] > 0].sort_values("step")
            line, label = ("-", "after training") if trained else (":", "at initialisation")
            label = f"{_name(model, method)} {label}"
            axes.plot(points["step"], points["grad_norm"], line, color=colour, marker=marker, ms=4, label=label)


def _decorate(axes, title: str, y: str, x: str, lengths: pd.Series) -> None:
    axes.set(xscale="log", yscale="log", title=title, xlabel=f"{x} (tokens)", ylabel=y)
    ticks = sorted(int(length) for length in lengths.dropna().unique())
    axes.set_xticks(ticks)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
    axes.minorticks_off()
    axes.grid(alpha=0.25)
    axes.title.set_fontsize(10)


def _curves(frame: pd.DataFrame):
    """Each (model, method)'s rows, in the order of MODELS."""
    order = {name: number for number, name in enumerate(MODELS)}
    groups = [(tuple(key), rows) for key, rows in frame.groupby(["model", "method"])]
    return sorted(groups, key=lambda group: (order.get(group[0][0], len(order)), group[0][1]))


def _style(model: str, method: str) -> tuple[str, str, str]:
    methods = ("auto", *MODELS[model].methods) if model in MODELS else ("auto",)
    line = _LINES[methods.index(method) % 4] if method in methods else "-"
    return *STYLE.get(model, ("#666666", "o")), line


def _name(model: str, method: str) -> str:
    return model if method == "auto" else f"{model} [{method}]"


def short(length: float) -> str:
    length = int(length)
    for unit, letter in ((1 << 20, "M"), (1 << 10, "k")):
        if length >= unit and length % unit == 0:
            return f"{length // unit}{letter}"
    return str(length)


# file name -> (measure, the column it needs, how it is drawn)
LEARNED = {
    "quality_loss": ("quality", "context", _draw_loss),
    "quality_beyond": ("quality", "eval_length", _draw_beyond),
    "gradients": ("gradients", "grad_norm", _draw_gradients),
}


def _caption(folder: Path, frames: dict) -> str:
    row = next(iter(frames.values())).iloc[0]
    path = folder / "environment.json"
    environment = json.loads(path.read_text()) if path.exists() else {}
    device = environment.get("cpu_model") if row["platform"] == "cpu" else row["device_kind"]
    cores = f", {row['n_cpus']} cores" if row["platform"] == "cpu" else f" x {row['n_devices']}"
    sizes = "/".join(sorted({size_name(size) for frame in frames.values() for size in frame["size"]}))
    dtypes = "/".join(sorted({dtype for frame in frames.values() for dtype in frame["dtype"]}))
    dirty = " (modified)" if environment.get("git_dirty") else ""
    commit = f"commit {row['git_sha']}{dirty}"
    return f"{device}{cores} · jax {row['jax_version']} · {sizes}, {dtypes} · {commit} · median, p10 to p90"


def _save(figure, folder: Path, name: str, caption: str) -> list[Path]:
    figure.supxlabel(caption, fontsize=7, color="0.4")
    paths = [folder / "plots" / f"{name}.{kind}" for kind in ("png", "svg")]
    for path in paths:
        figure.savefig(path, dpi=130, metadata={"Date": None} if path.suffix == ".svg" else None)
    plt.close(figure)
    return paths
