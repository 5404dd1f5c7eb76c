"""The runner: it runs each cell in a child with a deadline, and makes a record of whatever happens."""

from __future__ import annotations

import atexit
import math
import multiprocessing
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import cache
from typing import Any

from lengthscale.bench.host.child import WORKER, run_child
from lengthscale.bench.host.machine import set_allocator
from lengthscale.bench.host.process import Child, end_forkserver
from lengthscale.bench.plan.cell import Cell
from lengthscale.bench.plan.measures import MEASURES
from lengthscale.bench.plan.settings import Settings
from lengthscale.bench.plan.status import Status
from lengthscale.bench.results.messages import Clock, Done, Stage, record_of
from lengthscale.bench.results.record import Record

DEVICE_SHARE = "0.95"  # of an accelerator's memory, which children may allocate; jax's default is 0.75
PROBE_S = 300.0  # at least: the first probe of a fresh environment compiles the C++ kernels
OnStage = Callable[[str], None]


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

    target: what a child runs.
    """

    def __init__(self, settings: Settings, target: Callable = run_child):
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
        self._replicate = 0  # that was measured last
        self._context = multiprocessing.get_context("forkserver")
        # A child imports the worker, and multiprocessing runs the program's main module in each child.
        self._context.set_forkserver_preload([WORKER, "lengthscale.bench.__main__"])

    def measure(self, cell: Cell, replicate: int = 0, on_stage: OnStage = lambda stage: None) -> Record:
        """The record of one replicate of a cell, whatever its outcome. on_stage: called when a stage begins."""
        if replicate != self._replicate:
            end_forkserver()
            self._replicate = replicate
        load_before, started = _load(), time.monotonic()
        done = Done(Status.OK)
        if MEASURES[cell.measure].replicated and cell not in self._compiled:
            done = self._run("compile", cell, on_stage)
        if done.status == Status.OK:
            self._compiled.add(cell)
            done = self._run("measure", cell, on_stage, began=started)
        clock = Clock(round(time.monotonic() - started, 3), load_before, _load())
        return record_of(cell, replicate, done, clock)

    def check(self, cell: Cell) -> Done:
        """The check of the cell's method against its reference (bench/device/correctness.py)."""
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
        settings = settings or self._settings
        child = Child(self._context, self._target, (task, cell, settings))
        try:
            return _received(child, settings, on_stage, time.monotonic() if began is None else began)
        finally:
            child.end()


def _received(child: Child, settings: Settings, on_stage: OnStage, began: float) -> Done:
    """Start the child, and receive its messages until it has ended or its deadline has passed."""
    deadline, compile_deadline, stage = began + settings.timeout_s, math.inf, "start"
    try:
        child.start()
    except EOFError:
        return Done(Status.ERROR, "the child could not be started: the forkserver has died (its error is above)", stage)
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


def _load() -> float | None:
    """The load average of the last minute: processes that ran or waited for a core; None where it is unknown."""
    with suppress(OSError, AttributeError):
        return round(os.getloadavg()[0], 2)
    return None
