"""A sweep: the loop over the cells of a run, which writes journal and CSVs."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from msgspec.structs import replace
from rich.console import Console

from lengthscale.bench.host import machine
from lengthscale.bench.host.checks import Checks
from lengthscale.bench.host.errors import StoppedError
from lengthscale.bench.host.progress import Progress
from lengthscale.bench.host.runner import Runner
from lengthscale.bench.plan.cell import Cell
from lengthscale.bench.plan.errors import RequestError
from lengthscale.bench.plan.forecast import Forecast
from lengthscale.bench.plan.measures import MEASURES
from lengthscale.bench.plan.request import Request
from lengthscale.bench.plan.series import SeriesKey
from lengthscale.bench.plan.status import Status
from lengthscale.bench.results import resume
from lengthscale.bench.results.environment import conditions_of, device_home
from lengthscale.bench.results.errors import JournalError
from lengthscale.bench.results.files import replace_file
from lengthscale.bench.results.folder import RunFolder
from lengthscale.bench.results.journal import Journal, locked
from lengthscale.bench.results.messages import Done
from lengthscale.bench.results.rates import with_shares
from lengthscale.bench.results.record import Record, not_run
from lengthscale.bench.results.tables import Tables


@dataclass
class Known:
    """What the sweeps of one process share: each fact is measured only once."""

    checked: dict[Cell, Done] = field(default_factory=dict)  # by Checks
    peaks: dict[str, Any] = field(default_factory=dict)  # the machine's peak rates


def run_sweep(
    request: Request, console: Console, deadline: float = math.inf, known: Known | None = None
) -> tuple[Path, list[Record], bool]:
    """Run all cells that the folder does not have yet: (results folder, all of its records, whether interrupted).

    deadline: by time.monotonic(); a curve that has not begun by then is left out, and the same command runs it later.
    known: what earlier sweeps of this process have found; this one adds to it.
    Raises RuntimeError where there is no device, JournalError where the folder is in use or its journal is of another
    kind, RequestError where it was measured under other conditions, OSError where it cannot be written: nothing has
    been measured then. Raises StoppedError where the results can no longer be written.
    """
    for name, note in request.notes.items():
        console.print(f"data {name}: {note}", highlight=False, markup=False, soft_wrap=True)
    runner, known = Runner(request.settings), known or Known()
    with ExitStack() as stack:
        if request.out is None:
            described = machine.describe(runner.probe())
            folder = RunFolder(new_folder(request.suite, described))
            journal = stack.enter_context(_take(folder, request.rerun, console))
        else:  # lock the folder before the probe, so that a second run ends at once
            folder = RunFolder(request.out)
            journal = stack.enter_context(_take(folder, request.rerun, console))
            described = machine.describe(runner.probe())
        _describe(folder, request, described, runner, journal, known)
        tables = Tables(folder)
        for path in tables.start_from(journal.records):
            console.print(f"not what the journal gives, set aside: {path}", highlight=False, soft_wrap=True)
        try:
            loop = Loop(request, runner, Checks(runner, known.checked), Output(journal, tables, described), console)
            interrupted = loop.run(deadline)
        except (OSError, JournalError) as error:
            kept = f"{len(journal.records)} of {len(request.cells)} cells are kept"
            advice = f"{kept}; --resume {folder.path} continues"
            raise StoppedError(f"the results can no longer be written: {error}. {advice}") from error
        return folder.path, journal.records, interrupted


@contextmanager
def _take(folder: RunFolder, rerun: bool, console: Console) -> Iterator[Journal[Record]]:
    folder.path.mkdir(parents=True, exist_ok=True)
    with locked(folder.path):
        if rerun:
            for path in folder.set_aside():
                console.print(f"set aside: {path}", highlight=False, soft_wrap=True)
        with closing(Journal(folder.journal, Record)) as journal:
            yield journal


def _describe(
    folder: RunFolder, request: Request, described: dict, runner: Runner, journal: Journal[Record], known: Known
) -> None:
    """Write suite.json, and environment.json with the machine's peaks.

    Raises RequestError where the folder was measured under other conditions.
    """
    if journal.records and (mistakes := resume.check_environment(folder.path, described)):
        raise RequestError(mistakes)
    # A continued run keeps its peaks, so that all of its shares are of the same rate.
    described["peaks"] = resume.peaks_of(folder.path) or known.peaks or runner.peaks()
    known.peaks = described["peaks"]
    replace_file(folder.suite, json.dumps(request.configuration(), indent=1))
    replace_file(folder.environment, json.dumps(described, indent=1))


class Output:
    """Writes records to journal and CSVs, together with the facts on which they were measured."""

    def __init__(self, journal: Journal[Record], tables: Tables, described: dict[str, Any]):
        self.folder = journal.path.parent
        self._journal, self._tables = journal, tables
        self._conditions, self._peaks = conditions_of(described), described["peaks"]

    @property
    def records(self) -> list[Record]:
        """All records of the journal."""
        return self._journal.records

    def keep(self, record: Record) -> Record:
        """Write a record. Returns it as it was written. Raises OSError and JournalError as `Journal.append`."""
        record = replace(with_shares(record, self._peaks), environment=self._conditions)
        self._journal.append(record)
        self._tables.add(record)
        return record

    def finish(self) -> None:
        """Bring the CSVs up to date."""
        self._tables.write()


class Loop:
    """Measures the cells of a request that the folder does not have yet, one curve after the other."""

    def __init__(self, request: Request, runner: Runner, checks: Checks, output: Output, console: Console):
        self._request, self._runner, self._checks, self._output = request, runner, checks, output
        self._forecast = Forecast(request.settings)
        for record in output.records:
            self._learn(record)
        finished = {record.cell for record in output.records}
        self._missing = [cell for cell in request.cells if cell not in finished]
        if finished:
            already = f"{len(finished)} of {len(request.cells)} cells are in {output.folder} already"
            console.print(already, soft_wrap=True)
        self._progress = Progress(console, len(self._missing))

    def run(self, deadline: float) -> bool:
        """Measure the cells. Returns whether it was interrupted. deadline: by time.monotonic()."""
        try:
            with self._progress.shown():
                for together in _curves(self._missing):
                    if time.monotonic() >= deadline:
                        break
                    self._measure(together)
            interrupted = False
        except KeyboardInterrupt:
            interrupted = True
        self._output.finish()
        return interrupted

    def _measure(self, together: list[Cell]) -> None:
        cells = self._worth_starting(together)
        rounds = self._runner.measure_in_rounds(cells, self._progress.stage, self._forecast.learn_step)
        with closing(rounds) as records:
            for record in records:
                self._keep(record)

    def _worth_starting(self, cells: list[Cell]) -> Iterator[Cell]:
        for cell in cells:
            self._progress.start(cell)
            refusal = _refusal(cell, self._request, self._forecast) or self._checks.refusal(cell)
            if refusal:
                self._keep(refusal)
            else:
                yield cell

    def _keep(self, record: Record) -> None:
        record = self._output.keep(record)
        self._learn(record)
        self._progress.finish(record)

    def _learn(self, record: Record) -> None:
        self._forecast.learn(record.cell, record.status, record.row.time_median_ms)


def _curves(cells: list[Cell]) -> list[list[Cell]]:
    """Groups of cells: those of a curve if they are sampled round-robin, else each cell alone."""
    curves: dict[Cell | SeriesKey, list[Cell]] = {}
    for cell in cells:
        curves.setdefault(cell.series() if MEASURES[cell.measure].rounds > 1 else cell, []).append(cell)
    return list(curves.values())


def _refusal(cell: Cell, request: Request, forecast: Forecast) -> Record | None:
    """The record of a cell that should not be started; None where it may start."""
    for status, reason in (
        (Status.UNSUPPORTED, request.unsupported.get(cell)),
        (Status.SKIPPED, forecast.reason_to_skip(cell)),
    ):
        if reason:
            return not_run(cell, status, reason)
    return None


def new_folder(name: str, described: dict) -> Path:
    """The default folder of a run: below results/, by device, name and time. described: its environment."""
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
    return device_home(described) / f"{name}-{stamp}"
