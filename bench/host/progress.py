"""The progress of a sweep on the console: a line for each cell, the current stage, the time left."""

from __future__ import annotations

import time
from contextlib import contextmanager

from rich.console import Console
from rich.status import Status as Spinner

from lengthscale.bench.plan.cell import Cell
from lengthscale.bench.plan.status import TIMED, Status
from lengthscale.bench.results.record import Record

COLOURS = {Status.OK: "green", Status.SKIPPED: "yellow", Status.UNSUPPORTED: "yellow"}


class Progress:
    """Prints the progress of a sweep, such as `[17/84] mamba train L=65536 ... 12.3 ms  ETA 4:10`. total: of cells."""

    def __init__(self, console: Console, total: int):
        self._console = console
        self._total = total
        self._done = 0
        self._started = time.monotonic()
        self._spinner: Spinner | None = None

    @contextmanager
    def shown(self):
        """Show a live line at the bottom of a terminal; nothing extra where the output is not a terminal."""
        if not self._console.is_terminal:
            yield
            return
        with self._console.status("") as self._spinner:
            yield

    def start(self, cell: Cell) -> None:
        """Show that a cell starts."""
        self.stage(cell, "start")

    def stage(self, cell: Cell, name: str) -> None:
        """Show the stage that a cell has reached."""
        if self._spinner:
            line = f"[{self._done + 1}/{self._total}] {cell.label()} ... {name}  ETA {self.eta()}"
            self._spinner.update(_escape(line))

    def finish(self, record: Record) -> None:
        """Print the outcome of a cell."""
        self._done += 1
        outcome = f"[{COLOURS.get(record.status, 'red')}]{_escape(_outcome(record))}[/]"
        line = _escape(f"[{self._done}/{self._total}] {record.cell.label()} ...")
        self._console.print(f"{line} {outcome}  ETA {self.eta()}", highlight=False, soft_wrap=True)

    def eta(self) -> str:
        """The time left, if the other cells take as long as those so far. They are longer, so it grows at first."""
        if not self._done:
            return "-:--"
        left = (time.monotonic() - self._started) / self._done * (self._total - self._done)
        return f"{int(left // 60)}:{int(left % 60):02d}"


def _outcome(record: Record) -> str:
    if record.status not in TIMED:
        stage = f" in {record.stage}" if record.stage else ""
        return f"{record.status}{stage}: {record.message}"
    text = f"{record.row.time_median_ms:.4g} ms" if record.row.time_median_ms else "done"
    if record.cell.measure == "quality":
        losses = [f"{row.loss:.3f}" for row in record.rows if row.loss is not None]
        text += f" a step, loss {' '.join(losses)}"
        accuracies = [f"{row.accuracy:.3f}" for row in record.rows if row.accuracy is not None]
        text += f", accuracy {' '.join(accuracies)}" if accuracies else ""
    return text if record.status == Status.OK else f"{text}, {record.status}: {record.message}"


def _escape(text: str) -> str:
    return text.replace("[", r"\[")
