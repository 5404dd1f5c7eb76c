"""A sweep: the loop over the cells of a run, which writes journal and CSVs."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from msgspec.structs import replace
from rich.console import Console

from lengthscale.bench.host import machine
from lengthscale.bench.host.checks import Checks
from lengthscale.bench.host.errors import StoppedError
from lengthscale.bench.host.known import KnownOfMachine
from lengthscale.bench.host.preparation import next_batch
from lengthscale.bench.host.process import uninterrupted
from lengthscale.bench.host.progress import Progress
from lengthscale.bench.host.runner import Runner
from lengthscale.bench.plan.cell import Cell
from lengthscale.bench.plan.errors import RequestError
from lengthscale.bench.plan.forecast import Forecast
from lengthscale.bench.plan.measures import MEASURES
from lengthscale.bench.plan.request import Request
from lengthscale.bench.plan.schedule import Turn, schedule
from lengthscale.bench.plan.status import TIMED, Status
from lengthscale.bench.results import resume
from lengthscale.bench.results.disturbance import OTHER_CORES
from lengthscale.bench.results.environment import conditions_of, device_home
from lengthscale.bench.results.errors import JournalError
from lengthscale.bench.results.files import replace_file
from lengthscale.bench.results.folder import RunFolder
from lengthscale.bench.results.journal import Journal, locked
from lengthscale.bench.results.messages import Done
from lengthscale.bench.results.rates import with_shares
from lengthscale.bench.results.record import Record, not_run
from lengthscale.bench.results.result import Result, results_of
from lengthscale.bench.results.tables import Tables


@dataclass
class Known:
    """What the sweeps of one process share: each fact is measured only once."""

    checked: dict[Cell, Done] = field(default_factory=dict)  # by Checks
    peaks: dict[str, Any] = field(default_factory=dict)  # the machine's peak rates
    on_machine: KnownOfMachine = field(default_factory=KnownOfMachine)  # what earlier runs have found


OnFirst = Callable[[Path, list[Result]], None]


def run_sweep(
    request: Request,
    console: Console,
    deadline: float = math.inf,
    known: Known | None = None,
    on_first: OnFirst = lambda folder, results: None,
) -> tuple[Path, list[Result], bool]:
    """Run all replicates that the folder does not have yet: (results folder, all of its results, whether interrupted).

    deadline: by time.monotonic(); what has not begun by then is left out, and the same command runs it later.
    known: what earlier sweeps of this process have found; this one adds to it. on_first: called when every cell has its
    first replicate and others are to come; what it raises is an error of this function.
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
        known.on_machine = KnownOfMachine(described)
        if unused := machine.unused_accelerator(described["backend"]):
            console.print(f"warning: jax runs on the CPU and does not use {unused}", highlight=False, soft_wrap=True)
        if described["backend"] != "cpu":
            runner.hold()
        stack.callback(runner.close)
        _describe(folder, request, described, runner, journal, known)
        tables = Tables(folder)
        for path in tables.start_from(journal.records):
            console.print(f"not what the journal gives, set aside: {path}", highlight=False, soft_wrap=True)
        try:
            checks = Checks(runner, known.checked, known.on_machine)
            loop = Loop(request, runner, checks, Output(journal, tables, described), console)
            interrupted = loop.run(deadline, on_first)
        except (OSError, JournalError) as error:
            kept = f"{len(results_of(journal.records))} of {len(request.cells)} cells are kept"
            advice = f"{kept}; --resume {folder.path} continues"
            raise StoppedError(f"the results can no longer be written: {error}. {advice}") from error
        return folder.path, results_of(journal.records), interrupted


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
    described["peaks"] = resume.peaks_of(folder.path) or known.peaks or known.on_machine.peaks or runner.peaks()
    known.peaks = described["peaks"]
    if described["backend"] != "cpu":
        known.on_machine.learn_peaks(known.peaks)
    replace_file(folder.suite, json.dumps(request.configuration(), indent=1))
    replace_file(folder.environment, json.dumps(described, indent=1))


