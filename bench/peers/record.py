"""The datum of `peers`: what a case left, a line of its journal. It is written and read by results/codec.py alone."""

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
    LIMIT = "limit"  # what the machine allows


class ContenderRow(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The outcome of one contender in a case. None means "not measured"; times are of one call."""

    contender: str
    role: Role
    version: str | None  # of the package that it is made of; None where one is missing
    status: Status
    reason: str = ""  # why it is not ok
    samples_s: tuple[float, ...] = ()  # in the order in which they were taken
    prepare_s: float | None = None
    first_s: float | None = None  # of a call, as preparing found it
    calls: int | None = None  # in a sample
    work: float | None = None  # bytes, FLOPs or tokens of a call, where a rate counts
    temp_bytes: int | None = None
    peak_bytes: int | None = None
    worst_difference: float | None = None  # from ours, of all outputs and gradients


class PeerRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The outcome of one case. rows: one for each contender, ours first."""

    schema: int = 1
    cell: Case
    status: Status  # of ours
    message: str = ""
    rows: tuple[ContenderRow, ...]
    wall_s: float | None = None
    environment: Conditions = Conditions()
