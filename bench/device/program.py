"""A program and its measurement: plan a step, allocate its arguments, warm up, sample, and read the peak memory."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol

import jax
import numpy as np

from lengthscale.bench.device import flops as cost
from lengthscale.bench.device import memory, timing
from lengthscale.bench.device.compilation import (
    make_shared,
    shared_program,
    store,
    store_choice,
    stored,
    stored_choice,
    tuning,
)
from lengthscale.bench.device.memory_limit import memory_limit
from lengthscale.bench.device.precision import precision_of
from lengthscale.bench.plan.settings import Settings
from lengthscale.bench.plan.status import Status
from lengthscale.bench.results.messages import Done, Measured, Samples
from lengthscale.bench.results.record import row_of


class Notifier(Protocol):
    """The messages of a child to its parent; see bench/host/child.py."""

    def __call__(self, stage: str, /) -> None:
        """Send the stage that begins."""
        ...


@dataclass(frozen=True)
class Outcome:
    """How a measurement ended."""

    status: Status = Status.OK
    message: str = ""

    def saying(self, more: str) -> Outcome:
        """The same with another part of its message."""
        return replace(self, message="; ".join(filter(None, (self.message, more))))


FINE = Outcome()


class SkippedError(Exception):
    """The cell is not run; the message says why."""


@dataclass(frozen=True)
class Program:
    """A jitted step, how its arguments are made, and how its results become the next call's arguments."""

    step: Any  # jax.jit'ed, its state donated; its arguments are make_state's results, then inputs
    make_state: Callable[[Any], tuple]  # from a random key
    inputs: tuple[np.ndarray, ...]
    seed: int
    tokens: int  # handled in one call
    columns: Callable[[Any], dict]  # the results' shapes and dtypes -> columns of its row that no run is needed for
    advance: Callable[[tuple, Any], tuple] = lambda args, results: args  # (args, results) -> the next call's args
    loss: Callable[[Any], Any] | None = None  # results -> loss
    calls: int | None = None  # in one cell; None where sampling decides
    name: str = ""  # under which replicates share it; "": each compiles its own
    parts: tuple[Program, ...] = ()  # the programs that are measured, where this one is only for a plan
    leaner: Callable[[], Sequence[Program]] = tuple  # the same step in less memory, each taking longer than the last

    @cached_property
    def abstract_args(self) -> tuple:
        """The arguments' shapes and dtypes; nothing is allocated."""
        state = jax.eval_shape(self.make_state, jax.random.key(self.seed))
        return *state, *(jax.ShapeDtypeStruct(x.shape, x.dtype) for x in self.inputs)

    @property
    def _state_name(self) -> str:
        return f"{self.name} state" if self.name else ""

    def prepare_args(self) -> None:
        """Compile what `make_args` runs, and store it."""
        shared_program(self.make_state, self.seed, self._state_name)

    def make_args(self) -> tuple:
        """The first call's arguments, on the device."""
        state = make_shared(self.make_state, self.seed, self._state_name)
        return jax.block_until_ready((*state, *jax.device_put(self.inputs)))


@dataclass
class Compiled:
    """A compiled program, with what compiling has measured."""

    program: Program
    call: Any
    columns: dict  # of its row, with those of its program
    moved_bytes: int | None  # the least that one call moves: its arguments and outputs, each once
    why: str = ""  # why it is this form of the program, where others did not fit

    @property
    def planned_bytes(self) -> int | None:
        """The planned memory; None where it is unknown."""
        return self.columns["mem_planned_bytes"]

    def timed(self, samples: Samples) -> dict:
        """The columns of time and rates, with those of compiling.

        flops_per_s = flops / time
        bytes_per_s = (arguments + outputs) / time: the least that a step must move, whatever its caches keep
        """
        times = timing.columns(samples, self.program.tokens)
        median_s, flops = times["time_median_ms"] / 1e3, self.columns["flops"]
        return {
            **times,
            **self.columns,
            "flops_per_s": flops / median_s if flops else None,
            "bytes_per_s": self.moved_bytes / median_s if self.moved_bytes else None,
        }


def compile_program(
    program: Program, notify: Notifier, trace: Callable[[Any, tuple], Any] = lambda step, args: step.trace(*args)
) -> Compiled:
    """Trace, lower and compile a program, each timed separately, with abstract arguments: nothing is allocated yet.

    trace: how the step is traced with its arguments, where it is for another device.
    """
    notify("compile")
    args = program.abstract_args
    start = time.perf_counter()
    traced = trace(program.step, args)
    trace_s = time.perf_counter() - start
    lowered = traced.lower()
    lower_s = time.perf_counter() - start - trace_s
    call = lowered.compile(compiler_options=tuning())
    compile_s = time.perf_counter() - start - trace_s - lower_s
    columns = {
        "trace_s": trace_s,
        "lower_s": lower_s,
        "compile_s": compile_s,
        "flops": cost.flops_of(traced.jaxpr),
        "precision": precision_of(traced.jaxpr),
        "mem_planned_bytes": memory.planned_bytes(call),
        **program.columns(traced.out_info),
    }
    return Compiled(program, call, columns, memory.moved_bytes(call))


