"""What runs in a child: it makes its process group, sends its output to the parent, and runs its task.

The parent gives `run_child` (one task), `serve_child` (many) or `run_named` (any other function) as the process's
target, so it imports this file. The worker, which loads jax, is imported only in the child (the forkserver has done so
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
from lengthscale.bench.results.messages import Done, Stage

# A name and no import, since it loads jax. It has run(task, cell, settings, notify).
WORKER = "lengthscale.bench.device.worker"


def run_child(connection: Connection, task: str, cell: Cell | None, settings: Settings, output: Connection) -> None:
    """Run one task and send its messages (bench/results/messages.py). task: one that device/worker.py knows."""
    begin(output)
    _run(connection, task, cell, settings)
    connection.close()


def serve_child(connection: Connection, output: Connection) -> None:
    """Run the tasks (task, cell, settings) that the parent sends, one after the other, until it ends this process."""
    begin(output)
    while True:
        try:
            task, cell, settings = connection.recv()
        except EOFError:
            return
        _run(connection, task, cell, settings)
        importlib.import_module(WORKER).forget()


def _run(connection: Connection, task: str, cell: Cell | None, settings: Settings) -> None:
    """Run one task and send its messages."""
    notify = Notifier(connection)
    try:
        done = importlib.import_module(WORKER).run(task, cell, settings, notify)
    except MemoryError as error:
        done = Done(Status.OOM, _message(error))
    except Exception as error:  # any error becomes a row with its message
        traceback.print_exc()
        done = Done(Status.ERROR, _message(error))
    connection.send(done.at(notify.stage))


def run_named(connection: Connection, target: str, arguments: tuple, output: Connection) -> None:
    """Run a function that the parent knows by its name only, since its module loads jax or torch.

    target: "module:function", called as function(connection, *arguments). An error ends the child and is in its last
    output.
    """
    begin(output)
    module, _, name = target.partition(":")
    getattr(importlib.import_module(module), name)(connection, *arguments)


def begin(output: Connection) -> None:
    """Prepare a child: it makes its own process group, ends with its parent, and sends its output to the parent."""
    os.setsid()  # the parent ends the group as a whole
    end_with_parent()
    redirect(output)


def end_with_parent() -> None:
    """End this process's group when the run's process has ended: a run that was killed leaves no running child.

    The kernel's signal for a parent's end does not help: to the kernel the parent is the forkserver, which stays alive
    as long as its children.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None

    def wait():
        parent.join()
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=wait, daemon=True).start()


class Notifier:
    """Sends the child's messages to its parent."""

    def __init__(self, connection: Connection):
        self.stage = "start"
        self._connection = connection

    def __call__(self, stage: str) -> None:
        """Send the stage that begins."""
        self.stage = stage
        self._connection.send(Stage(stage))


def _message(error: Exception) -> str:
    line = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {line}"[:500]


def redirect(output: Connection) -> None:
    """Send standard output and error of this process, also of its C++ code, to the parent, which keeps their end."""
    sys.stdout.flush()
    for standard in (1, 2):
        os.dup2(output.fileno(), standard)
    output.close()
