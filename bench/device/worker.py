"""The worker: what a child does with its cell. The forkserver imports this file once, and jax with it.

jax's backend is started only in the children, which bench/host/child.py prepares.
"""

from __future__ import annotations

import gc
import importlib
import os

import jax

from lengthscale.bench.device import correctness, elsewhere, memory, peaks, timing
from lengthscale.bench.device.power import EnergyMeter
from lengthscale.bench.device.program import Notifier, SkippedError, compile_program, fitting, is_out_of_memory, prepare
from lengthscale.bench.plan.cell import Cell
from lengthscale.bench.plan.devices import DEVICES
from lengthscale.bench.plan.dtypes import DTYPES
from lengthscale.bench.plan.measures import MEASURES
from lengthscale.bench.plan.settings import Settings
from lengthscale.bench.plan.status import Status
from lengthscale.bench.results.messages import Done, Planned
from lengthscale.models.ops import native
from lengthscale.models.ops.platform import platform

PREALLOCATE = "XLA_PYTHON_CLIENT_PREALLOCATE"
# All measures are imported now, in the forkserver, so that children do not have to import anything.
_MODULES = {name: importlib.import_module(measure.module) for name, measure in MEASURES.items()}
PLAN_RUN_FLOPS = 2e9  # in a plan, programs up to this size are run to measure the machine's speed


def run(task: str, cell: Cell | None, settings: Settings, notify: Notifier) -> Done:
    """The outcome of a task. task: one of TASKS, or without a cell "probe" or "peaks".

    What is unsupported, skipped or out of memory is an outcome; other errors are raised.
    """
    jax.config.update("jax_enable_compilation_cache", False)  # or compile times would be those of reading a cache
    # An accelerator's memory is taken at once by what measures on it: a heap that grows does not give a large block
    # back whole. Other tasks leave room for it.
    os.environ.setdefault(PREALLOCATE, str(task == "measure").lower())
    settings = settings if cell is None else settings.of(cell.measure, cell.size)
    try:
        if cell is None:
            return Done(Status.OK, content=peaks.measure_peaks() if task == "peaks" else probe())
        dtype = DTYPES[cell.dtype]
        here = DEVICES[settings.on].platform if settings.on else platform()
        if dtype.platforms and here not in dtype.platforms:
            raise NotImplementedError(f"{cell.dtype} is for {' and '.join(dtype.platforms)}, not for {here}")
        # A check compares algorithms, whatever the cell's own products round to.
        with jax.default_matmul_precision(dtype.exact if task == "check" else dtype.matmul_precision):
            return TASKS[task](cell, settings, notify)
    except SkippedError as reason:
        return Done(Status.SKIPPED, str(reason))
    except NotImplementedError as reason:
        return Done(Status.UNSUPPORTED, str(reason))
    except jax.errors.JaxRuntimeError as error:
        if not is_out_of_memory(error):
            raise
        return Done(Status.OOM, str(error).splitlines()[0][:500])


def forget() -> None:
    """Free what a task has left, so that the next one in this process finds the device's memory as if it were new."""
    jax.clear_caches()
    gc.collect()


def measure(cell: Cell, settings: Settings, notify: Notifier) -> Done:
    """The measurement of a cell."""
    notify("build")
    return _MODULES[cell.measure].run(cell, settings, notify)


def compile_all(cell: Cell, settings: Settings, notify: Notifier) -> Done:
    """Compile what the replicates of a cell share."""
    notify("build")
    prepare(_MODULES[cell.measure].make_program(cell, settings), settings, notify)
    return Done(Status.OK)


def plan(cell: Cell, settings: Settings, notify: Notifier) -> Done:
    """The plan of a cell: planned memory and FLOPs, and the time of a step if the step is small enough to run.

    On another device (settings.on) the time is predicted.
    """
    notify("build")
    program = _MODULES[cell.measure].make_program(cell, settings)
    if settings.on:
        return Done(Status.OK, content=elsewhere.plan(settings.on, program, settings, notify))
    compiled = fitting(program, settings, notify, compile_program)
    program, step_s = compiled.program, None
    if (compiled.columns["flops"] or 0) <= PLAN_RUN_FLOPS:
        notify("run")
        args = program.make_args()
        for _ in range(2):
            step_s, results = timing.timed(lambda args=args: compiled.call(*args))
            args = program.advance(args, results)
    return Done(Status.OK, content=Planned(compiled.columns, program.calls, step_s))


def check(cell: Cell, settings: Settings, notify: Notifier) -> Done:
    """The check of the cell's method against its reference."""
    return correctness.check(cell, notify)


TASKS = {"compile": compile_all, "measure": measure, "plan": plan, "check": check}


def probe() -> dict:
    """The facts of the device as jax sees it. On a CPU this compiles the kernels, so that the first cell need not."""
    device, meter = jax.devices()[0], EnergyMeter.of_device()
    return {
        "backend": device.platform,
        "device_kind": device.device_kind,
        "n_devices": jax.device_count(),
        "device_memory_bytes": memory.device_stats().get("bytes_limit"),
        "native_kernels": (native.missing() or "compiled") if device.platform == "cpu" else None,
        "energy_source": meter.source,
        "energy_missing": meter.missing,
    }