class Step:
    """A call of a compiled program, with what the last call has made of the arguments."""

    def __init__(self, compiled: Compiled):
        self._compiled = compiled
        self._args = compiled.program.make_args()
        self.losses: list[Any] = []

    def __call__(self) -> Any:
        results = self._compiled.call(*self._args)
        program = self._compiled.program
        self._args = program.advance(self._args, results)
        if program.loss:
            self.losses.append(program.loss(results))
        return results


def load_or_compile(program: Program, notify: Notifier) -> Compiled:
    """The compiled program, as `prepare` has stored it, or compiled now."""
    if found := stored(program.name):
        call, (columns, moved_bytes) = found
        return Compiled(program, call, columns, moved_bytes)
    compiled = compile_program(program, notify)
    store(program.name, compiled.call, (compiled.columns, compiled.moved_bytes))
    return compiled


def fitting(
    program: Program,
    settings: Settings,
    notify: Notifier,
    load: Callable[[Program, Notifier], Compiled] = load_or_compile,
) -> Compiled:
    """The compiled program, or the first of its leaner forms that fits into the memory; `why` says what did not.

    Once a process has chosen, the others of a run take the same. Raises SkippedError where no form fits.
    """
    limit = settings.mem_limit_bytes or settings.mem_limit_share
    name = f"{program.name} remat {settings.remat} in {limit}" if program.name else ""
    if found := stored_choice(name):
        number, why = found
        compiled = load((program, *program.leaner())[number] if number else program, notify)
        check_memory(compiled, settings)
        return replace(compiled, why=why)
    reasons: list[str] = []
    for form in _forms(program):
        try:
            compiled = load(form, notify)
            check_memory(compiled, settings)
        except SkippedError as reason:
            reasons.append(str(reason))
        except jax.errors.JaxRuntimeError as error:  # a TPU's compiler itself says so
            if not is_out_of_memory(error):
                raise
            reasons.append(str(error).splitlines()[0][:200])
        else:
            why = f"it is leaner, since without: {reasons[0]}" if reasons else ""
            store_choice(name, len(reasons), why)
            return replace(compiled, why=why)
    raise SkippedError(reasons[-1])


def _forms(program: Program) -> Iterator[Program]:
    """The program, then its leaner forms, which are made only if they are asked for."""
    yield program
    yield from program.leaner()


def is_out_of_memory(error: Exception) -> bool:
    """Whether jax's error says that a device has too little memory."""
    return "RESOURCE_EXHAUSTED" in str(error)


def prepare(program: Program, settings: Settings, notify: Notifier) -> None:
    """Compile all that a replicate runs, and store it. Raises SkippedError where it does not fit into memory."""
    for part in program.parts or (program,):
        fitting(part, settings, notify).program.prepare_args()


def check_memory(compiled: Compiled, settings: Settings) -> None:
    """Raises SkippedError where the planned memory is over the limit."""
    planned = compiled.planned_bytes
    limit, source = memory_limit(settings)
    if planned is not None and planned > limit:
        raise SkippedError(
            f"planned memory {planned / 2**30:.2f} GiB is over the limit {limit / 2**30:.2f} GiB ({source})"
        )


def measured(rows: Iterable[dict], samples: Samples, outcome: Outcome = FINE) -> Done:
    """The end of a measurement. rows: of columns by their names."""
    return Done(outcome.status, outcome.message, content=Measured(tuple(map(row_of, rows)), samples))


def with_place_losses(done: Done, losses: Sequence[tuple[float | None, ...]]) -> Done:
    """The message with the losses of each row's places. losses: None for a loss that is not finite."""
    assert isinstance(done.content, Measured)
    return replace(done, content=replace(done.content, place_losses=tuple(losses)))


def measure(program: Program, settings: Settings, notify: Notifier) -> Done:
    """Compile and sample a program: one row. Raises SkippedError where the program does not fit into memory."""
    compiled = fitting(program, settings, notify)
    program = compiled.program
    notify("allocate")
    args = program.make_args()
    meter = memory.peak_meter()
    losses = []

    def call():
        nonlocal args
        results = compiled.call(*args)  # nobody keeps them: the peak is that of one call, and has one call's results
        args = program.advance(args, results)
        if program.loss:
            losses.append(program.loss(results))
        return results

    notify("sample")
    samples = timing.sample(call, settings, meter.measure)
    memory_columns = meter.columns(args)  # before the statistics, which take memory of their own
    row = {**compiled.timed(samples), **memory_columns}
    outcome = check_losses(losses)
    if losses and outcome == FINE:
        row["loss"] = float(losses[0])  # of the untrained model: the last loss depends on how fast the machine is
    return measured([row], samples, outcome.saying(compiled.why))


def check_losses(losses) -> Outcome:
    """FINE, or Status.NAN with the step at which a loss is not finite."""
    for number, loss in enumerate(map(float, losses), start=1):
        if not math.isfinite(loss):
            return Outcome(Status.NAN, f"the loss is {loss} at step {number}")
    return FINE
