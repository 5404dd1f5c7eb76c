"""The runner: it runs each cell in a child with a deadline, and makes a record of whatever happens."""

from __future__ import annotations

import atexit
import itertools
import multiprocessing
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cache
from typing import Any

from lengthscale.bench.host.child import WORKER, run_child, serve_child
from lengthscale.bench.host.machine import set_allocator
from lengthscale.bench.host.preparation import Task, side_by_side
from lengthscale.bench.host.process import Child, end_forkserver
from lengthscale.bench.host.server import OnStage, Server, received
from lengthscale.bench.plan.cell import Cell
from lengthscale.bench.plan.measures import MEASURES
from lengthscale.bench.plan.settings import Settings
from lengthscale.bench.plan.status import Status
from lengthscale.bench.results.messages import Clock, Done, record_of
from lengthscale.bench.results.record import Record

DEVICE_SHARE = "0.95"  # of an accelerator's memory, which children may allocate; jax's default is 0.75
PROBE_S = 300.0  # at least: the first probe of a fresh environment compiles the C++ kernels


@cache
def _cache_folder() -> str:
    """The folder in which children share compiled programs (see bench/device/compilation.py)."""
    folder = tempfile.mkdtemp(prefix="lengthscale-cache-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


class Runner:
    """Starts children from a forkserver, which has imported the worker and jax once for all of them.

    Each replicate has a forkserver of its own. Children of one forkserver have the same layout of memory, and with it
    the same peak memory to 0.01 MB, where those of another one differ by up to 2 MB: they would not be independent.

    On an accelerator, where a start costs seconds, one process holds the device and measures all cells of a replicate,
    and what can be prepared is prepared side by side (`hold`, `prepare`).

    target: what a child runs. serving: what one runs that serves many tasks.
    """

    def __init__(self, settings: Settings, target: Callable = run_child, serving: Callable = serve_child):
        set_allocator()
        os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", DEVICE_SHARE)
        os.environ |= {
            "JAX_COMPILATION_CACHE_DIR": _cache_folder(),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        }
        self._settings = settings
        self._target = target
        self._compiled: set[Cell] = set()  # whose programs the children share
        self._unprepared: dict[Cell, Done] = {}  # why a cell's programs could not be compiled
        self._replicate = 0  # that was measured last
        self._context = multiprocessing.get_context("forkserver")
        # A child imports the worker, and multiprocessing runs the program's main module in each child.
        self._context.set_forkserver_preload([WORKER, "lengthscale.bench.__main__"])
        self._serving = serving
        self._server: Server | None = None  # that holds the device; None on a CPU

    def hold(self) -> None:
        """From here on one process measures all cells of a replicate."""
        self._server = Server(self._context, self._serving)

    @property
    def holds(self) -> bool:
        """Whether one process measures all cells of a replicate."""
        return self._server is not None

    def prepare(self, tasks: Sequence[Task]) -> list[Done]:
        """The Done of each task, several at a time, while nothing is measured: cells that were compiled run at once."""
        assert self._server is not None, "only what holds the device prepares cells"
        self._server.end()
        found = side_by_side(tasks, lambda: Server(self._context, self._serving), self._settings)
        for (task, cell), done in zip(tasks, found, strict=True):
            if task == "compile" and done.status == Status.OK:
                self._compiled.add(cell)
            elif task == "compile":
                self._unprepared[cell] = done
        return found

    def close(self) -> None:
        """End the process that holds the device, if there is one."""
        if self._server is not None:
            self._server.end()

    def measure(self, cell: Cell, replicate: int = 0, on_stage: OnStage = lambda stage: None) -> Record:
        """The record of one replicate of a cell, whatever its outcome. on_stage: called when a stage begins."""
        if replicate != self._replicate:
            self.close()
            end_forkserver()
            self._replicate = replicate
        load_before, started, stages = _load(), time.monotonic(), _Stages(on_stage)
        done = self._unprepared.get(cell, Done(Status.OK))
        if MEASURES[cell.measure].replicated and cell not in self._compiled and done.status == Status.OK:
            self.close()  # what compiles needs room on the device
            done = self._run("compile", cell, stages)
        if done.status == Status.OK:
            self._compiled.add(cell)
            stages("start")
            done = self._measured(cell, stages, started)
        clock = Clock(round(time.monotonic() - started, 3), stages.seconds(), load_before, _load())
        return record_of(cell, replicate, done, clock)

    def _measured(self, cell: Cell, on_stage: OnStage, began: float) -> Done:
        if self._server is None:
            return self._run("measure", cell, on_stage, began=began)
        return self._server.run("measure", cell, _of(self._settings, cell), on_stage, began)

    def check(self, cell: Cell) -> Done:
        """The check of the cell's method against its reference (bench/device/correctness.py)."""
        self.close()
        return self._run("check", cell)

    def plan(self, cell: Cell) -> Done:
        """The plan of a cell: compiled, and not measured."""
        return self._run("plan", cell)

    def probe(self) -> dict[str, Any]:
        """The facts of the device as a child sees it. Raises RuntimeError where there is no device."""
        patient = replace(self._settings, timeout_s=max(PROBE_S, self._settings.timeout_s))
        done = self._run("probe", None, settings=patient)
        if not isinstance(done.content, dict):
            raise RuntimeError(f"no device: {done.status}: {done.message}")
        return done.content

    def peaks(self) -> dict[str, Any]:
        """The machine's peak rates (bench/device/peaks.py); empty where they cannot be measured."""
        done = self._run("peaks", None)
        return done.content if isinstance(done.content, dict) else {}

    def _run(
        self,
        task: str,
        cell: Cell | None,
        on_stage: OnStage = lambda stage: None,
        settings: Settings | None = None,
        began: float | None = None,
    ) -> Done:
        """The Done of a child that runs the task. It is ended, with all that it has started, whatever happens.

        began: from when the deadline counts, by time.monotonic(); now if it is not given.
        """
        settings = settings or _of(self._settings, cell)
        child = Child(self._context, self._target, (task, cell, settings))
        try:
            return received(child, settings, on_stage, time.monotonic() if began is None else began)
        finally:
            child.end()


def _of(settings: Settings, cell: Cell | None) -> Settings:
    """The settings of a cell's measure and size."""
    return settings.of(cell.measure, cell.size) if cell else settings


class _Stages:
    """Passes the names of stages on, and adds up the seconds of each; the first one is "start"."""

    def __init__(self, on_stage: OnStage):
        self._on_stage = on_stage
        self._began = [("start", time.monotonic())]

    def __call__(self, name: str) -> None:
        """A stage begins."""
        self._began.append((name, time.monotonic()))
        if name != "start":
            self._on_stage(name)

    def seconds(self) -> dict[str, float]:
        """The seconds of each stage, the last of which ends now."""
        found: dict[str, float] = {}
        for (name, start), (_, end) in itertools.pairwise([*self._began, ("", time.monotonic())]):
            found[name] = round(found.get(name, 0.0) + end - start, 3)
        return found


def _load() -> float | None:
    """The load average of the last minute: processes that ran or waited for a core; None where it is unknown."""
    with suppress(OSError, AttributeError):
        return round(os.getloadavg()[0], 2)
    return None
