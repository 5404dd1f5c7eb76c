"""peers.csv into a picture: how far ours is ahead, against length."""

from __future__ import annotations

import json
from pathlib import Path

from lengthscale.bench.figures.spec import NOWHERE, Axis, Cross, DrawnCurve, Ends, Figure, Rule, Sheet
from lengthscale.bench.figures.style import LIGHT
from lengthscale.bench.peers.files import FACTS, TABLE
from lengthscale.bench.peers.rows import ROWS
from lengthscale.bench.results.csv_table import TextRow, read_table

# A row's colour and marker are those of the model that it is a part of.
_MODEL = {"attention": "transformer", "selective-scan": "s4d", "mamba-associative": "mamba", "wkv": "rwkv4"}
_OP = {row.name: row.op for row in ROWS}
_RATIOS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500)
_TITLES = {"forward": "Forward", "train": "Forward + backward"}
_ALONE, _BATCHES, _OTHER = 0, 1, 2  # dashes
_SECOND = ("mamba-associative", "selective-scan-1536-bfloat16")  # with another row of the same model
_SIZE = (5.4, 3.9)  # inches of each figure


def plot_peers(folder: Path) -> list[Path]:
    """The paths of peers.png and peers.svg, a figure for each measure and number of cores; none without any ratio."""
    rows = [row for row in read_table(folder / TABLE).text_rows() if row.text("measure") in _TITLES]
    if not any(row.has("ratio") for row in rows):
        return []
    from lengthscale.bench.figures.mpl.sheet import KINDS, write_one

    figures = figures_of(rows)
    sheet = Sheet(tuple(figures), _caption(folder, rows), columns=len(_TITLES), size=_SIZE, legend_on_top=True)
    return write_one(sheet, LIGHT, [folder / f"peers{kind}" for kind in KINDS])


def figures_of(rows: list[TextRow]) -> list[Figure]:
    """A figure for each measure and number of cores."""
    cores = sorted({row.whole("cores") for row in rows})
    return [
        _figure([row for row in rows if (row.whole("cores"), row.text("measure")) == (n, measure)], measure, n)
        for n in cores
        for measure in _TITLES
    ]


def _figure(rows: list[TextRow], measure: str, cores: int) -> Figure:
    groups: dict[tuple[str, int], list[TextRow]] = {}
    for row in sorted(rows, key=lambda row: (row.text("row"), row.whole("batch"), row.length)):
        groups.setdefault((row.text("row"), row.whole("batch")), []).append(row)
    missing = [(name, row) for (name, _), mine in groups.items() for row in mine if not row.has("ratio")]
    return Figure(
        title=f"{_TITLES[measure]}, {cores} core{'s' if cores > 1 else ''}",
        x=Axis("sequence length (tokens)", "log", lengths=tuple(sorted({row.length for row in rows}))),
        y=Axis("fastest peer's time / ours", "log", ticks=tuple((ratio, f"{ratio:g}x") for ratio in _RATIOS)),
        curves=tuple(curve for key, mine in groups.items() if (curve := _curve(*key, mine)).x),
        marks=(Rule(y=1.0, solid=True), *(Cross(_model(name), row.length, 1.0) for name, row in missing)),
        names=NOWHERE,
    )


def _curve(name: str, batch: int, rows: list[TextRow]) -> DrawnCurve:
    good = [row for row in rows if row.has("ratio")]
    dash = _OTHER if name in _SECOND else _ALONE if batch == 1 else _BATCHES
    ratio, low, high = (tuple(row.number(column) for row in good) for column in ("ratio", "ratio_low", "ratio_high"))
    return DrawnCurve(
        model=_model(name),
        name=name if batch == 1 else f"{name}, batch {batch}",
        x=tuple(row.length for row in good),
        y=ratio,
        dash=dash,
        interval=Ends(low, high),
    )


def _model(name: str) -> str:
    op = _OP.get(name, name)
    return _MODEL.get(op, op)


def _caption(folder: Path, rows: list[TextRow]) -> tuple[str, ...]:
    facts = json.loads((folder / FACTS).read_text())
    peers = ", ".join(f"{name} {version}" for name, version in facts["peers"].items() if version)
    commits = ", ".join(sorted({row.text("git_sha") for row in rows if row.text("git_sha")}))
    dirty = " (modified)" if facts["git_dirty"] else ""
    said = ("medians, paired 95% intervals", "x: no peer could be timed")
    if facts["backend"] == "cpu":
        device, dtype = facts["cpu_model"], "float32"
    else:
        device, dtype = facts["device_kind"], "float32 (IEEE) where a name does not say bfloat16"
    return (device, peers, dtype, f"commit {commits}{dirty}", *said)
