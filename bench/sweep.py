"""Cells in, journal and CSVs out: the loop that a run is. No jax here."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from bench import environment
from bench.cell import Cell
from bench.forecast import Forecast
from bench.journal import Journal, replace_file, write_csvs
from bench.progress import Progress
from bench.request import Request
from bench.runner import Runner


def run_sweep(request: Request, console: Console) -> tuple[Path, list[dict], bool]:
    """(results folder, all of its records, whether it was interrupted). Cells that are there already are not run again.

    Raises RuntimeError where no device can be had, JournalError where the folder is taken, OSError where it cannot be
    written; nothing has been measured then.
    """
    runner = Runner(request.settings)
    described = environment.describe(runner.probe())
    folder = request.out or _new_folder(request.suite, described)
    folder.mkdir(parents=True, exist_ok=True)
    journal = Journal(folder)
    try:
        replace_file(folder / "suite.json", json.dumps(request.configuration(), indent=1))
        replace_file(folder / "environment.json", json.dumps(described, indent=1))
        interrupted = _run_cells(request, runner, journal, environment.row_columns(described), folder, console)
    finally:
        journal.close()
    return folder, journal.records, interrupted


def _run_cells(request: Request, runner: Runner, journal: Journal, row_columns: dict, folder: Path, console) -> bool:
    forecast = Forecast(request.settings)
    for record in journal.records:
        forecast.learn(Cell(**record["cell"]), record)
    finished = {Cell(**record["cell"]) for record in journal.records}
    missing = [cell for cell in request.cells if cell not in finished]
    if finished:
        console.print(f"{len(finished)} of {len(request.cells)} cells are in {folder} already")
    progress = Progress(console, len(missing))
    try:
        with progress.shown():
            for cell in missing:
                progress.start(cell)
                record = _record(cell, request, runner, forecast, progress) | {"environment": row_columns}
                journal.append(record)
                forecast.learn(cell, record)
                write_csvs(folder, journal.records)
                progress.finish(cell, record)
    except KeyboardInterrupt:
        return True
    finally:
        write_csvs(folder, journal.records)
    return False


def _record(cell: Cell, request: Request, runner: Runner, forecast: Forecast, progress: Progress) -> dict:
    for status, reason in (
        ("unsupported", request.unsupported.get(cell)),
        ("skipped", forecast.reason_to_skip(cell)),
    ):
        if reason:
            return not_run(cell, status, reason)
    return runner.measure(cell, progress.stage)


def not_run(cell: Cell, status: str, reason: str) -> dict:
    """The record of a cell that no child was started for."""
    return {"cell": asdict(cell), "status": status, "stage": "plan", "message": reason, "rows": []}


def _new_folder(suite: str, described: dict) -> Path:
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
    return environment.ROOT / "results" / environment.device_slug(described) / f"{suite}-{stamp}"
