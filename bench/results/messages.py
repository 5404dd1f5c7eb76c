"""What a child tells its parent. Besides records this is all that host/ and device/ have in common.

A child sends Stage and Turn messages on the way and one Done at last; after a Turn it waits for an answer.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from lengthscale.bench.plan.cell import Cell
from lengthscale.bench.plan.status import Status
from lengthscale.bench.results.record import SCHEMA, Record, Row


@dataclass(frozen=True)
class Stage:
    """A stage of the work begins, such as "compile"."""

    name: str


@dataclass(frozen=True)
class Turn:
    """The end of a round of samples: other cells may be sampled until the parent answers."""

    step_s: float  # of one step, so far


@dataclass(frozen=True)
class Measured:
    """The outcome of a measurement."""

    rows: tuple[Row, ...]
    samples_ms: tuple[float, ...]
    window_losses: tuple[tuple[float | None, ...], ...] | None = None


@dataclass(frozen=True)
class Planned:
    """A program that was compiled, and run where it is small; nothing of it is a result."""

    columns: dict[str, Any]  # of compiling
    calls: int | None  # that a cell makes, where it is not the sampling that decides
    step_s: float | None  # of one call; None where it was too large to try


@dataclass(frozen=True)
class Checked:
    """A method compared with the reference."""

    reference: str | None  # the other method; None where there is none to compare with
    worst: float | None  # the largest difference, relative


Content = Measured | Planned | Checked | dict[str, Any] | None  # a dict: facts of the device, or its peak rates


@dataclass(frozen=True)
class Done:
    """The end of a task. content: what was asked for, or what there is of it."""

    status: Status
    message: str = ""
    stage: str = ""  # where it ended, if it is not ok
    content: Content = None

    def at(self, stage: str) -> Done:
        """The same, with the stage at which it ended where it is not ok."""
        return self if self.status == Status.OK else replace(self, stage=stage)


@dataclass(frozen=True)
class Clock:
    """What the parent noted of a child: its time, and the machine's load before and after."""

    wall_s: float
    load_before: float | None
    load_after: float | None


def record_of(cell: Cell, done: Done, clock: Clock) -> Record:
    """The record of a cell that a child was started for."""
    measured = done.content if isinstance(done.content, Measured) else Measured((), ())
    return Record(
        schema=SCHEMA,
        cell=cell,
        status=done.status,
        stage=done.stage,
        message=done.message,
        rows=measured.rows,
        samples_ms=measured.samples_ms,
        window_losses=measured.window_losses,
        wall_s=clock.wall_s,
        load_before=clock.load_before,
        load_after=clock.load_after,
    )
