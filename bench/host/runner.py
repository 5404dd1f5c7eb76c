"""Runs each cell in a child with a deadline, and makes a record of whatever happens."""

from __future__ import annotations

import atexit
import math
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from functools import cache
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from lengthscale.bench.host.child import WORKER, run_child
from lengthscale.bench.plan.cell import Cell
from lengthscale.bench.plan.suites import Settings
from lengthscale.bench.results.environment import set_allocator

PROBE_S = 300.0  # at least: the first probe of a fresh environment compiles the C++ kernels
GRACE_S = 2.0  # between TERM and KILL
NO_ROOM = ("skipped", "oom", "killed")  # how a cell may end for want of memory
LAST_WORDS = 2000  # bytes that are kept of what a child prints
OnStage = Callable[[Cell, str], None]
OnTurn = Callable[[Cell, float], None]


@cache
def _cache_folder() -> str:
    """Where the children share what they compile but do not measure (see lengthscale.bench.device.program)."""
    folder = tempfile.mkdtemp(prefix="lengthscale-cache-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


class Runner:
    """Starts children from a forkserver that has imported the worker, and jax with it, once."""

    def __init__(self, settings: Settings, target: Callable = run_child):
        set_allocator()
        os.environ |= {
            "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
            "JAX_COMPILATION_CACHE_DIR": _cache_folder(),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        }
        self._settings = settings
        self._target = target
        self._context = multiprocessing.get_context("forkserver")
        # What a child would import: the worker, and the program's main module, which multiprocessing runs in each.
        self._context.set_forkserver_preload([WORKER, "lengthscale.bench.__main__"])

    def measure(self, cell: Cell, on_stage: OnStage = lambda cell, stage: None) -> dict:
        """The cell's record; see lengthscale.bench.results.journal for its form."""
        (record,) = self.measure_in_turns([cell], on_stage)
        return record

    def measure_in_turns(
        self,
        cells: Iterable[Cell],
        on_stage: OnStage = lambda cell, stage: None,
        on_turn: OnTurn = lambda cell, step_s: None,
    ) -> Generator[dict, None, None]:
        """The cells' records, each as it comes: their children stand side by side and are sampled one after the other,
        round by round, so that a machine that drifts does so for all alike.

        A cell is drawn from `cells` when its child is to start; by then those before it have failed and given their
        record, or said how long a step takes (`on_turn`, in seconds).
        One that finds no memory beside the others is measured again alone.
        """
        working: list[Running] = []
        crowded: list[Cell] = []
        try:
            for cell in cells:
                running = self._start("measure", cell)
                working.append(running)
                record = running.advance(on_stage)
                if record is None:
                    on_turn(cell, running.step_s)
                    continue
                working.remove(running)
                if working and record["status"] in NO_ROOM:
                    crowded.append(cell)
                else:
                    yield record
            while working:
                for running in list(working):
                    record = running.advance(on_stage)
                    if record is not None:
                        working.remove(running)
                        yield record
        finally:
            for running in working:
                running.end()
        for cell in crowded:
            yield self.measure(cell, on_stage)

    def check(self, cell: Cell) -> dict:
        """Whether the cell's method computes what it should (device/correctness.py): a record, "incorrect" where
        it does not.
        """
        return self._run("check", cell)

    def plan(self, cell: Cell) -> dict:
        return self._run("plan", cell)

    def probe(self) -> dict:
        """The device as a child sees it. Raises RuntimeError where none can be had."""
        patient = replace(self._settings, timeout_s=max(PROBE_S, self._settings.timeout_s))
        record = Running(self._context, self._target, "probe", None, patient).advance()
        assert record is not None
        if record["status"] != "ok":
            raise RuntimeError(f"no device: {record['status']}: {record['message']}")
        return record["rows"][0]

    def peaks(self) -> dict:
        """The machine's highest rates (see lengthscale.bench.results.rates); empty where they cannot be measured."""
        record = self._run("peaks", None)
        return record["rows"][0] if record["status"] == "ok" else {}

    def _run(self, task: str, cell: Cell | None) -> dict:
        record = self._start(task, cell).advance()
        assert record is not None
        return record

    def _start(self, task: str, cell: Cell | None) -> Running:
        return Running(self._context, self._target, task, cell, self._settings)


class Running:
    """A child at work on a cell. It has `timeout_s` of its own time; what it spends waiting for its turn is free."""

    def __init__(self, context, target: Callable, task: str, cell: Cell | None, settings: Settings):
        self._cell, self._settings, self._left_s = cell, settings, settings.timeout_s
        self._compile_deadline = math.inf
        self._load_before = _load()
        self._stage, self._wall_s, self._waiting = "start", 0.0, False
        self.step_s = 0.0  # as the child told at the end of its last turn
        self._connection, childs_end = context.Pipe()
        self._output, childs_output = context.Pipe(duplex=False)
        self._childs: tuple[Connection, ...] = (childs_end, childs_output)
        self._heard: list[Connection] = [self._connection, self._output]
        self._last_words = b""
        arguments = (childs_end, task, cell, settings, childs_output)
        self._child: BaseProcess = context.Process(target=target, args=arguments)

    def advance(self, on_stage: OnStage = lambda cell, stage: None) -> dict | None:
        """Let it work until the end of its turn (None) or its end: its record."""
        started = time.monotonic()
        record = None
        try:
            record = self._advance(started + self._left_s, on_stage)
        finally:
            taken = time.monotonic() - started
            self._left_s -= taken
            self._wall_s += taken
            if record is not None or sys.exc_info()[0]:
                self.end()
        if record is None:
            return None
        wall_s = round(self._wall_s + time.monotonic() - started - taken, 3)
        load = {"load_before": self._load_before, "load_after": _load()}
        return {"cell": asdict(self._cell) if self._cell else None, **record, "wall_s": wall_s, **load}

    def _advance(self, deadline: float, on_stage: OnStage) -> dict | None:
        if self._child.pid is None:
            try:
                self._child.start()
            except EOFError:
                message = "the child could not be started: the forkserver died (its error is above)"
                return {"status": "error", "stage": "start", "message": message, "rows": []}
            for end in self._childs:
                end.close()
        if self._waiting:
            self._waiting = False
            with suppress(OSError):  # it has died meanwhile, which is noticed below
                self._connection.send("go on")
        while True:
            left = min(deadline, self._compile_deadline) - time.monotonic()
            if left <= 0:
                compiling = self._compile_deadline < deadline
                seconds = self._settings.compile_timeout_s if compiling else self._settings.timeout_s
                message = f"passed the deadline of {seconds:g} s{' for compiling' if compiling else ''}"
                return {"status": "timeout", "stage": self._stage, "message": message, "rows": []}
            if self._connection not in self._hear(min(left, 1.0)):
                continue
            try:
                kind, content = self._connection.recv()
            except (EOFError, OSError):
                self._child.join(GRACE_S)
                self._hear(0)
                return _death(self._child, self._stage, self._last_words)
            if kind == "done":
                return content
            if kind == "turn":
                self._waiting, self.step_s = True, content
                return None
            self._stage = content
            is_compiling = content == "compile"
            self._compile_deadline = time.monotonic() + self._settings.compile_timeout_s if is_compiling else math.inf
            if self._cell is not None:
                on_stage(self._cell, content)

    def _hear(self, seconds: float) -> list:
        """What of the child can be read within that time. What it prints is read here, and all but its end forgotten:
        a child that prints for ever takes neither memory nor disk.
        """
        ready = wait(self._heard, seconds)
        if self._output in ready:
            printed = os.read(self._output.fileno(), 1 << 16)  # all that a pipe holds
            self._last_words = (self._last_words + printed)[-LAST_WORDS:]
            if not printed:  # closed
                self._heard.remove(self._output)
        return ready

    def end(self) -> None:
        """End the child, whatever it does, and remove what it left. Once more does no harm."""
        with _uninterrupted():
            with suppress(ValueError):  # it is closed already
                if self._child.pid is not None:
                    _end(self._child)
            for end in (self._connection, self._output, *self._childs):
                end.close()


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


def _load() -> float | None:
    """Processes that ran or waited for a core in the last minute, on average; None where nobody says."""
    with suppress(OSError, AttributeError):
        return round(os.getloadavg()[0], 2)
    return None


def _death(child: BaseProcess, stage: str, printed: bytes) -> dict:
    """The record of a child that ended without one."""
    code = child.exitcode
    last_words = _tail(printed)
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        hint = " (often: out of memory)" if -code == signal.SIGKILL else ""
        return {"status": "killed", "stage": stage, "message": f"ended by {name}{hint}{last_words}", "rows": []}
    return {"status": "error", "stage": stage, "message": f"exit code {code} without a record{last_words}", "rows": []}


def _tail(printed: bytes, lines: int = 3) -> str:
    last = [line.strip() for line in printed.decode(errors="replace").splitlines() if line.strip()][-lines:]
    return f": {' / '.join(last)}" if last else ""


def _end(child: BaseProcess) -> None:
    """TERM, then KILL, for the child's whole process group, so that no grandchild is left."""
    child.join(0.5)
    assert child.pid is not None
    for how, patience in ((signal.SIGTERM, GRACE_S), (signal.SIGKILL, None)):
        with suppress(ProcessLookupError, PermissionError):  # the group is gone, or the child had not yet made one
            os.killpg(child.pid, how)
        if child.is_alive():
            with suppress(ProcessLookupError):  # the forkserver has seen its end, and we not yet
                os.kill(child.pid, how)
            child.join(patience)
    child.close()
