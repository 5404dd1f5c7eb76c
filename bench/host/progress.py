"""The progress of a sweep on the console: a line for each cell, the current stage, the time left."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.status import Status as Spinner

from lengthscale.bench.plan.cell import Cell
from lengthscale.bench.plan.measures import MEASURES
from lengthscale.bench.plan.schedule import Turn, groups_of
from lengthscale.bench.plan.status import TIMED, Status
from lengthscale.bench.results.record import Record

COLOURS = {Status.OK: "green", Status.SKIPPED: "yellow", Status.UNSUPPORTED: "yellow"}


class Progress:
    """Prints the progress of a sweep.

    The first replicates of a group are measured in a random order and printed in the order of the table, each when all
    before it are there: `[17/60] mamba train L=65536 ... 12.3 ms  ETA 4:10`. Later ones have one line for each measure.

    cells: all cells of the run. turns: that are to be measured.
    """

    def __init__(self, console: Console, cells: Sequence[Cell], turns: Sequence[Turn]):
        self._console = console
        in_order = [cell for group in groups_of(cells) for cell in sorted(group, key=Cell.order)]
        self._numbers = {cell: number for number, cell in enumerate(in_order, start=1)}
        first = {turn.cell for turn in turns if turn.replicate == 0}
        self._queue = [cell for cell in self._numbers if cell in first]  # whose first replicate has not been printed
        self._lines: dict[Cell, str] = {}  # of first replicates that wait for others before them
        self._left = Counter((turn.replicate, turn.cell.measure) for turn in turns)
        self._passes: dict[tuple[int, str], float] = {}  # when they began
        self._total, self._done, self._started = len(turns), 0, time.monotonic()
        self._turn: Turn | None = None
        self._spinner: Spinner | None = None

    @contextmanager
    def shown(self):
        """Show a live line at the bottom of a terminal; nothing extra where the output is not a terminal."""
        if not self._console.is_terminal:
            yield
            return
        with self._console.status("") as self._spinner:
            yield

    def start(self, turn: Turn) -> None:
        """Show that a replicate starts."""
        self._turn = turn
        self._passes.setdefault((turn.replicate, turn.cell.measure), time.monotonic())
        self.stage("start")

    def stage(self, name: str) -> None:
        """Show the stage that the current replicate has reached."""
        if self._spinner and self._turn:
            of = f"replicate {self._turn.replicate + 1}, " if self._turn.replicate else ""
            place = f"[{self._done + 1}/{self._total}]"
            self._spinner.update(_escape(f"{place} {self._turn.cell.label()} ... {of}{name}  ETA {self.eta()}"))

    def finish(self, record: Record) -> None:
        """Print the outcome of a replicate, or keep it until those before it are there."""
        self._done += 1
        outcome = f"[{COLOURS.get(record.status, 'red')}]{_escape(_outcome(record))}[/]"
        line = f"{_escape(f'[{self._numbers[record.cell]}/{len(self._numbers)}] {record.cell.label()} ...')} {outcome}"
        if record.replicate == 0:
            self._lines[record.cell] = line
            self._print_lines()
        elif record.status not in TIMED:
            self._print(f"{line} (replicate {record.replicate + 1})")
        self._end_of(record.replicate, record.cell)

    def leave_out(self, turn: Turn) -> None:
        """Count a replicate that is not measured."""
        self._done += 1
        self._end_of(turn.replicate, turn.cell)

    def end(self) -> None:
        """Print what waits for cells that were not measured."""
        self._queue = [cell for cell in self._queue if cell in self._lines]
        self._print_lines()

    def eta(self) -> str:
        """The time left, if what is left takes as long as what was measured so far."""
        if not self._done:
            return "-:--"
        return _clock((time.monotonic() - self._started) / self._done * (self._total - self._done))

    def _print_lines(self) -> None:
        while self._queue and self._queue[0] in self._lines:
            self._print(self._lines.pop(self._queue.pop(0)))

    def _end_of(self, replicate: int, cell: Cell) -> None:
        """Print that a replicate of a measure has ended, if this was its last cell and not the first replicate."""
        key = (replicate, cell.measure)
        self._left[key] -= 1
        if replicate and not self._left[key] and key in self._passes:
            seconds = time.monotonic() - self._passes[key]
            self._print(_escape(f"{cell.measure}: replicate {replicate + 1} in {_clock(seconds)}"))

    def _print(self, line: str) -> None:
        self._console.print(f"{line}  ETA {self.eta()}", highlight=False, soft_wrap=True)


def _clock(seconds: float) -> str:
    return f"{int(seconds // 60)}:{int(seconds % 60):02d}"


def _outcome(record: Record) -> str:
    if record.status not in TIMED:
        stage = f" in {record.stage}" if record.stage else ""
        return f"{record.status}{stage}: {record.message}"
    text = f"{record.row.time_median_ms:.4g} ms" if record.row.time_median_ms else "done"
    if "seen_loss" in MEASURES[record.cell.measure].columns:
        losses = [f"{row.loss:.3f}" for row in record.rows if row.loss is not None]
        text += f" a step, loss {' '.join(losses)}"
        accuracies = [f"{row.accuracy:.3f}" for row in record.rows if row.accuracy is not None]
        text += f", accuracy {' '.join(accuracies)}" if accuracies else ""
    return text if record.status == Status.OK else f"{text}, {record.status}: {record.message}"


def _escape(text: str) -> str:
    return text.replace("[", r"\[")
