"""A child's life: a process group of its own, its output to the parent, its task, the end.

The parent names `run_child` (one cell, one record) or `run_named` (any other function) as the process's target and so
must be able to import this file; the worker, which has jax, is imported in the child alone (the forkserver has done so
already).
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import signal
import sys
import threading
import traceback
from multiprocessing.connection import Connection

from lengthscale.bench.plan.cell import Cell
from lengthscale.bench.plan.settings import Settings
from lengthscale.bench.plan.status import Status
from lengthscale.bench.results.messages import Done, RoundEnd, Stage

# Named, not imported: jax comes with it. It has run(task, cell, settings, report).
WORKER = "lengthscale.bench.device.worker"


def run_child(connection: Connection, task: str, cell: Cell | None, settings: Settings, output: Connection) -> None:
    """Runs one task and sends its messages (bench/results/messages.py). task: what device/worker.py knows."""
    begin(output)
    report = Report(connection)

    try:
        done = importlib.import_module(WORKER).run(task, cell, settings, report)
    except MemoryError as error:
        done = Done(Status.OOM, _message(error))
    except Exception as error:  # whatever it was, it becomes a row that says so
        traceback.print_exc()
        done = Done(Status.ERROR, _message(error))
    connection.send(done.at(report.stage))
    connection.close()


def run_named(connection: Connection, target: str, arguments: tuple, output: Connection) -> None:
    """Runs a function that the parent knows by its name alone, because of what comes with it (jax, torch).

    target: "module:function", called as function(connection, *arguments). What it raises ends the child, and is in its
    last output.
    """
    begin(output)
    module, _, name = target.partition(":")
    getattr(importlib.import_module(module), name)(connection, *arguments)


def begin(output: Connection) -> None:
    """What every child does first: its own process group, no life without its parent, its output to the parent."""
    os.setsid()  # the parent ends the group as a whole
    end_with_parent()
    redirect(output)


def end_with_parent() -> None:
    """End this process's group when the run is gone: a run that was killed leaves no child at work.

    The forkserver, whose child this is to the kernel, lives as long as its children do; so it tells nothing.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None

    def wait():
        parent.join()
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=wait, daemon=True).start()


class Report:
    """The child's messages to its parent."""

    def __init__(self, connection: Connection):
        self.stage = "start"
        self._connection = connection

    def __call__(self, stage: str) -> None:
        """Say which stage begins."""
        self.stage = stage
        self._connection.send(Stage(stage))

    def end_round(self, step_s: float) -> None:
        """Let others be sampled. step_s: the time of a step so far. Raises EOFError where the parent is gone."""
        self._connection.send(RoundEnd(step_s))
        self._connection.recv()


def _message(error: Exception) -> str:
    line = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {line}"[:500]


def redirect(output: Connection) -> None:
    """Standard output and error, of this process and of the C++ below it, to the parent, which keeps their end."""
    sys.stdout.flush()
    for standard in (1, 2):
        os.dup2(output.fileno(), standard)
    output.close()
