"""Cells in, journal and CSVs out: the loop that a run is."""

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
    """What the sweeps of one process find out once."""

    checked: dict[Cell, Done] = field(default_factory=dict)  # by Checks
    peaks: dict[str, Any] = field(default_factory=dict)  # the machine's highest rates


def run_sweep(
    request: Request, console: Console, deadline: float = math.inf, known: Known | None = None
) -> tuple[Path, list[Record], bool]:
    """(results folder, all of its records, whether it was interrupted). Cells that are there already are not run again.

    deadline: by time.monotonic(); a curve that has not begun by then is left, for the same run to go on with. known:
    what earlier sweeps of this process have found, to which this one adds.
    Raises RuntimeError where there is no device, JournalError where the folder is taken or its journal is of another
    kind, RequestError where it was measured otherwise, OSError where it cannot be written: nothing has been measured
    then. Raises StoppedError where it cannot be written any more.
    """
    for name, note in request.notes.items():
        console.print(f"data {name}: {note}", highlight=False, markup=False, soft_wrap=True)
    runner, known = Runner(request.settings), known or Known()
    with ExitStack() as stack:
        if request.out is None:
            described = machine.describe(runner.probe())
            folder = RunFolder(new_folder(request.suite, described))
            journal = stack.enter_context(_take(folder, request.rerun, console))
        else:  # before the probe, so that a second run ends at once
            folder = RunFolder(request.out)
            journal = stack.enter_context(_take(folder, request.rerun, console))
            described = machine.describe(runner.probe())
        _describe(folder, request, described, runner, journal, known)
        tables = Tables(folder)
        for path in tables.start_from(journal.records):
            console.print(f"not what the journal says, kept aside: {path}", highlight=False, soft_wrap=True)
        try:
            loop = Loop(request, runner, Checks(runner, known.checked), Output(journal, tables, described), console)
            interrupted = loop.run(deadline)
        except (OSError, JournalError) as error:
            kept = f"{len(journal.records)} of {len(request.cells)} cells are kept"
            go_on = f"{kept}; --resume {folder.path} goes on"
            raise StoppedError(f"the results can no longer be written: {error}. {go_on}") from error
        return folder.path, journal.records, interrupted


@contextmanager
def _take(folder: RunFolder, rerun: bool, console: Console) -> Iterator[Journal[Record]]:
    folder.path.mkdir(parents=True, exist_ok=True)
    with locked(folder.path):
        if rerun:
            for path in folder.set_aside():
                console.print(f"kept aside: {path}", highlight=False, soft_wrap=True)
        with closing(Journal(folder.journal, Record)) as journal:
            yield journal


def _describe(
    folder: RunFolder, request: Request, described: dict, runner: Runner, journal: Journal[Record], known: Known
) -> None:
    """Write suite.json and environment.json, the latter with the machine's peaks. Raises RequestError where the folder
    was measured otherwise.
    """
    if journal.records and (mistakes := resume.check_environment(folder.path, described)):
        raise RequestError(mistakes)
    # Those of a run that goes on stay what they were: its shares are of one and the same rate.
    described["peaks"] = resume.peaks_of(folder.path) or known.peaks or runner.peaks()
    known.peaks = described["peaks"]
    replace_file(folder.suite, json.dumps(request.configuration(), indent=1))
    replace_file(folder.environment, json.dumps(described, indent=1))


class Output:
    """Where records go, with what they were measured on."""

    def __init__(self, journal: Journal[Record], tables: Tables, described: dict[str, Any]):
        self.folder = journal.path.parent
        self._journal, self._tables = journal, tables
        self._conditions, self._peaks = conditions_of(described), described["peaks"]

    @property
    def records(self) -> list[Record]:
        return self._journal.records

    def keep(self, record: Record) -> Record:
        """The record as it was written."""
        record = replace(with_shares(record, self._peaks), environment=self._conditions)
        self._journal.append(record)
        self._tables.add(record)
        return record

    def finish(self) -> None:
        self._tables.write()


class Loop:
    """The cells of a request that are not there yet, measured one curve after the other."""

    def __init__(self, request: Request, runner: Runner, checks: Checks, output: Output, console: Console):
        self._request, self._runner, self._checks, self._output = request, runner, checks, output
        self._forecast = Forecast(request.settings)
        for record in output.records:
            self._learn(record)
        finished = {record.cell for record in output.records}
        self._missing = [cell for cell in request.cells if cell not in finished]
        if finished:
            held = f"{len(finished)} of {len(request.cells)} cells are in {output.folder} already"
            console.print(held, soft_wrap=True)
        self._progress = Progress(console, len(self._missing))

    def run(self, deadline: float) -> bool:
        """Whether it was interrupted. deadline: by time.monotonic()."""
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
    """Cells that are sampled round-robin; the others each alone. The order is that of the first ones."""
    curves: dict[Cell | SeriesKey, list[Cell]] = {}
    for cell in cells:
        curves.setdefault(cell.series() if MEASURES[cell.measure].rounds > 1 else cell, []).append(cell)
    return list(curves.values())


def _refusal(cell: Cell, request: Request, forecast: Forecast) -> Record | None:
    """The record of a cell that is not worth starting."""
    for status, reason in (
        (Status.UNSUPPORTED, request.unsupported.get(cell)),
        (Status.SKIPPED, forecast.reason_to_skip(cell)),
    ):
        if reason:
            return not_run(cell, status, reason)
    return None


def new_folder(name: str, described: dict) -> Path:
    """Where a run goes that was not told where: below results/, by device, name and time."""
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
    return device_home(described) / f"{name}-{stamp}"
