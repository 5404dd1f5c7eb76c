"""The request of `run`: its options parsed and validated, before anything is computed."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lengthscale.bench.data import load as load_data
from lengthscale.bench.data import public
from lengthscale.bench.data.errors import DataError
from lengthscale.bench.data.synthetic import SYNTHETIC, Task
from lengthscale.bench.plan import checks, options
from lengthscale.bench.plan.cell import Cell, Grid, parse_lengths
from lengthscale.bench.plan.checkpoint import default_data, open_checkpoint, possible_lengths
from lengthscale.bench.plan.errors import RequestError
from lengthscale.bench.plan.measures import MEASURES
from lengthscale.bench.plan.options import Given
from lengthscale.bench.plan.parse import Shard
from lengthscale.bench.plan.run_options import OPTIONS, changed_settings, in_suite_json
from lengthscale.bench.plan.settings import Settings
from lengthscale.bench.plan.suites import SUITES, Sweep
from lengthscale.bench.plan.workloads import DEFAULT_DATA, Data, version
from lengthscale.models import spec_of, unknown
from lengthscale.models.checkpoints import Checkpoint, CheckpointError


@dataclass(frozen=True)
class Request:
    """A sweep, ready to run."""

    suite: str
    cells: list[Cell]
    unsupported: dict[Cell, str]  # cells of the grid that their model does not support, and why
    settings: Settings
    data_versions: dict[str, str]
    notes: dict[str, str]  # by the data's name, what a user should know about them; only data that have a note
    out: Path | None  # None: a new folder below results/
    shard: str  # "i/n": these are the cells of one of n machines; "": all of them
    arguments: list[str]  # of the command line, as `--resume` needs them
    rerun: bool  # the folder's files are renamed, and everything is measured again
    minutes: float = math.inf  # after which no cell begins
    table: Path | None = None  # where a dry run writes its plans

    def configuration(self) -> dict:
        """The content of suite.json: what all rows of a folder have in common."""
        return {
            "suite": self.suite,
            "settings": json.loads(json.dumps(asdict(self.settings))),
            "data_versions": self.data_versions,
            "shard": self.shard,
            "arguments": self.arguments,
            "cells": [cell.key() for cell in self.cells],
        }


@dataclass(frozen=True)
class _Parts:
    """The parts that cells are made of, each valid by itself."""

    values: Mapping[str, Any]  # by the options' names
    settings: Settings
    checkpoint: Checkpoint | None
    sweeps: list[tuple[str, Sweep, dict[str, tuple[str, ...]]]]  # a measure, its sweep, and the data of each model
    data: dict[str, Data]  # by name


def read_request(given: Given) -> tuple[Request, list[str]]:
    """(the request, the mistakes between its parts). given: the options' texts (see options.py).

    Raises RequestError with all mistakes of the parts, if there are any. With --download, the data are fetched if they
    are not in the cache.
    """
    parts = _read_parts(given)
    values = parts.values
    cells = _cells(parts)
    mistakes = checks.check_shuffling(parts.settings) + checks.check_data(parts.data, cells, parts.settings)
    cells = _shard(cells, values["shard"], mistakes)
    versions = {name: version(each) for name, each in parts.data.items()}
    if parts.checkpoint:
        versions[str(parts.checkpoint.path)] = parts.checkpoint.version
    reasons = {
        cell: checks.unsupported(cell, parts.data, parts.checkpoint, parts.settings.room(cell.measure))
        for cell in cells
    }
    return Request(
        suite=values["suite"],
        cells=cells,
        unsupported={cell: reason for cell, reason in reasons.items() if reason},
        settings=parts.settings,
        data_versions=versions,
        notes={name: each.note for name, each in parts.data.items() if not isinstance(each, Task) and each.note},
        out=values["out"],
        shard=str(values["shard"] or ""),
        arguments=in_suite_json(given),
        rerun=values["rerun"],
        minutes=values["minutes"] or math.inf,
        table=values["table"],
    ), mistakes


def _read_parts(given: Given) -> _Parts:
    """The parts of a request. Raises RequestError with all mistakes."""
    values, mistakes = options.parse(OPTIONS, given)
    suite = SUITES[values["suite"]]
    mistakes += _check_download(values)
    if values["on"] and not values["dry_run"]:
        mistakes.append(f"--on {values['on']} plans, and measures nothing: add --dry-run")
    mistakes += _check_table(values)
    checkpoint = _open_checkpoint(values, mistakes)
    if values["download"] is not None:
        _download(values["download"], mistakes)
    chosen = values["download"] or values["data"] or (default_data(checkpoint) if checkpoint else None)
    sweeps = []
    for measure in values["measures"] or suite.measures:
        for sweep in suite.of(measure):
            models = [checkpoint.model] if checkpoint else values["models"] or sweep.models or suite.models
            sweeps.append((measure, sweep, {name: _data_of(measure, name, chosen, sweep) for name in models}))
    sweeps.sort(key=lambda each: each[1].part)
    data = _load({name for _, _, mine in sweeps for each in mine.values() for name in each}, mistakes)
    if mistakes:
        raise RequestError(mistakes)
    return _Parts(values, changed_settings(suite.settings, values), checkpoint, sweeps, data)


def _cells(parts: _Parts) -> list[Cell]:
    values, checkpoint = parts.values, parts.checkpoint
    suite = SUITES[values["suite"]]
    cells: list[Cell] = []
    for measure, sweep, data in parts.sweeps:
        size = str(checkpoint.path) if checkpoint else values["size"] or sweep.size
        listed, settings = parse_lengths(sweep.lengths), parts.settings.of(measure, size)
        possible = possible_lengths(checkpoint, listed, settings.room(measure)) if checkpoint else listed
        cells += Grid(
            measure=measure,
            lengths=values["lengths"] or possible,
            size=size,
            methods=values["methods"],
            batch=values["batch"],
            dtype=values["dtype"] or suite.dtype,
            data=data,
            chunks=values["chunk"] or sweep.chunks or suite.chunks,
            seeds=values["seed"],
            streams=[name for name in data if spec_of(name).streams],
            step_tokens=settings.step_tokens,
        ).cells()
    return list(dict.fromkeys(cells))  # two sweeps of a measure may have cells in common


def _data_of(measure: str, model: str, chosen: str | None, sweep: Sweep) -> tuple[str, ...]:
    """The data of a model's cells. chosen: by the user; a measure on tasks keeps its own if that is no task."""
    if MEASURES[measure].on_tasks and (chosen is None or chosen.partition(":")[0] not in SYNTHETIC):
        return sweep.data
    return (chosen,) if chosen else sweep.data or (DEFAULT_DATA[spec_of(model).kind],)


