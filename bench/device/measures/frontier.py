"""The frontier: the longest sequence and the largest batch whose programs fit into this device's memory.

For each mode (prefill, training, decoding) the longest sequence at the cell's batch, and the largest batch at the
cell's length. Both are found by plans of the compiler, for which nothing is allocated (bench/device/largest.py). What
is found is confirmed by a run of two steps, if one is predicted to take up to `max_seconds` and a quarter of the time
that is left; the tokens a second of the second step are then in its row. Where the cell runs in chunks, prefill and
training do.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import jax

from lengthscale.bench.device import memory, timing
from lengthscale.bench.device.largest import How, Ladder, Largest, Plan, find_largest
from lengthscale.bench.device.memory_limit import memory_limit
from lengthscale.bench.device.program import Compiled, Notifier, Program, compile_program, is_out_of_memory, measured
from lengthscale.bench.device.shapes import BATCHES, MODES, leanest_remat, lengths_of, program_at
from lengthscale.bench.plan.cell import Cell
from lengthscale.bench.plan.settings import Settings
from lengthscale.bench.results.messages import Done, Samples

NOT_FOUND = Largest(How.DEADLINE)
WORKING_SHARE = 0.95  # of the deadline, which also covers the start of the child


class OutOfTimeError(Exception):
    """There is no time for another plan."""


class Clock:
    """The time that is left to a cell."""

    def __init__(self, settings: Settings):
        self._end = time.monotonic() + WORKING_SHARE * settings.timeout_s
        self._slowest_s = 0.0

    @property
    def left_s(self) -> float:
        """The seconds that are left."""
        return self._end - time.monotonic()

    def timed(self, plan: Callable[[], Compiled]) -> Compiled:
        """The plan. Raises OutOfTimeError if two of the slowest plans would not end in time."""
        if self.left_s < 2 * self._slowest_s:
            raise OutOfTimeError
        start = time.monotonic()
        compiled = plan()
        self._slowest_s = max(self._slowest_s, time.monotonic() - start)
        return compiled


@dataclass
class Search:
    """The search for one largest size: its answer, and the programs that a confirmation runs."""

    make: Callable[[int], Program]  # of a size
    notify: Notifier
    clock: Clock
    compiled: dict[int, Compiled] = field(default_factory=dict)  # by size
    found: Largest = NOT_FOUND
    n_params: int | None = None
    tokens_per_s: float | None = None  # of the largest program, where it has run

    def run(self, limit: int, ladder: Ladder) -> None:
        """Find the largest size. Raises NotImplementedError where the model or the backend does not allow it."""
        try:
            self.found = find_largest(self._plan, limit, ladder)
        except OutOfTimeError:
            self.found = NOT_FOUND
        kept = {*self._steps(), min(self.compiled, default=0)}
        self.compiled = {size: each for size, each in self.compiled.items() if size in kept}

    def _steps(self) -> list[int]:
        """The sizes that a confirmation runs: the largest one, and before it small ones that predict its time."""
        last = self.found.size or 0
        return sorted(size for size in self.compiled if size == last or size * 4 <= last)

    def _plan(self, size: int) -> Plan:
        program = self.make(size)
        inputs = sum(x.nbytes for x in program.inputs)
        try:
            compiled = self.clock.timed(lambda: compile_program(program, self.notify))
        except jax.errors.JaxRuntimeError as error:
            if not is_out_of_memory(error):
                raise
            return Plan(math.inf, inputs)
        if compiled.planned_bytes is None:
            raise NotImplementedError(f"the {jax.default_backend()} backend does not plan memory")
        self.n_params = compiled.columns["n_params"]
        self.compiled[size] = compiled
        return Plan(compiled.planned_bytes, inputs)

    def speed(self) -> float | None:
        """The FLOP/s of the smallest program that was planned; None where nothing was planned or counted."""
        small = self.compiled.get(min(self.compiled, default=0))
        return small.columns["flops"] / step_seconds(small, 2) if small and small.columns["flops"] else None

    def confirm(self, flops_per_s: float, settings: Settings) -> str:
        """Run two steps of the largest program, if there is time and memory for it.

        flops_per_s: of a smaller program. Returns what ended a run that had begun, or "".
        """
        if self.found.how != How.PLANNED or self.found.size not in self.compiled:
            return ""
        for compiled in (self.compiled[size] for size in self._steps()):
            flops = compiled.columns["flops"]
            if not flops or flops / flops_per_s > min(settings.max_seconds, self.clock.left_s / 4):
                return ""
            if (compiled.planned_bytes or 0) > memory.free_bytes():  # on a CPU the kernel would kill this process
                return ""
            try:
                seconds = step_seconds(compiled, 2)
            except jax.errors.JaxRuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                return "it was planned to fit, and ran out of memory"
            flops_per_s = flops / seconds
            if compiled is self.compiled[self.found.size]:
                self.tokens_per_s = compiled.program.tokens / seconds
        self.found = replace(self.found, how=How.CONFIRMED)
        return ""


def step_seconds(compiled: Compiled, calls: int) -> float:
    """The seconds of the last of some calls."""
    args, seconds = compiled.program.make_args(), 0.0
    for _ in range(calls):
        seconds, results = timing.timed(lambda args=args: compiled.call(*args))
        args = compiled.program.advance(args, results)
    return seconds


def make_program(cell: Cell, settings: Settings) -> Program:
    """The program of a training step at the cell's own length and batch."""
    return program_at("train", cell, cell.length, cell.batch, "none" if settings.remat == "auto" else settings.remat)


