"""The record of a case, which is a line of the journal of `peers`. Only results/codec.py writes and reads it."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from lengthscale.bench.peers.case import Case
from lengthscale.bench.plan.status import Status
from lengthscale.bench.results.record import Conditions


class Role(StrEnum):
    """What a contender is in a case."""

    OURS = "ours"
    PEER = "peer"
    LIMIT = "limit"  # the best that the machine allows


class ContenderRow(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The outcome of one contender in a case. None means "not measured"; times are of one call."""

    contender: str
    role: Role
    version: str | None  # of its package; None where a package that it needs is missing
    status: Status
    reason: str = ""  # why it is not ok
    samples_s: tuple[float, ...] = ()  # in the order in which they were taken
    meter: str | None = None  # by which they were taken: a name of contenders/meter.py; None in older journals
    device_s: tuple[float, ...] = ()  # by the device's own clock, where the package has one
    prepare_s: float | None = None
    first_s: float | None = None  # of one call while it was prepared
    calls: int | None = None  # in one sample
    work: float | None = None  # bytes, FLOPs or tokens of one call, where a rate counts
    temp_bytes: int | None = None
    peak_bytes: int | None = None
    worst_difference: float | None = None  # the largest one from ours, of all outputs and gradients


class PeerRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The outcome of one case. rows: one for each contender, ours first."""

    schema: int = 1
    cell: Case
    status: Status  # of ours
    message: str = ""
    rows: tuple[ContenderRow, ...]
    wall_s: float | None = None
    environment: Conditions = Conditions()
