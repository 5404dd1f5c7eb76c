"""Traces: which operators of a program ran at which time, from JAX's profiler, and the time of each part of a step.

On a GPU or TPU the profiler records every operator on a line of the device, and on a CPU on the thread that runs it. An
event names its operator in the field `hlo_op`; a TPU's event is named by the operator's HLO. Each moment of a line
belongs to its innermost event. On a CPU an operator may leave tasks to other threads and end before them: what such a
task does belongs to the operator that left it. A step is marked by an annotation, from its call until all outputs are
there.
"""

from __future__ import annotations

import math
import tempfile
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
from jax.profiler import ProfileData, ProfileOptions, TraceAnnotation

from lengthscale.bench.device.operators import Operator

IDLE = "idle"
_STEP = "lengthscale_step"
# Events of XLA's threads: a task is left to a thread, it begins, it ends; and the loop that runs operators.
_LEFT, _BEGUN, _ENDED = (f"ThreadpoolListener::{name}" for name in ("Record", "StartRegion", "StopRegion"))
_EXECUTOR = "ThunkExecutor::Execute"


@dataclass(frozen=True)
class Span:
    """Something that took place from `start_ns` to `end_ns` on the trace's clock."""

    name: str
    start_ns: float
    end_ns: float


@dataclass(frozen=True)
class Trace:
    """The traced steps, in order, and the operators that ran, by their names."""

    steps: tuple[Span, ...]
    operators: tuple[Span, ...]


class TraceError(RuntimeError):
    """The profiler has not written what is expected of it."""


def traced(call: Callable[[], Any], steps: int) -> Trace:
    """The trace of this many calls, each of which is waited for. Raises TraceError."""
    options = ProfileOptions()
    options.python_tracer_level = 0  # events of Python functions are not used, and recording them takes time
    options.enable_hlo_proto = False
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder, profiler_options=options):
            for _ in range(steps):
                with TraceAnnotation(_STEP):
                    jax.block_until_ready(call())
        return read(Path(folder))


def read(folder: Path) -> Trace:
    """The trace in the folder that the profiler wrote. Raises TraceError where there is none, or no step in it."""
    files = sorted(folder.rglob("*.xplane.pb"))
    if not files:
        raise TraceError("the profiler wrote no trace")
    planes = list(ProfileData.from_file(str(files[0])).planes)
    devices = [line for plane in planes if plane.name.startswith("/device:") for line in plane.lines]
    hosts = [line for plane in planes if plane.name.startswith("/host:") for line in plane.lines]
    steps = [Span(_STEP, each.start_ns, each.end_ns) for line in hosts for each in line.events if each.name == _STEP]
    operators = _innermost(devices) or _innermost(hosts)
    if not steps or not operators:
        raise TraceError(f"the profiler's trace has {len(steps)} steps and {len(operators)} operators")
    return Trace(tuple(sorted(steps, key=lambda step: step.start_ns)), tuple(operators))


def _innermost(lines: Sequence[Any]) -> list[Span]:
    """The spans in which the innermost event of a line is an operator or a task of one."""
    used = ((at, *each) for at, line in enumerate(lines) for each in _used(line))
    stacks, owners = [_Stack() for _ in lines], {}  # owners: the operator of each task, by the task's number
    for at, start, end, mark, value in sorted(used, key=lambda each: (each[1], -each[2])):
        stack = stacks[at]
        stack.close(start)
        if mark == _LEFT:
            owners[value] = stack.owner
        elif mark == _BEGUN:
            stack.open(owners.get(value, ""), start, math.inf)
        elif mark == _ENDED:
            stack.end_task(start)
        else:
            stack.open(value, start, end)
    for stack in stacks:
        stack.close(math.inf)
    return [span for stack in stacks for span in stack.spans]


def _used(line: Any) -> Iterator[tuple[float, float, str, Any]]:
    """(start, end, the event's mark, the number of a task or the name of an operator) of each event that is used."""
    for event in line.events:
        mark = event.name
        if mark == _LEFT:
            value = _stat(event, "_p")
        elif mark == _BEGUN:
            value = _stat(event, "_c")
        elif mark in (_ENDED, _EXECUTOR):
            value = ""
        else:
            mark, value = "", _operator_of(event)
            if not value:
                continue
        yield event.start_ns, event.end_ns, mark, value


class _Stack:
    """The events of one line that are open, and the spans in which an operator's is the innermost."""

    def __init__(self):
        self.spans: list[Span] = []
        self._open: list[tuple[str, float]] = []  # (an operator, or "" for what is none; its end, or inf for a task)
        self._since = 0.0

    @property
    def owner(self) -> str:
        """The operator that runs; "" for none."""
        return self._open[-1][0] if self._open else ""

    def open(self, owner: str, start: float, end: float) -> None:
        """Begin an event, which is the innermost one until its end or until another begins."""
        self._pass(start)
        self._open.append((owner, end))

    def close(self, now: float) -> None:
        """End the events whose end has come. A task has none until its event says so."""
        while self._open and self._open[-1][1] <= now and self._open[-1][1] < math.inf:
            self._pass(self._open[-1][1])
            self._open.pop()

    def end_task(self, now: float) -> None:
        """End the innermost task, and what is open inside it."""
        if any(end == math.inf for _, end in self._open):
            self._pass(now)
            while self._open.pop()[1] < math.inf:
                pass

    def _pass(self, now: float) -> None:
        if self.owner and now > self._since:
            self.spans.append(Span(self.owner, self._since, now))
        self._since = max(self._since, now)


def _operator_of(event: Any) -> str:
    """The name of the operator that an event belongs to; "" for none."""
    name = event.name.partition(" = ")
    return _stat(event, "hlo_op") or (name[0].lstrip("%") if name[1] else "")


def _stat(event: Any, name: str) -> Any:
    return next((value for key, value in event.stats if key == name), None)


def time_of_parts(trace: Trace, operators: Mapping[str, Operator]) -> list[dict[str, float]]:
    """The time of each part in each step, in ns; the parts of a step add up to its time.

    At each moment of a step, the operators that run then share it equally, on whatever threads or streams. Where none
    runs but a loop over time is open, the moment is the loop's: its work between iterations. A moment at which nothing
    runs is IDLE: the call's dispatch, memory that is allocated and freed, waiting.
    """
    spans = sorted(
        ((span, operators[span.name]) for span in trace.operators if span.name in operators),
        key=lambda pair: pair[0].start_ns,
    )
    starts = [span.start_ns for span, _ in spans]
    longest = max((span.end_ns - span.start_ns for span, _ in spans), default=0)
    parts = []
    for step in trace.steps:
        first, last = bisect_left(starts, step.start_ns - longest), bisect_left(starts, step.end_ns)
        parts.append(_within(step, spans[first:last]))
    return parts


def _within(step: Span, spans: Iterable[tuple[Span, Operator]]) -> dict[str, float]:
    changes = []  # (when, an operator, 1 where it starts and -1 where it ends)
    for span, operator in spans:
        start, end = max(span.start_ns, step.start_ns), min(span.end_ns, step.end_ns)
        if start < end and operator.part:
            changes += [(start, operator, 1), (end, operator, -1)]
    changes.sort(key=lambda change: change[0])
    totals: defaultdict[str, float] = defaultdict(float)
    running, loops, before = Counter(), Counter(), step.start_ns
    for when, operator, change in (*changes, (step.end_ns, None, 0)):
        shared = +running or +loops or Counter([IDLE])
        for part, count in shared.items():
            totals[part] += (when - before) * count / shared.total()
        if operator:
            (loops if operator.contains else running)[operator.part] += change
        before = when
    return dict(totals)