def _shard(cells: list[Cell], shard: Shard | None, mistakes: list[str]) -> list[Cell]:
    """The cells of one shard. A series stays together: its short cells predict the cost of the long ones."""
    if shard is None:
        return cells
    series = list(dict.fromkeys(cell.series() for cell in cells))
    mine = set(series[shard.number - 1 :: shard.of])
    if not mine:
        mistakes.append(f"--shard {shard}: the sweep has {len(series)} series, so at most that many shards")
    return [cell for cell in cells if cell.series() in mine]


def _load(names: Iterable[str], mistakes: list[str]) -> dict[str, Data]:
    data: dict[str, Data] = {}
    for name in sorted(names):
        try:
            data[name] = load_data(name)
        except DataError as error:
            mistakes += str(error).splitlines()
    return data


def _check_download(values: Mapping[str, Any]) -> list[str]:
    download, data = values["download"], values["data"]
    mistakes = []
    if download is not None and download not in public.PUBLIC:
        mistakes.append(f"--download: {unknown('download', download, public.PUBLIC)}")
    if download is not None and data is not None:
        mistakes.append(f"--download chooses the data, too: give it or --data {data}, not both")
    return mistakes


def _check_table(values: Mapping[str, Any]) -> list[str]:
    table = values["table"]
    if table is None:
        return []
    if not values["dry_run"]:
        return ["--table is of plans: add --dry-run"]
    if table.exists():
        return [f"--table {str(table)!r} exists, and is not replaced"]
    return [] if table.absolute().parent.is_dir() else [f"--table {str(table)!r}: there is no such folder"]


def _download(name: str, mistakes: list[str]) -> None:
    """Fetch public data, unless there are mistakes already. Raises RequestError."""
    if mistakes:
        raise RequestError(mistakes)
    try:
        public.fetch(name)
    except DataError as error:
        raise RequestError(str(error).splitlines()) from error


def _open_checkpoint(values: Mapping[str, Any], mistakes: list[str]) -> Checkpoint | None:
    if values["checkpoint"] is None:
        return None
    for flag, value in (("--models", ",".join(values["models"] or ())), ("--size", values["size"])):
        if value:
            mistakes.append(f"--checkpoint chooses model and size: leave out {flag} {value}")
    try:
        return open_checkpoint(values["checkpoint"])
    except CheckpointError as error:
        mistakes += str(error).splitlines()
        return None
