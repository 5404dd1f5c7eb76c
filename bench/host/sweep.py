"""Cells in, journal and CSVs out: the loop that a run is."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from rich.console import Console

from lengthscale.bench.host.errors import StoppedError
from lengthscale.bench.host.progress import Progress
from lengthscale.bench.host.runner import Runner
from lengthscale.bench.plan.cell import Cell
from lengthscale.bench.plan.errors import RequestError
from lengthscale.bench.plan.forecast import Forecast
from lengthscale.bench.plan.measures import MEASURES
from lengthscale.bench.plan.request import Request
from lengthscale.bench.results import environment, rates, resume
from lengthscale.bench.results.errors import JournalError
from lengthscale.bench.results.journal import Journal, Tables, locked, replace_file

UNCHECKED = ("unsupported", "skipped", "timeout", "oom", "killed")  # the measurement will say the same, or do better


@dataclass
class Known:
    """What the sweeps of one process find out once."""

    checked: dict[Cell, dict] = field(default_factory=dict)  # by Checks
    peaks: dict = field(default_factory=dict)  # the machine's highest rates


def run_sweep(
    request: Request, console: Console, deadline: float = math.inf, known: Known | None = None
) -> tuple[Path, list[dict], bool]:
    """(results folder, all of its records, whether it was interrupted). Cells that are there already are not run again.

    deadline: by time.monotonic(); a curve that has not begun by then is left, for the same run to go on with. known:
    what earlier sweeps of this process have found, to which this one adds.
    Raises RuntimeError where no device can be had, JournalError where the folder is taken or its journal is of another
    kind, RequestError where it was measured otherwise, OSError where it cannot be written: nothing has been measured
    then. Raises StoppedError where it cannot be written any more.
    """
    for name, note in request.notes.items():
        console.print(f"data {name}: {note}", highlight=False, markup=False, soft_wrap=True)
    runner, known = Runner(request.settings), known or Known()
    with ExitStack() as stack:
        if request.out is None:
            described = environment.describe(runner.probe())
            folder = new_folder(request.suite, described)
            journal = stack.enter_context(_take(folder, request.rerun, console))
        else:  # before the probe, so that a second run ends at once
            folder = request.out
            journal = stack.enter_context(_take(folder, request.rerun, console))
            described = environment.describe(runner.probe())
        if journal.records and (mistakes := resume.check_environment(folder, described)):
            raise RequestError(mistakes)
        # Those of a run that goes on stay what they were: its shares are of one and the same rate.
        described["peaks"] = resume.peaks_of(folder) or known.peaks or runner.peaks()
        known.peaks = described["peaks"]
        replace_file(folder / resume.CONFIGURATION, json.dumps(request.configuration(), indent=1))
        replace_file(folder / resume.ENVIRONMENT, json.dumps(described, indent=1))
        tables = Tables(folder)
        for path in tables.start_from(journal.records):
            console.print(f"not what the journal says, kept aside: {path}", highlight=False, soft_wrap=True)
        try:
            checks = Checks(runner, known.checked)
            interrupted = _run_cells(request, runner, checks, journal, tables, described, folder, console, deadline)
        except (OSError, JournalError) as error:
            go_on = f"{len(journal.records)} of {len(request.cells)} cells are kept; --resume {folder} goes on"
            raise StoppedError(f"the results can no longer be written: {error}. {go_on}") from error
        return folder, journal.records, interrupted


@contextmanager
def _take(folder: Path, rerun: bool, console: Console) -> Iterator[Journal]:
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder):
        if rerun:
            for path in resume.set_aside(folder):
                console.print(f"kept aside: {path}", highlight=False, soft_wrap=True)
        with closing(Journal(folder)) as journal:
            yield journal


def _run_cells(
    request,
    runner: Runner,
    checks: Checks,
    journal: Journal,
    tables: Tables,
    described: dict,
    folder,
    console,
    deadline: float,
) -> bool:
    forecast = Forecast(request.settings)
    row_columns = environment.row_columns(described)
    for record in journal.records:
        forecast.learn(Cell(**record["cell"]), record)
    finished = {Cell(**record["cell"]) for record in journal.records}
    missing = [cell for cell in request.cells if cell not in finished]
    if finished:
        console.print(f"{len(finished)} of {len(request.cells)} cells are in {folder} already", soft_wrap=True)
    progress = Progress(console, len(missing))

    def record_of(cell: Cell, record: dict) -> None:
        record = rates.add_rates(record, described["peaks"]) | {"environment": row_columns}
        journal.append(record)
        forecast.learn(cell, record)
        tables.add(record)
        progress.finish(cell, record)

    def worth_starting(cells: list[Cell]) -> Iterator[Cell]:
        for cell in cells:
            progress.start(cell)
            refusal = _refusal(cell, request, forecast) or checks.refusal(cell)
            if refusal:
                record_of(cell, refusal)
            else:
                yield cell

    try:
        with progress.shown():
            for together in _curves(missing):
                if time.monotonic() >= deadline:
                    break
                turns = runner.measure_in_turns(worth_starting(together), progress.stage, forecast.learn_step)
                with closing(turns) as records:
                    for record in records:
                        record_of(Cell(**record["cell"]), record)
        interrupted = False
    except KeyboardInterrupt:
        interrupted = True
    tables.write()
    return interrupted


class Checks:
    """Each form at each shape is checked once, whatever the model's size and the seed."""

    def __init__(self, runner: Runner, known: dict[Cell, dict] | None = None):
        self._runner = runner
        self._known = {} if known is None else known

    def refusal(self, cell: Cell) -> dict | None:
        """The record of a cell whose method is wrong, or could not be checked; None where all is well."""
        kind = "train" if MEASURES[cell.measure].learns else cell.measure  # what it does with the model
        key = replace(cell, size="", seed=0, measure=kind)
        if key not in self._known:
            self._known[key] = self._runner.check(cell)
        checked = self._known[key]
        if checked["status"] in ("ok", *UNCHECKED):
            return None
        message = checked["message"] if checked["status"] == "incorrect" else f"the check: {checked['message']}"
        return {**not_run(cell, checked["status"], message), "stage": "check"}


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


def new_folder(name: str, described: dict) -> Path:
    """Where a run goes that was not told where: below results/, by device, name and time."""
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
    return environment.ROOT / "results" / environment.device_slug(described) / f"{name}-{stamp}"
