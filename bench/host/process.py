"""A child process: it is started, its messages are received by a deadline, and it is ended with all that it started."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from typing import Any

from lengthscale.bench.plan.status import Status
from lengthscale.bench.results.messages import Done

GRACE_S = 2.0  # between TERM and KILL
KEPT_OUTPUT = 2000  # last bytes of what a child prints, for the message of its record


class Child:
    """A process that runs target(connection, *arguments, output) and sends messages over its connection.

    context: of multiprocessing, by which the process is started.
    """

    def __init__(self, context: BaseContext, target: Callable[..., None], arguments: tuple):
        self._connection, childs_end = context.Pipe()
        self._output, childs_output = context.Pipe(duplex=False)
        self._childs: tuple[Connection, ...] = (childs_end, childs_output)
        self._open: list[Connection] = [self._connection, self._output]
        self._printed = b""
        arguments = (childs_end, *arguments, childs_output)
        self._process: BaseProcess = context.Process(target=target, args=arguments)  # pyright: ignore[reportAttributeAccessIssue]

    @property
    def is_started(self) -> bool:
        """Whether `start` has been called."""
        return self._process.pid is not None

    @property
    def is_alive(self) -> bool:
        """Whether it has been started and has not ended yet."""
        return self.is_started and self._process.is_alive()

    @property
    def pid(self) -> int:
        """The process's id; the child must have been started."""
        assert self._process.pid is not None, "the child has not been started"
        return self._process.pid

    def start(self) -> None:
        """Start the process. Raises EOFError where the forkserver is dead."""
        self._process.start()
        for end in self._childs:
            end.close()

    def send(self, message: Any) -> None:
        """Send the child a message; one to a dead child is lost."""
        with suppress(OSError):  # the child has died, which `receive` notices
            self._connection.send(message)

    def receive(self, deadline: float) -> Any:
        """The child's next message. deadline: by time.monotonic().

        Raises TimeoutError where there is no message by then, and EOFError where the child has died; `death` says how.
        """
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            if self._connection in self._wait(min(left, 1.0)):
                try:
                    return self._connection.recv()
                except OSError:
                    raise EOFError from None

    def death(self, stage: str) -> Done:
        """The outcome of a child that has ended without a Done. stage: the one that it had reached."""
        self._process.join(GRACE_S)
        self._wait(0)
        code, printed = self._process.exitcode, self._last_lines()
        if code is not None and code < 0:
            hint = " (often: out of memory)" if -code == signal.SIGKILL else ""
            return Done(Status.KILLED, f"ended by {signal.Signals(-code).name}{hint}{printed}", stage)
        return Done(Status.ERROR, f"exit code {code} without a record{printed}", stage)

    def _wait(self, seconds: float) -> list:
        """The connections that can be read within that time.

        What the child prints is read here, and only its end is kept: endless output takes neither memory nor disk.
        """
        ready = wait(self._open, seconds)
        if self._output in ready:
            printed = os.read(self._output.fileno(), 1 << 16)  # all that a pipe holds
            self._printed = (self._printed + printed)[-KEPT_OUTPUT:]
            if not printed:  # closed
                self._open.remove(self._output)
        return ready

    def _last_lines(self, count: int = 3) -> str:
        lines = [line.strip() for line in self._printed.decode(errors="replace").splitlines() if line.strip()]
        return f": {' / '.join(lines[-count:])}" if lines else ""

    def end(self) -> None:
        """End the child and all its children, whatever they do, and close its connections. Idempotent."""
        with uninterrupted():
            with suppress(ValueError):  # it is closed already
                if self.is_started:
                    self._end_group()
            for end in (self._connection, self._output, *self._childs):
                end.close()

    def _end_group(self) -> None:
        """TERM, then KILL, for the child's whole process group, so that no grandchild is left."""
        self._process.join(0.5)
        assert self._process.pid is not None
        for how, patience in ((signal.SIGTERM, GRACE_S), (signal.SIGKILL, None)):
            with suppress(ProcessLookupError, PermissionError):  # the group is gone, or the child has not made one yet
                os.killpg(self._process.pid, how)
            if self._process.is_alive():
                with suppress(ProcessLookupError):  # it has just ended, which only the forkserver knows so far
                    os.kill(self._process.pid, how)
                self._process.join(patience)
        self._process.close()


def end_forkserver() -> None:
    """End the forkserver: the next child starts from a new one. No child may be running."""
    server: Any = forkserver._forkserver  # pyright: ignore[reportAttributeAccessIssue]  # there is no public way
    with uninterrupted():
        if server._forkserver_pid is not None:
            with suppress(ProcessLookupError):
                os.kill(server._forkserver_pid, signal.SIGKILL)  # it would wait for whatever a child has left
        server._stop()


@contextmanager
def inherited(environment: Mapping[str, str], cores: int) -> Iterator[None]:
    """Within this context, children that are started by "spawn" get these variables and the first `cores` cores.

    Both apply from a child's first instruction on, before any package is imported. (Children of a forkserver inherit
    the server's.) Afterwards this process has its own variables and cores again.
    """
    before = {name: os.environ.get(name) for name in environment}
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_setaffinity") else None
    try:
        os.environ.update(environment)
        if allowed is not None:
            os.sched_setaffinity(0, sorted(allowed)[:cores])
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        if allowed is not None:
            os.sched_setaffinity(0, allowed)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Delay a Ctrl-C until the end of this context."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    late: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: late.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if late:
            raise KeyboardInterrupt
