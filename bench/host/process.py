"""A child process: started, heard by a deadline, and ended with all that it started; its last output is kept."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from typing import Any

from lengthscale.bench.plan.status import Status
from lengthscale.bench.results.messages import Done

GRACE_S = 2.0  # between TERM and KILL
KEPT_OUTPUT = 2000  # bytes of what a child prints


class Child:
    """A process that runs target(connection, *arguments, output) and sends messages over its connection."""

    def __init__(self, context: BaseContext, target: Callable[..., None], arguments: tuple):
        self._connection, childs_end = context.Pipe()
        self._output, childs_output = context.Pipe(duplex=False)
        self._childs: tuple[Connection, ...] = (childs_end, childs_output)
        self._heard: list[Connection] = [self._connection, self._output]
        self._printed = b""
        arguments = (childs_end, *arguments, childs_output)
        self._process: BaseProcess = context.Process(target=target, args=arguments)  # pyright: ignore[reportAttributeAccessIssue]

    @property
    def is_started(self) -> bool:
        return self._process.pid is not None

    @property
    def is_alive(self) -> bool:
        """Whether it has been started and has not ended yet."""
        return self.is_started and self._process.is_alive()

    @property
    def pid(self) -> int:
        """Of the process; it has to be started."""
        assert self._process.pid is not None, "the child has not been started"
        return self._process.pid

    def start(self) -> None:
        """Raises EOFError where the forkserver is dead."""
        self._process.start()
        for end in self._childs:
            end.close()

    def send(self, message: Any) -> None:
        with suppress(OSError):  # it has died meanwhile, which `receive` notices
            self._connection.send(message)

    def receive(self, deadline: float) -> Any:
        """Its next message, by time.monotonic(). Raises TimeoutError where there is none by then, and EOFError where it
        has died; `death` then says how.
        """
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            if self._connection in self._hear(min(left, 1.0)):
                try:
                    return self._connection.recv()
                except OSError:
                    raise EOFError from None

    def death(self, stage: str) -> Done:
        """The outcome of a child that has ended without saying so."""
        self._process.join(GRACE_S)
        self._hear(0)
        code, said = self._process.exitcode, self._last_lines()
        if code is not None and code < 0:
            hint = " (often: out of memory)" if -code == signal.SIGKILL else ""
            return Done(Status.KILLED, f"ended by {signal.Signals(-code).name}{hint}{said}", stage)
        return Done(Status.ERROR, f"exit code {code} without a record{said}", stage)

    def _hear(self, seconds: float) -> list:
        """What of the child can be read within that time. What it prints is read here, and all but its end forgotten:
        a child that prints for ever takes neither memory nor disk.
        """
        ready = wait(self._heard, seconds)
        if self._output in ready:
            printed = os.read(self._output.fileno(), 1 << 16)  # all that a pipe holds
            self._printed = (self._printed + printed)[-KEPT_OUTPUT:]
            if not printed:  # closed
                self._heard.remove(self._output)
        return ready

    def _last_lines(self, count: int = 3) -> str:
        lines = [line.strip() for line in self._printed.decode(errors="replace").splitlines() if line.strip()]
        return f": {' / '.join(lines[-count:])}" if lines else ""

    def end(self) -> None:
        """End the child, whatever it does, and remove what it left. Idempotent."""
        with _uninterrupted():
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
            with suppress(ProcessLookupError, PermissionError):  # the group is gone, or the child had not yet made one
                os.killpg(self._process.pid, how)
            if self._process.is_alive():
                with suppress(ProcessLookupError):  # the forkserver has seen its end, and we not yet
                    os.kill(self._process.pid, how)
                self._process.join(patience)
        self._process.close()


@contextmanager
def inherited(environment: Mapping[str, str], cores: int) -> Iterator[None]:
    """Give children that are started in here by the "spawn" method these variables, and this process's first `cores`
    cores: both hold from their first instruction on, before any package is imported. (A forkserver's children have the
    server's.) Afterwards this process has its own again.
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
def _uninterrupted() -> Iterator[None]:
    """A Ctrl-C in here comes afterwards."""
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
