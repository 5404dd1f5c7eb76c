"""A child that serves tasks one after the other, where starting a process for each would cost seconds."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from multiprocessing.context import BaseContext

from lengthscale.bench.host.process import Child
from lengthscale.bench.plan.cell import Cell
from lengthscale.bench.plan.settings import Settings
from lengthscale.bench.plan.status import Status
from lengthscale.bench.results.messages import Done, Stage

OnStage = Callable[[str], None]
# After these the process goes on. After others it may hold memory, or be in a state that nobody knows.
HARMLESS = (Status.OK, Status.NAN, Status.INCORRECT, Status.SKIPPED, Status.UNSUPPORTED)


class Server:
    """A child that is started when it is needed; a task that ends badly costs that child, and the next one a start.

    target: what the child runs, such as child.serve_child: it receives tasks (task, cell, settings), and answers each
    with its stages and a Done.
    """

    def __init__(self, context: BaseContext, target: Callable[..., None]):
        self._context, self._target = context, target
        self._child: Child | None = None

    def run(self, task: str, cell: Cell | None, settings: Settings, on_stage: OnStage, began: float) -> Done:
        """The Done of a task. began: from when its deadline counts, by time.monotonic()."""
        if self._child is not None and not self._child.is_alive:
            self.end()
        if self._child is None:
            self._child = Child(self._context, self._target, ())
        fine = False
        try:
            done = received(self._child, settings, on_stage, began, (task, cell, settings))
            fine = done.status in HARMLESS
            return done
        finally:
            if not fine:
                self.end()

    def end(self) -> None:
        """End the child, if there is one. Idempotent."""
        if self._child is not None:
            self._child.end()
            self._child = None


def received(child: Child, settings: Settings, on_stage: OnStage, began: float, task: tuple | None = None) -> Done:
    """Start the child if it has not been, send it the task if there is one, and receive its messages until its Done.

    Where it dies or its deadline passes, the Done says so.
    """
    deadline, compile_deadline, stage = began + settings.timeout_s, math.inf, "start"
    try:
        if not child.is_started:
            child.start()
    except EOFError:
        return Done(Status.ERROR, "the child could not be started: the forkserver has died (its error is above)", stage)
    if task is not None:
        child.send(task)
    while True:
        try:
            message = child.receive(min(deadline, compile_deadline))
        except TimeoutError:
            compiling = compile_deadline < deadline
            seconds = settings.compile_timeout_s if compiling else settings.timeout_s
            passed = f"passed the deadline of {seconds:g} s{' for compiling' if compiling else ''}"
            return Done(Status.TIMEOUT, passed, stage)
        except EOFError:
            return child.death(stage)
        if isinstance(message, Done):
            return message
        assert isinstance(message, Stage), message
        stage = message.name
        compile_deadline = time.monotonic() + settings.compile_timeout_s if stage == "compile" else math.inf
        on_stage(stage)
