"""Breakdown: where the time of a prefill and of a training step goes, by kind of operator (bench/device/operators.py).

Each step is timed without a profiler, and then run again under JAX's own (bench/device/trace.py). A cell has a row for
each mode and part. The parts add up to the time of the traced steps, of which the fastest and the slowest quarter do
not count, less the profiler's own cost. That is a fraction of a microsecond for each operator that runs, nothing beside
a matrix product, but up to ten times the work of a loop over time that is made of many small operators. Therefore what
a step takes longer under the profiler is taken off "scan or attention", up to PROFILER_NS for each operator in it. If
that is over LARGEST_SHARE of it, the rest would be a guess, and the cell is unsupported. A mode that the profiler slows
by over PERTURBED is flagged.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace

from lengthscale.bench.device import timing, trace
from lengthscale.bench.device.measures import forward, train
from lengthscale.bench.device.operators import PARTS, RECURRENCE, operators_of
from lengthscale.bench.device.program import (
    FINE,
    Notifier,
    Outcome,
    Program,
    SkippedError,
    Step,
    check_losses,
    compile_program,
    fitting,
    measured,
)
from lengthscale.bench.plan.cell import Cell
from lengthscale.bench.plan.settings import Settings
from lengthscale.bench.results.messages import Done, Samples

MODES = {"forward": forward.make_program, "train": train.make_program}
MOST_STEPS = 20  # traced in one mode
ENOUGH_RUNS = 200_000  # of operators: more than one step is traced up to this many, which take about 4 s to read
MOST_RUNS = 1_000_000
PERTURBED = 0.15
PROFILER_NS = 1000  # the most that one operator's events cost; measured 300 to 770 on an Intel Xeon
LARGEST_SHARE = 0.5


def make_program(cell: Cell, settings: Settings) -> Program:
    """The program of a training step, the larger one of the two."""
    return MODES["train"](cell, settings)


def run(cell: Cell, settings: Settings, notify: Notifier) -> Done:
    """Measure the cell in both modes. Where one of them is impossible, the message says why, and the other one is kept.

    Raises TraceError where jax's profiler gives nothing. Where both modes are impossible, raises SkippedError if a
    program does not fit into memory or runs too many operators to be traced, and NotImplementedError if jax does not
    say what they belong to or its profiler disturbs them too much.
    """
    rows, seconds, outcome = [], (), FINE
    impossible: dict[str, Exception] = {}
    for mode, make in MODES.items():
        try:
            found = _measure(make(cell, settings), settings, notify)
        except (SkippedError, NotImplementedError) as reason:
            impossible[mode] = reason
            continue
        rows += [{"mode": mode, **row} for row in found.rows]
        seconds += found.seconds
        outcome = found.outcome if outcome == FINE else outcome
    if not rows:
        raise next(iter(impossible.values()))
    messages = (outcome.message, *(f"{mode}: {reason}" for mode, reason in impossible.items()))
    outcome = replace(outcome, message="; ".join(filter(None, messages)))
    return measured(rows, Samples(tuple(second * 1e3 for second in seconds)), outcome)


@dataclass(frozen=True)
class _Found:
    rows: list[dict]
    seconds: tuple[float, ...]  # of the steps that were timed without the profiler
    outcome: Outcome


def _measure(program: Program, settings: Settings, notify: Notifier) -> _Found:
    compiled = fitting(program, settings, notify, compile_program)
    operators = operators_of(compiled.call.as_text())
    in_a_step = sum(each.runs for each in operators.values())
    if 2 * in_a_step > MOST_RUNS:
        raise SkippedError(f"a step runs {in_a_step:,} operators, and the trace may hold {MOST_RUNS:,} in two steps")
    notify("allocate")
    step = Step(compiled)
    notify("sample")
    step_s = min(timing.timed(step)[0] for _ in range(2))
    count = max(1, min(MOST_STEPS, settings.samples(step_s), ENOUGH_RUNS // in_a_step - 1))
    seconds = tuple(timing.timed(step)[0] for _ in range(count))
    notify("trace")
    traced = trace.traced(step, count + 1)
    parts = trace.time_of_parts(traced, operators)[1:]  # the first step after a pause is slower
    in_scans = {name for name, each in operators.items() if each.part == RECURRENCE and not each.contains}
    most_ns = PROFILER_NS * sum(span.name in in_scans for span in traced.operators) / len(traced.steps)
    known = {name: compiled.columns[name] for name in ("n_params", "remat") if name in compiled.columns}
    rows = [{**known, **row} for row in columns(parts, seconds, most_ns)]
    return _Found(rows, seconds, check_losses(step.losses).saying(compiled.why))


def columns(parts: Sequence[dict[str, float]], seconds: Sequence[float], most_ns: float) -> list[dict]:
    """A row for each part.

    parts: the time of each part in every traced step, in ns. seconds: of the steps without the profiler. most_ns: the
    most that the profiler can have cost in the operators of "scan or attention", in a step. Raises NotImplementedError
    where it may have cost most of them.
    """
    ordered = sorted(parts, key=lambda step: sum(step.values()))
    quarter = len(ordered) // 4
    kept = ordered[quarter : len(ordered) - quarter]
    mean_ms = {part: sum(step.get(part, 0.0) for step in kept) / len(kept) / 1e6 for part in (*PARTS, trace.IDLE)}
    traced_ms, untraced_ms = sum(mean_ms.values()), statistics.median(seconds) * 1e3
    profiler_ms = min(max(0.0, traced_ms - untraced_ms), most_ns / 1e6, mean_ms[RECURRENCE])
    if profiler_ms > LARGEST_SHARE * mean_ms[RECURRENCE]:
        raise NotImplementedError(
            f"of {mean_ms[RECURRENCE]:.3g} ms in loops over time, jax's profiler itself takes {profiler_ms:.3g} ms"
        )
    mean_ms[RECURRENCE] -= profiler_ms
    return [
        {
            "part": part,
            "part_ms": part_ms,
            "part_share": part_ms / (traced_ms - profiler_ms),
            "traced_ms": traced_ms,
            "profiler_ms": profiler_ms,
            "untraced_ms": untraced_ms,
            "traced_steps": len(parts),
            "breakdown_source": "profiler",
            "flags": "perturbed" if traced_ms > (1 + PERTURBED) * untraced_ms else None,
        }
        for part, part_ms in mean_ms.items()
    ]
