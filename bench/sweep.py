"""Cells in, journal and CSVs out: the loop that a run is. No jax here."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from bench import environment
from bench.cell import Cell
from bench.forecast import Forecast
from bench.journal import Journal, replace_file, write_csvs
from bench.measures import MEASURES
from bench.progress import Progress
from bench.request import Request
from bench.runner import Runner


def run_sweep(request: Request, console: Console) -> tuple[Path, list[dict], bool]:
    """(results folder, all of its records, whether it was interrupted). Cells that are there already are not run again.

    Raises RuntimeError where no device can be had, JournalError where the folder is taken, OSError where it cannot be
    written; nothing has been measured then.
    """
    for name, note in request.notes.items():
        console.print(f"data {name}: {note}", highlight=False, markup=False, soft_wrap=True)
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

    def record_of(cell: Cell, record: dict) -> None:
        record = record | {"environment": row_columns}
        journal.append(record)
        forecast.learn(cell, record)
        write_csvs(folder, journal.records)
        progress.finish(cell, record)

    def worth_starting(cells: list[Cell]) -> Iterator[Cell]:
        for cell in cells:
            progress.start(cell)
            refusal = _refusal(cell, request, forecast)
            if refusal:
                record_of(cell, refusal)
            else:
                yield cell

    try:
        with progress.shown():
            for together in _curves(missing):
                turns = runner.measure_in_turns(worth_starting(together), progress.stage, forecast.learn_step)
                with closing(turns) as records:
                    for record in records:
                        record_of(Cell(**record["cell"]), record)
    except KeyboardInterrupt:
        return True
    finally:
        write_csvs(folder, journal.records)
    return False


def _curves(cells: list[Cell]) -> list[list[Cell]]:
    """Cells that are sampled in turns, side by side; the others each alone. The order is that of the first ones."""
    curves: dict[Cell, list[Cell]] = {}
    for cell in cells:
        curves.setdefault(cell.series() if MEASURES[cell.measure].rounds > 1 else cell, []).append(cell)
    return list(curves.values())


def _refusal(cell: Cell, request: Request, forecast: Forecast) -> dict | None:
    """The record of a cell that is not worth starting."""
    for status, reason in (
        ("unsupported", request.unsupported.get(cell)),
        ("skipped", forecast.reason_to_skip(cell)),
    ):
        if reason:
            return not_run(cell, status, reason)
    return None


def not_run(cell: Cell, status: str, reason: str) -> dict:
    """The record of a cell that no child was started for."""
    return {"cell": asdict(cell), "status": status, "stage": "plan", "message": reason, "rows": []}


def _new_folder(suite: str, described: dict) -> Path:
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
    return environment.ROOT / "results" / environment.device_slug(described) / f"{suite}-{stamp}"
