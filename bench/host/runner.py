"""The runner: it runs each cell in a child with a deadline, and makes a record of whatever happens."""

from __future__ import annotations

import atexit
import math
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import suppress
from dataclasses import replace
from functools import cache
from typing import Any

from lengthscale.bench.host.child import WORKER, run_child
from lengthscale.bench.host.machine import set_allocator
from lengthscale.bench.host.process import Child
from lengthscale.bench.plan.cell import Cell
from lengthscale.bench.plan.settings import Settings
from lengthscale.bench.plan.status import NO_MEMORY, Status
from lengthscale.bench.results.messages import Clock, Done, RoundEnd, Stage, record_of
from lengthscale.bench.results.record import Record

PROBE_S = 300.0  # at least: the first probe of a fresh environment compiles the C++ kernels
OnStage = Callable[[Cell, str], None]
OnRound = Callable[[Cell, float], None]


@cache
def _cache_folder() -> str:
    """The folder in which children share programs that are not measured (see bench/device/compilation.py)."""
    folder = tempfile.mkdtemp(prefix="lengthscale-cache-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


class Runner:
    """Starts children from a forkserver, which has imported the worker and jax once for all of them.

    target: what a child runs.
    """

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
        # A child imports the worker, and multiprocessing runs the program's main module in each child.
        self._context.set_forkserver_preload([WORKER, "lengthscale.bench.__main__"])

    def measure(self, cell: Cell, on_stage: OnStage = lambda cell, stage: None) -> Record:
        """The record of one cell, whatever its outcome. on_stage: called when a stage begins."""
        (record,) = self.measure_in_rounds([cell], on_stage)
        return record

    def measure_in_rounds(
        self,
        cells: Iterable[Cell],
        on_stage: OnStage = lambda cell, stage: None,
        on_round: OnRound = lambda cell, step_s: None,
    ) -> Generator[Record, None, None]:
        """The records of cells that are sampled round-robin, each as soon as it is there.

        All children live at the same time and are sampled one after the other, a round of samples each, so that a drift
        of the machine affects all cells alike. A cell is taken from `cells` when its child is to start. By then each
        earlier cell has failed and given its record, or has sent the seconds of a step (`on_round`). A cell for which
        there is not enough memory next to the others is measured again alone.
        """
        working: list[Running] = []
        crowded: list[Cell] = []
        try:
            for cell in cells:
                running = self._start("measure", cell)
                working.append(running)
                done = running.advance(on_stage)
                if done is None:
                    on_round(cell, running.step_s)
                    continue
                working.remove(running)
                if working and done.status in NO_MEMORY:
                    crowded.append(cell)
                else:
                    yield record_of(cell, done, running.clock())
            while working:
                for running in list(working):
                    done = running.advance(on_stage)
                    if done is not None:
                        working.remove(running)
                        assert running.cell is not None
                        yield record_of(running.cell, done, running.clock())
        finally:
            for running in working:
                running.end()
        for cell in crowded:
            yield self.measure(cell, on_stage)

    def check(self, cell: Cell) -> Done:
        """The check of the cell's method against its reference (bench/device/correctness.py)."""
        return self._run("check", cell)

    def plan(self, cell: Cell) -> Done:
        """The plan of a cell: compiled, and not measured."""
        return self._run("plan", cell)

    def probe(self) -> dict[str, Any]:
        """The facts of the device as a child sees it. Raises RuntimeError where there is no device."""
        patient = replace(self._settings, timeout_s=max(PROBE_S, self._settings.timeout_s))
        done = Running(Child(self._context, self._target, ("probe", None, patient)), None, patient).advance()
        if done is None or not isinstance(done.content, dict):
            raise RuntimeError(f"no device: {done and done.status}: {done and done.message}")
        return done.content

    def peaks(self) -> dict[str, Any]:
        """The machine's peak rates (bench/device/peaks.py); empty where they cannot be measured."""
        done = self._run("peaks", None)
        return done.content if isinstance(done.content, dict) else {}

    def _run(self, task: str, cell: Cell | None) -> Done:
        done = self._start(task, cell).advance()
        assert done is not None, f"a child that runs {task!r} waited for another round"
        return done

    def _start(self, task: str, cell: Cell | None) -> Running:
        child = Child(self._context, self._target, (task, cell, self._settings))
        return Running(child, cell, self._settings)


class Running:
    """A child that runs a task. It has `timeout_s` of working time; the time it waits between rounds does not count."""

    def __init__(self, child: Child, cell: Cell | None, settings: Settings):
        self.cell = cell
        self.step_s = 0.0  # seconds of a step, as the child sent them at the end of its last round
        self._child, self._settings, self._left_s = child, settings, settings.timeout_s
        self._compile_deadline = math.inf
        self._load_before = _load()
        self._stage, self._wall_s, self._waiting = "start", 0.0, False

    def clock(self) -> Clock:
        """The child's time, and the machine's load before and after."""
        return Clock(round(self._wall_s, 3), self._load_before, _load())

    def advance(self, on_stage: OnStage = lambda cell, stage: None) -> Done | None:
        """Let the child work until the end of its round, which gives None, or until it ends, which gives its Done."""
        started = time.monotonic()
        done = None
        try:
            done = self._advance(started + self._left_s, on_stage)
        finally:
            self._left_s -= time.monotonic() - started
            if done is not None or sys.exc_info()[0]:
                self.end()
            self._wall_s += time.monotonic() - started
        return done

    def end(self) -> None:
        """End the child. Idempotent."""
        self._child.end()

    def _advance(self, deadline: float, on_stage: OnStage) -> Done | None:
        if not self._child.is_started:
            try:
                self._child.start()
            except EOFError:
                message = "the child could not be started: the forkserver has died (its error is above)"
                return Done(Status.ERROR, message, "start")
        if self._waiting:
            self._waiting = False
            self._child.send("continue")
        while True:
            try:
                message = self._child.receive(min(deadline, self._compile_deadline))
            except TimeoutError:
                return self._late(deadline)
            except EOFError:
                return self._child.death(self._stage)
            if isinstance(message, Done):
                return message
            if isinstance(message, RoundEnd):
                self._waiting, self.step_s = True, message.step_s
                return None
            assert isinstance(message, Stage), message
            self._begin(message.name)
            if self.cell is not None:
                on_stage(self.cell, message.name)

    def _begin(self, stage: str) -> None:
        self._stage = stage
        compiling = stage == "compile"
        self._compile_deadline = time.monotonic() + self._settings.compile_timeout_s if compiling else math.inf

    def _late(self, deadline: float) -> Done:
        compiling = self._compile_deadline < deadline
        seconds = self._settings.compile_timeout_s if compiling else self._settings.timeout_s
        message = f"passed the deadline of {seconds:g} s{' for compiling' if compiling else ''}"
        return Done(Status.TIMEOUT, message, self._stage)


def _load() -> float | None:
    """The load average of the last minute: processes that ran or waited for a core; None where it is unknown."""
    with suppress(OSError, AttributeError):
        return round(os.getloadavg()[0], 2)
    return None
