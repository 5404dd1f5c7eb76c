"""The tables of `peers`: a record gives one line of peers.csv, and a line of peers_all.csv for each contender.

Times are medians; low and high are bootstrap 95% intervals; that of a ratio draws whole rounds. None: not measured.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import cache
from typing import Any

import numpy as np

from lengthscale.bench.peers.case import Case
from lengthscale.bench.peers.record import ContenderRow, PeerRecord, Role
from lengthscale.bench.peers.rows import Goal, Row, find
from lengthscale.bench.plan.status import Status
from lengthscale.bench.results import intervals

IDENTITY = tuple(field.name for field in fields(Case))


@dataclass(frozen=True, kw_only=True)
class Line:
    """A line of peers.csv: ours in a case, compared with the fastest peer and with the machine's limit."""

    case: Case
    ours_us_per_token: float | None = None
    ours_low_us_per_token: float | None = None
    ours_high_us_per_token: float | None = None
    peer: str | None = None  # the fastest
    peer_us_per_token: float | None = None
    ratio: float | None = None  # peer / ours: over 1, ours is faster
    ratio_low: float | None = None
    ratio_high: float | None = None
    limit: str | None = None
    limit_us_per_token: float | None = None
    share: float | None = None  # limit / ours: 1 is the best that the machine allows
    overhead_us: float | None = None  # decode: ours - limit
    temp_mb: float | None = None  # temporaries that the compiler planned
    peak_mb: float | None = None  # long: the peak memory of the process, from its start on
    goal: str = ""
    reached: str | None = None  # yes, no; None: a number is missing
    status: Status = Status.OK
    reason: str = ""
    n_samples: int = 0
    git_sha: str | None = None


@dataclass(frozen=True, kw_only=True)
class ContenderLine:
    """A line of peers_all.csv: one contender in a case."""

    case: Case
    contender: str
    role: Role
    version: str | None
    us_per_token: float | None
    p10_us_per_token: float | None
    p90_us_per_token: float | None
    n_samples: int
    calls: int | None  # in one sample
    prepare_s: float | None
    worst_difference: float | None  # from ours, of outputs and gradients
    temp_mb: float | None
    meter: str | None  # contenders/meter.py; None: each call was waited for
    device_us_per_token: float | None  # the median by the device's own clock, where the package has one
    status: Status
    reason: str
    git_sha: str | None


COLUMNS = (*IDENTITY, *(field.name for field in fields(Line)[1:]))
ALL_COLUMNS = (*IDENTITY, *(field.name for field in fields(ContenderLine)[1:]))
GPU_COLUMNS = ("meter", "device_us_per_token")  # which a table without rows of a GPU does not have


def columns_of(line: Line | ContenderLine) -> dict[str, Any]:
    """The columns of a line, by their names."""
    return line.case.key() | {field.name: getattr(line, field.name) for field in fields(line)[1:]}


@cache  # tables are rewritten after every case, and the intervals of a record do not change
def line_of(record: PeerRecord) -> Line:
    """The line of peers.csv of a record."""
    case, row = record.cell, find(record.cell)
    ours = next(each for each in record.rows if each.role == Role.OURS)
    goals = [goal for goal in row.goals if case.length >= goal.from_length]
    line = Line(
        case=case,
        goal="; ".join(map(str, goals)),
        status=ours.status,
        reason="; ".join(f"{each.contender} {each.status}: {each.reason}" for each in record.rows if each.reason),
        n_samples=len(ours.samples_s),
        git_sha=record.environment.git_sha,
    )
    if ours.samples_s:
        line = _with_limit(_with_peer(_with_ours(line, ours), ours, record.rows), ours, row, record.rows)
    met = [goal.met(_number(goal, line, ours)) for goal in goals]
    return replace(line, reached="no" if False in met else "yes" if met and all(met) else None)