def _warn_if_busy(console: Console) -> None:
    busy, largest = machine.busy_cores(0.3)
    if busy > OTHER_CORES:
        line = (
            f"warning: other processes use {busy:.1f} cores ({largest or 'none of them much'}); the samples that they "
        )
        console.print(f"{line}disturb are marked, and so are the cells", highlight=False, markup=False, soft_wrap=True)


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
        with uninterrupted():  # a record that only the journal had would be missing in the CSVs
            self._journal.append(record)
            self._tables.add(record)
        return record

    def finish(self) -> None:
        """Bring the CSVs up to date."""
        self._tables.write()


class Loop:
    """Measures the replicates of a request's cells that the folder does not have yet."""

    def __init__(self, request: Request, runner: Runner, checks: Checks, output: Output, console: Console):
        self._request, self._runner, self._checks, self._output = request, runner, checks, output
        self._console = console
        self._forecast = Forecast(request.settings)
        self._failed: set[Cell] = set()
        self._prepared: set[Cell] = set()
        for record in output.records:
            self._learn(record)
        finished = {Turn(record.cell, record.replicate) for record in output.records}
        turns = schedule(request.cells, request.settings.replicates)
        self._missing = [turn for turn in turns if turn not in finished and turn.cell not in self._failed]
        if finished:
            already = f"{len(finished)} of {len(turns)} replicates of {len(request.cells)} cells"
            console.print(f"{already} are in {output.folder} already", soft_wrap=True)
        self._progress = Progress(console, request.cells, self._missing)

    def run(self, deadline: float, on_first: OnFirst) -> bool:
        """Measure what is missing. Returns whether it was interrupted. deadline: by time.monotonic()."""
        try:
            if self._missing:
                _warn_if_busy(self._console)
            with self._progress.shown():
                for number, turn in enumerate(self._missing):
                    if time.monotonic() >= deadline:
                        break
                    if turn.replicate == 1 and number and self._missing[number - 1].replicate == 0:
                        self._output.finish()
                        on_first(self._output.folder, results_of(self._output.records))
                    self._measure(turn)
            interrupted = False
        except KeyboardInterrupt:
            interrupted = True
        self._progress.end()
        self._output.finish()
        return interrupted

    def _measure(self, turn: Turn) -> None:
        if turn.cell in self._failed:
            self._progress.leave_out(turn)
            return
        self._progress.start(turn)
        if self._runner.holds and turn.cell not in self._prepared:
            self._prepare(turn.cell)
        record = None
        if turn.replicate == 0:
            record = _refusal(turn.cell, self._request, self._forecast) or self._checks.refusal(turn.cell)
        if record is None:
            record = self._runner.measure(turn.cell, turn.replicate, self._progress.stage)
        record = self._output.keep(record)
        self._learn(record)
        self._progress.finish(record)

    def _prepare(self, cell: Cell) -> None:
        """Check and compile this cell and those after it, side by side."""
        self._progress.stage("prepare")
        cells = next_batch(cell, dict.fromkeys(turn.cell for turn in self._missing), self._prepared)
        self._prepared.update(cells)
        wanted = [each for each in cells if each not in self._failed and not self._request.unsupported.get(each)]
        tasks = [("check", each) for each in self._checks.missing(wanted)]
        tasks += [("compile", each) for each in wanted if MEASURES[each.measure].replicated]
        for (task, each), done in zip(tasks, self._runner.prepare(tasks), strict=True):
            if task == "check":
                self._checks.learn(each, done)

    def _learn(self, record: Record) -> None:
        if record.status not in TIMED:
            self._failed.add(record.cell)  # its other replicates would only cost time
        if record.replicate == 0:
            self._forecast.learn(record.cell, record.status, record.row.time_median_ms)


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
