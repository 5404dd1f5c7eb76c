"""The messages that a child sends to its parent: with records, the only types that host/ and device/ share.

A child sends Stage messages while it works, and one Done at its end.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from lengthscale.bench.plan.cell import Cell
from lengthscale.bench.plan.status import Status
from lengthscale.bench.results.record import SCHEMA, Record, Row


@dataclass(frozen=True)
class Stage:
    """A stage of the work begins, such as "compile"."""

    name: str


@dataclass(frozen=True)
class Samples:
    """Raw samples, and what disturbed each; the names are those of Record."""

    samples_ms: tuple[float, ...] = ()
    waited_ms: tuple[float, ...] = ()
    stolen_ms: tuple[float, ...] = ()
    switches: tuple[int, ...] = ()
    throttled: tuple[str, ...] = ()
    other_cores: float | None = None
    joules: float | None = None  # of a call, on average
    columns: dict[str, Any] = field(default_factory=dict)  # of the device, such as its clock


@dataclass(frozen=True)
class Measured:
    """The outcome of a measurement."""

    rows: tuple[Row, ...] = ()
    samples: Samples = Samples()
    place_losses: tuple[tuple[float | None, ...], ...] | None = None


@dataclass(frozen=True)
class Planned:
    """A program that was compiled, and run only if it is small: it gives predictions, and no results."""

    columns: dict[str, Any]  # of compiling
    calls: int | None  # in one cell; None where sampling decides
    step_s: float | None  # seconds of one call, measured or predicted; None where neither was possible
    # Of a program for another device: the kernels of libraries and of Pallas, and of all kernels number and bytes.
    calls_of: tuple[str, ...] = ()
    n_kernels: float | None = None
    moved_bytes: float | None = None


@dataclass(frozen=True)
class Checked:
    """A method compared with the reference."""

    reference: str | None  # the method to compare with; None where there is none
    worst: float | None  # the largest relative difference


RAW = ("samples_ms", "waited_ms", "stolen_ms", "switches", "throttled", "other_cores")  # from Samples to Record
Content = Measured | Planned | Checked | dict[str, Any] | None  # a dict: facts of the device, or its peak rates


@dataclass(frozen=True)
class Done:
    """The end of a task. content: what the task gives, or the part of it that there is."""

    status: Status
    message: str = ""
    stage: str = ""  # where it ended, if it is not ok
    content: Content = None

    def at(self, stage: str) -> Done:
        """The same message, with the stage at which it ended unless it is ok."""
        return self if self.status == Status.OK else replace(self, stage=stage)


@dataclass(frozen=True)
class Clock:
    """What the parent measured of a child: its time, that of its stages, and the machine's load before and after."""

    wall_s: float
    stages_s: dict[str, float]
    load_before: float | None
    load_after: float | None


def record_of(cell: Cell, replicate: int, done: Done, clock: Clock) -> Record:
    """The record of a replicate for which a child was started."""
    measured = done.content if isinstance(done.content, Measured) else Measured()
    return Record(
        schema=SCHEMA,
        cell=cell,
        replicate=replicate,
        status=done.status,
        stage=done.stage,
        message=done.message,
        rows=measured.rows,
        **{name: getattr(measured.samples, name) for name in RAW},
        place_losses=measured.place_losses,
        wall_s=clock.wall_s,
        stages_s=clock.stages_s,
        load_before=clock.load_before,
        load_after=clock.load_after,
    )