def lines_of_all(record: PeerRecord) -> list[ContenderLine]:
    """The lines of peers_all.csv of a record: one for each contender."""
    lines = []
    for row in record.rows:
        times: list[float | None] = [None, None, None]
        if row.samples_s:
            times = [float(time) for time in np.quantile(row.samples_s, [0.1, 0.5, 0.9]) * _us_per_token(record.cell)]
        lines.append(
            ContenderLine(
                case=record.cell,
                contender=row.contender,
                role=row.role,
                version=row.version,
                us_per_token=times[1],
                p10_us_per_token=times[0],
                p90_us_per_token=times[2],
                n_samples=len(row.samples_s),
                calls=row.calls,
                prepare_s=row.prepare_s,
                worst_difference=row.worst_difference,
                temp_mb=_scaled(row.temp_bytes, 1e-6),
                meter=None if row.meter == "each" else row.meter,
                device_us_per_token=_scaled(_median(row.device_s), _us_per_token(record.cell)),
                status=row.status,
                reason=row.reason,
                git_sha=record.environment.git_sha,
            )
        )
    return lines


def _with_ours(line: Line, ours: ContenderRow) -> Line:
    time = intervals.median(np.array(ours.samples_s)).times(_us_per_token(line.case))
    return replace(
        line,
        ours_us_per_token=time.value,
        ours_low_us_per_token=time.low,
        ours_high_us_per_token=time.high,
        temp_mb=_scaled(ours.temp_bytes, 1e-6),
        peak_mb=_scaled(ours.peak_bytes, 1e-6),
    )


def _with_peer(line: Line, ours: ContenderRow, rows: tuple[ContenderRow, ...]) -> Line:
    peers = [row for row in rows if row.role == Role.PEER and row.samples_s]
    if not peers:
        return line
    fastest = min(peers, key=_median_s)
    ratio = intervals.ratio(np.array(fastest.samples_s), np.array(ours.samples_s))
    return replace(
        line,
        peer=fastest.contender,
        peer_us_per_token=_median_s(fastest) * _us_per_token(line.case),
        ratio=ratio.value,
        ratio_low=ratio.low,
        ratio_high=ratio.high,
    )


def _with_limit(line: Line, ours: ContenderRow, row: Row, rows: tuple[ContenderRow, ...]) -> Line:
    limit_s = _limit_s(row, ours, [each for each in rows if each.role == Role.LIMIT and each.samples_s])
    if row.limit is None or limit_s is None:
        return line
    return replace(
        line,
        limit=row.limit.name,
        limit_us_per_token=limit_s * _us_per_token(line.case),
        share=limit_s / _median_s(ours),
        overhead_us=(_median_s(ours) - limit_s) * 1e6 if line.case.measure == "decode" else None,
    )


def _limit_s(row: Row, ours: ContenderRow, limits: list[ContenderRow]) -> float | None:
    """The seconds that the machine would need at its limit for one call of ours; None where it is unknown."""
    if row.limit is None or not limits:
        return None
    if not row.limit.rate:
        return min(map(_median_s, limits))
    rates = [limit.work / _median_s(limit) for limit in limits if limit.work is not None]
    return ours.work / max(rates) if ours.work is not None and rates else None


def _number(goal: Goal, line: Line, ours: ContenderRow) -> float | None:
    """The number that a goal bounds: a column, or temp_kb_per_token; None where it was not measured."""
    if goal.number == "temp_kb_per_token":
        return ours.temp_bytes / 1024 / line.case.tokens if line.temp_mb is not None and ours.temp_bytes else None
    return getattr(line, goal.number)


def _median_s(row: ContenderRow) -> float:
    return float(np.median(row.samples_s))


def _median(times_s: tuple[float, ...]) -> float | None:
    return float(np.median(times_s)) if times_s else None


def _us_per_token(case: Case) -> float:
    """The factor from seconds of a call to microseconds a token."""
    return 1e6 / case.tokens


def _scaled(value: float | None, unit: float) -> float | None:
    return None if value is None else value * unit