def run(cell: Cell, settings: Settings, notify: Notifier) -> Done:
    """Measure the cell: a row for each mode. Raises NotImplementedError where the model has no mode."""
    limit, _ = memory_limit(settings)
    remat = leanest_remat(cell) if settings.remat == "auto" else settings.remat
    clock, lengths = Clock(settings), lengths_of(cell)
    longest: dict[str, Search] = {}
    largest: dict[str, Search] = {}
    messages = []
    for mode in MODES:  # all lengths before the batches, in case the time is short
        search = Search(lambda length, mode=mode: program_at(mode, cell, length, cell.batch, remat), notify, clock)
        try:
            search.run(limit, lengths)
            longest[mode] = search
        except NotImplementedError as reason:
            messages.append(f"{mode}: {reason}")
    if not longest:
        raise NotImplementedError("; ".join(messages))
    for mode in longest:
        search = Search(lambda batch, mode=mode: program_at(mode, cell, cell.length, batch, remat), notify, clock)
        search.run(limit, BATCHES)
        largest[mode] = search
    notify("run")
    for mode in longest:
        messages += _confirm(mode, {"longest sequence": longest[mode], "largest batch": largest[mode]}, settings)
    rows = [
        _row(mode, longest[mode], largest[mode])
        | {"memory_limit_bytes": limit, "remat": remat if mode == "train" else None}
        for mode in longest
    ]
    return replace(measured(rows, Samples()), message="; ".join(messages))


def _confirm(mode: str, searches: dict[str, Search], settings: Settings) -> list[str]:
    """Confirm by runs what was planned to fit. Returns messages on runs that ended early. searches: by their names."""
    if all(search.found.how != How.PLANNED for search in searches.values()):
        return []
    first, *_ = searches.values()
    flops_per_s = first.speed()
    if flops_per_s is None:
        return []
    problems = {what: search.confirm(flops_per_s, settings) for what, search in searches.items()}
    return [f"{mode}, {what}: {problem}" for what, problem in problems.items() if problem]


def _row(mode: str, longest: Search, largest: Search) -> dict:
    tokens, batch = longest.found, largest.found
    return {
        "n_params": longest.n_params,
        "mode": mode,
        "longest_tokens": tokens.size,
        "longest_how": str(tokens.how),
        "too_long_tokens": tokens.too_large,
        "mem_planned_bytes": _whole(tokens.planned_bytes),
        "longest_tokens_per_s": longest.tokens_per_s,
        "largest_batch": batch.size,
        "largest_batch_how": str(batch.how),
        "too_large_batch": batch.too_large,
        "batch_planned_bytes": _whole(batch.planned_bytes),
        "batch_tokens_per_s": largest.tokens_per_s,
    }


def _whole(planned_bytes: float | None) -> int | None:
    return None if planned_bytes is None else int(planned_bytes)
