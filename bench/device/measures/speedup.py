"""Speed-up: how much faster a training step is on all cores of the process than on one of them.

One compiled step is timed, in turns on one core and on all, in the order ABBA, so that a drift of the machine cancels.
XLA has as many threads as there are cores all the time: on one core they share it. The first call of a turn is dropped:
its threads have moved. The speed-up is the ratio of the medians. The threads of a process wait for each other on one
core, so single samples are not marked as disturbed; what other processes used meanwhile is.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any

from lengthscale.bench.device import timing
from lengthscale.bench.device.cores import cores, only
from lengthscale.bench.device.disturbance import Watch
from lengthscale.bench.device.measures import train
from lengthscale.bench.device.program import Notifier, Program, Step, check_losses, compile_program, fitting, measured
from lengthscale.bench.plan.cell import Cell
from lengthscale.bench.plan.settings import Settings
from lengthscale.bench.results.disturbance import OTHER_CORES
from lengthscale.bench.results.messages import Done, Samples
from lengthscale.models.ops.platform import platform

ORDER = (0, 1, 1, 0) * 2  # of turns: 0 on one core, 1 on all
TURNS = ORDER.count(0)  # of each


def make_program(cell: Cell, settings: Settings) -> Program:
    """The program of one training step."""
    return train.make_program(cell, settings)


def run(cell: Cell, settings: Settings, notify: Notifier) -> Done:
    """Measure the cell. Raises SkippedError, and NotImplementedError where there are no cores to choose among."""
    if platform() != "cpu":
        raise NotImplementedError(f"a step on {platform()} does not run on the cores of the machine")
    everything = cores()
    if len(everything) < 2:
        raise NotImplementedError("this process has one core, and a speed-up needs two")
    compiled = fitting(make_program(cell, settings), settings, notify, compile_program)
    notify("allocate")
    step = Step(compiled)
    notify("sample")
    step_s = min(timing.timed(step)[0] for _ in range(2))
    each = math.ceil(max(settings.min_samples, settings.samples(step_s)) / TURNS)
    with closing(Watch()) as watch:
        turns = alternate(step, ({max(everything)}, everything), each)  # interrupts mostly go to the first core
        watch.read([seconds for turn in turns for seconds in turn])
        samples = watch.end()
    known = {name: compiled.columns[name] for name in ("n_params", "remat")}
    row = {**known, "cores": len(everything), **columns(turns)}
    busy = (samples.other_cores or 0.0) > OTHER_CORES
    row |= {"n_samples": len(samples.samples_ms), "flags": "disturbed" if busy else None}
    kept = Samples(samples.samples_ms, other_cores=samples.other_cores)
    return measured([row], kept, check_losses(step.losses).saying(compiled.why))


def alternate(call: Callable[[], Any], sets: Sequence[frozenset[int] | set[int]], each: int) -> list[list[float]]:
    """The seconds of the calls of each turn of ORDER.

    sets: the cores of a turn 0, and of a turn 1. each: the calls of a turn that count.
    """
    turns = []
    for number in ORDER:
        with only(sets[number]):
            timing.timed(call)
            turns.append([timing.timed(call)[0] for _ in range(each)])
    return turns


def columns(turns: Sequence[Sequence[float]]) -> dict:
    """The columns of the times. turns: the seconds of each turn of ORDER."""
    one_ms, all_ms = (
        statistics.median(
            seconds for turn, mine in zip(turns, ORDER, strict=True) if mine == number for seconds in turn
        )
        * 1e3
        for number in (0, 1)
    )
    return {"one_core_ms": one_ms, "all_cores_ms": all_ms, "speedup": one_ms / all_ms}
