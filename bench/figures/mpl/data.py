"""What the pictures are made of: a folder's CSVs, as frames and as series of one curve each."""

# pandas' types cannot tell a column from a frame:
# pyright: reportArgumentType=false, reportCallIssue=false, reportGeneralTypeIssues=false, reportReturnType=false
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from lengthscale.bench.analysis.answer import device_name
from lengthscale.bench.figures.mpl.failures import Failures
from lengthscale.bench.figures.mpl.style import line
from lengthscale.bench.plan.cell import IDENTITY
from lengthscale.bench.plan.measures import MEASURES
from lengthscale.bench.plan.series import model_name, size_name
from lengthscale.bench.results.codec import OUTCOME
from lengthscale.bench.results.errors import JournalError
from lengthscale.models import every_model, present_name

_TEXT = {"git_sha": str, "jax_version": str}  # some have digits alone
_CELL = list(IDENTITY[1:])
_ORDER = {name: number for number, name in enumerate(every_model())}


@dataclass(frozen=True)
class Run:
    folder: Path
    frames: dict[str, pd.DataFrame]  # of each measure, with all of its columns: one that a CSV lacks is blank
    fits: pd.DataFrame  # no rows where the folder has no such file
    crossovers: pd.DataFrame
    environment: dict

    def only(self, models: Iterable[str]) -> Run:
        """models: by their present names."""
        chosen = set(models)
        frames = {name: frame[frame["model"].map(present_name).isin(chosen)] for name, frame in self.frames.items()}
        return replace(self, frames=frames)

    def cells(self, measure: str) -> pd.DataFrame:
        """A row for each cell, where a measure has several."""
        return self.frames[measure].drop_duplicates(_CELL)


@dataclass(frozen=True)
class Series:
    """The rows of one curve, short lengths first."""

    measure: str
    model: str
    name: str  # the model's, with what else tells it from its neighbours but for the seed
    line: str | tuple
    rows: pd.DataFrame

    def good(self, column: str) -> pd.DataFrame:
        return self.rows[(self.rows["status"] == "ok") & self.rows[column].notna()]

    def failures(self, colour: str, on_axis: bool = True) -> Failures:
        bad = self.rows[self.rows["status"] != "ok"]
        at = [(int(length), status) for length, status in zip(bad["length"], bad["status"], strict=True)]
        return Failures(self.name, colour, at, [int(length) for length in self.rows["length"]], on_axis)

    def row_of(self, fits: pd.DataFrame, quantity: str) -> pd.Series | None:
        """The one of fits.csv that is about this curve."""
        first = self.rows.iloc[0]
        keys = {"measure": self.measure, "quantity": quantity, "model": self.model}
        keys |= {name: first[name] for name in ("size", "method", "batch", "dtype", "data", "seed")}
        mine = fits
        for name, value in keys.items():
            mine = mine[mine[name] == value] if len(mine) else mine
        return mine.iloc[0] if len(mine) else None


def read_run(folder: Path) -> Run:
    """Raises JournalError where the folder has no CSV of a measure."""
    frames = {}
    for name, measure in MEASURES.items():
        path = folder / f"{name}.csv"
        if path.exists():
            frame = pd.read_csv(path, dtype=_TEXT)
            columns = dict.fromkeys((*_CELL, *OUTCOME, *measure.columns, *frame.columns))
            frame = frame.reindex(columns=list(columns))
            frames[name] = frame[frame["control"].isna()] if "control" in frame else frame  # the claims' own business
    if not frames:
        raise JournalError(f"{folder} holds no CSV of {', '.join(MEASURES)}")
    fits, crossovers = (
        pd.read_csv(path) if path.exists() else pd.DataFrame()
        for path in (folder / "fits.csv", folder / "crossovers.csv")
    )
    path = folder / "environment.json"
    return Run(folder, frames, fits, crossovers, json.loads(path.read_text()) if path.exists() else {})


def series_of(measure: str, frame: pd.DataFrame, each_length: bool = False) -> list[Series]:
    """In the order of MODELS. each_length: every length that was trained at is a series, not a point of one."""
    learns = MEASURES[measure].learns
    telling = ["method", "size", "dtype", *(("data",) if learns else ("batch",))]
    measured = frame[frame["status"] == "ok"]
    varying = [name for name in telling if name == "method" or measured[name].nunique() > 1]
    groups = frame.groupby(["model", *telling, "seed", *(("length",) if each_length else ())], sort=True)
    groups = sorted(((tuple(key), rows) for key, rows in groups), key=lambda group: _rank(group[0][0]))
    ranks: dict[str, list[str]] = {}
    series = []
    for key, rows in groups:
        facts = dict(zip(["model", *telling], key, strict=False))
        name = _name(facts, varying)
        mine = ranks.setdefault(facts["model"], [])
        if name not in mine:
            mine.append(name)
        rank = mine.index(name)
        series.append(Series(measure, facts["model"], name, line(rank), rows.sort_values("length", kind="stable")))
    return series


def _rank(model: str) -> int:
    return _ORDER.get(present_name(model), len(_ORDER))


def _name(facts: dict, varying: list[str]) -> str:
    name = model_name(facts["model"], facts["method"])
    words = {"size": size_name(str(facts["size"])), "dtype": facts["dtype"]}
    words |= {"batch": f"batch {facts.get('batch')}", "data": facts.get("data")}
    return ", ".join([name, *(str(words[each]) for each in varying if each != "method")])


def caption(run: Run, measures: Iterable[str], notes: Iterable[str]) -> list[str]:
    """What a picture's figures were measured with, piece by piece, and what its lines mean."""
    frames = [run.frames[measure] for measure in dict.fromkeys(measures)]
    row = frames[0].iloc[0]
    facts = {"backend": row["platform"], "cpu_model": "a CPU", **{k: row[k] for k in ("device_kind", "n_cpus")}}
    device = device_name({**facts, "n_devices": int(row["n_devices"]), **run.environment})
    sizes = "/".join(dict.fromkeys(size_name(str(size)) for frame in frames for size in frame["size"].unique()))
    dtypes = "/".join(dict.fromkeys(dtype for frame in frames for dtype in frame["dtype"].unique()))
    batches = {int(b) for m in measures if not MEASURES[m].learns for b in run.frames[m]["batch"].unique()}
    made_of = [sizes, dtypes, *([f"batch {min(batches)}"] if len(batches) == 1 else [])]
    commits = ", ".join(dict.fromkeys(str(sha) for frame in frames for sha in frame["git_sha"].dropna().unique()))
    modified = " (modified)" if run.environment.get("git_dirty") else ""
    versions = "/".join(dict.fromkeys(v for frame in frames for v in frame["jax_version"].dropna().unique()))
    return [device, f"jax {versions}", ", ".join(made_of), f"commit {commits}{modified}", *dict.fromkeys(notes)]
