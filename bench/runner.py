"""Runs each cell in a child with a deadline, and makes a record of whatever happens. No jax here."""

from __future__ import annotations

import atexit
import multiprocessing
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from functools import cache
from multiprocessing.process import BaseProcess
from pathlib import Path

from bench.cell import Cell
from bench.child import run_child
from bench.environment import set_allocator
from bench.suites import Settings

GRACE_S = 2.0  # between TERM and KILL


@cache
def _cache_folder() -> str:
    """Where the children share what they compile but do not measure (see bench.program)."""
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
        self._context.set_forkserver_preload(["bench.worker"])

    def measure(self, cell: Cell, on_stage: Callable[[str], None] = lambda stage: None) -> dict:
        """The cell's record; see bench.journal for its form."""
        return self._run("measure", cell, on_stage)

    def plan(self, cell: Cell) -> dict:
        return self._run("plan", cell, lambda stage: None)

    def probe(self) -> dict:
        """The device as a child sees it. Raises RuntimeError where none can be had."""
        record = self._run("probe", None, lambda stage: None)
        if record["status"] != "ok":
            raise RuntimeError(f"no device: {record['status']}: {record['message']}")
        return record["rows"][0]

    def _run(self, task: str, cell: Cell | None, on_stage: Callable[[str], None]) -> dict:
        started = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="lengthscale-") as folder:
            output = Path(folder) / "output"
            receiver, sender = self._context.Pipe(duplex=False)
            child = self._context.Process(target=self._target, args=(sender, task, cell, self._settings, str(output)))
            try:
                child.start()
            except EOFError:
                message = "the child could not be started: the forkserver died (its error is above)"
                record = {"status": "error", "stage": "start", "message": message, "rows": []}
            else:
                sender.close()
                try:
                    record = self._wait(child, receiver, started + self._settings.timeout_s, on_stage, output)
                finally:
                    _end(child)
            finally:
                receiver.close()
        wall_s = round(time.monotonic() - started, 3)
        return {"cell": asdict(cell) if cell else None, **record, "wall_s": wall_s}

    def _wait(self, child, receiver, deadline: float, on_stage, output: Path) -> dict:
        """Follow a child to its record, its death, or the deadline, which holds however much it talks."""
        stage = "start"
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                message = f"passed the deadline of {self._settings.timeout_s:g} s"
                return {"status": "timeout", "stage": stage, "message": message, "rows": []}
            if not receiver.poll(min(left, 1.0)):
                continue
            try:
                kind, content = receiver.recv()
            except (EOFError, OSError):
                child.join(GRACE_S)
                return _death(child, stage, output)
            if kind == "done":
                return content
            stage = content
            on_stage(stage)


def _death(child: BaseProcess, stage: str, output: Path) -> dict:
    """The record of a child that ended without one."""
    code = child.exitcode
    last_words = _tail(output)
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        hint = " (often: out of memory)" if -code == signal.SIGKILL else ""
        return {"status": "killed", "stage": stage, "message": f"ended by {name}{hint}{last_words}", "rows": []}
    return {"status": "error", "stage": stage, "message": f"exit code {code} without a record{last_words}", "rows": []}


def _tail(output: Path, lines: int = 3) -> str:
    try:
        with open(output, "rb") as file:
            file.seek(max(0, output.stat().st_size - 2000))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    last = [line.strip() for line in text.splitlines() if line.strip()][-lines:]
    return f": {' / '.join(last)}" if last else ""


def _end(child: BaseProcess) -> None:
    """TERM, then KILL, for the child's whole process group, so that no grandchild is left."""
    child.join(0.5)
    assert child.pid is not None
    for how, patience in ((signal.SIGTERM, GRACE_S), (signal.SIGKILL, None)):
        with suppress(ProcessLookupError, PermissionError):  # the group is gone, or the child had not yet made one
            os.killpg(child.pid, how)
        if child.is_alive():
            os.kill(child.pid, how)
            child.join(patience)
    child.close()
