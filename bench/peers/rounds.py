"""The run of one case: ours, the peers and the limit are prepared, compared with ours, and sampled round-robin.

Each round takes one sample of each contender, so that a drift of the machine affects all contenders alike.
"""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from lengthscale.bench.peers import contenders
from lengthscale.bench.peers.case import Case
from lengthscale.bench.peers.crew import Crew
from lengthscale.bench.peers.messages import Prepare, Ready
from lengthscale.bench.peers.record import ContenderRow, PeerRecord, Role
from lengthscale.bench.peers.rows import Row, find
from lengthscale.bench.plan.status import Status
from lengthscale.bench.results.messages import Done
from lengthscale.bench.results.record import SCHEMA

SHORT_S = 2.0  # enough for a sample of short calls
SETTLE_S = 0.01  # between two contenders, since OpenMP's threads spin for a while after their work

# Of the relative difference of outputs and gradients from ours. A number of bfloat16 has 8 bits: equal inputs give
# outputs that are rounded to 0.4%, of sums that were rounded before.
TOLERANCES = {"float32": 1e-3, "bfloat16": 3e-2}
READY_COLUMNS = ("prepare_s", "first_s", "calls", "work", "temp_bytes", "peak_bytes")  # copied from Ready


@dataclass(frozen=True)
class Settings:
    """How a case is measured."""

    samples: int = 7
    slow: tuple[tuple[float, int], ...] = ((2.0, 5), (10.0, 3))  # (s, n): if a call takes over s, n samples are enough
    prepare_s: float = 300  # to import, compile, run once and compare; for ours and the limit also a sample's deadline
    long_s: float = 3600  # the same for a million tokens
    once_s: float = 60  # if a call of ours takes longer, the first one is the only sample
    call_s: float = 60  # the most that a peer's call may take
    memory_bytes: int = 12 << 30  # the limit of one contender
    device: str = "cpu"  # on which the contenders compute: "cpu" or "cuda"
    few: int = 2  # samples of a peer that took over `hopeless` times as long as the fastest peer
    hopeless: float = 3.0


def run_case(
    case: Case,
    settings: Settings,
    crew: Crew,
    reason_to_skip: Callable[[Case, str, Role], str | None] = lambda case, name, role: None,
    version: Callable[[str], str | None] = contenders.version,
) -> PeerRecord:
    """The record of a case, whatever the outcome of its contenders.

    reason_to_skip: why a contender should not be started, or None. version: of a contender's package; None where it is
    not installed.
    """
    started = time.monotonic()
    comparison = Comparison(case, settings, crew, version)
    with tempfile.TemporaryDirectory(prefix="lengthscale-") as folder:
        comparison.prepare(Path(folder) / "ours.npz", reason_to_skip)
    comparison.sample()
    ours, *_ = comparison.rows
    return PeerRecord(
        schema=SCHEMA,
        cell=case,
        status=ours.status,
        message=ours.reason,
        rows=comparison.rows,
        wall_s=round(time.monotonic() - started, 3),
    )


class Comparison:
    """The contenders of a case, ours first, with their outcomes so far."""

    def __init__(self, case: Case, settings: Settings, crew: Crew, version: Callable[[str], str | None]):
        self._case, self._settings, self._crew = case, settings, crew
        row = find(case)
        self._tolerance = TOLERANCES[row.dtype]
        self._rows = {
            name: ContenderRow(contender=name, role=role, version=version(name), status=Status.OK, meter=row.meter)
            for name, role in _roles(row)
        }

    @property
    def rows(self) -> tuple[ContenderRow, ...]:
        """The rows of the record: one for each contender."""
        return tuple(self._rows.values())

    def prepare(self, reference: Path, reason_to_skip: Callable[[Case, str, Role], str | None]) -> None:
        """Prepare each contender and compare its outputs with ours. reference: the file to which ours are written."""
        settings = self._settings
        seconds = settings.long_s if self._case.measure == "long" else settings.prepare_s
        for row in self.rows:
            ours = self._rows["ours"]
            if row.version is None:
                advice = f"pip install {contenders.CONTENDERS[row.contender].install}"
                self._fail(row.contender, Done(Status.NOT_INSTALLED, advice))
            elif ours.status != Status.OK:
                self._fail(row.contender, Done(Status.SKIPPED, "there is nothing of ours to compare with"))
            elif reason := reason_to_skip(self._case, row.contender, row.role):
                self._fail(row.contender, Done(Status.SKIPPED, reason))
            else:
                message = Prepare(self._case, reference, ours.work, settings.device)
                answer = self._crew.prepare(row.contender, message, seconds)
                if isinstance(answer, Done):
                    self._fail(row.contender, answer)
                else:
                    self._judge(row, answer)

    def sample(self) -> None:
        """Sample all contenders that are ready, one sample of each in a round."""
        settings = self._settings
        hopeless = self._hopeless()
        slowest = max(
            (_call_s(row) for row in self.rows if _is_ready(row) and row.contender not in hopeless), default=0
        )
        enough = min((n for seconds, n in settings.slow if slowest > seconds), default=settings.samples)
        for number in range(min(settings.samples, enough)):
            for row in self.rows:
                if not _is_ready(row) or (row.contender in hopeless and number >= settings.few):
                    continue
                if row.role == Role.OURS and _call_s(row) > settings.once_s:
                    continue
                seconds = 2 * settings.call_s + SHORT_S if row.role == Role.PEER else settings.prepare_s
                answer = self._crew.sample(row.contender, seconds)
                if isinstance(answer, Done):
                    self._fail(row.contender, answer)
                    continue
                device_s = () if answer.device_s is None else (answer.device_s,)
                self._update(
                    row.contender,
                    samples_s=(*row.samples_s, answer.seconds),
                    device_s=row.device_s + device_s,
                )
                time.sleep(SETTLE_S)

    def _judge(self, row: ContenderRow, ready: Ready) -> None:
        """Store what was measured of a prepared contender; fail it if it is too slow or not equal to ours."""
        settings = self._settings
        worst = max(ready.differences, key=lambda name: _size(ready.differences[name]), default=None)
        difference = None if worst is None else ready.differences[worst]
        self._update(
            row.contender,
            **{name: getattr(ready, name) for name in READY_COLUMNS},
            worst_difference=difference if difference is not None and math.isfinite(difference) else None,
        )
        if row.role == Role.OURS and ready.first_s > settings.once_s:
            self._update(row.contender, samples_s=(ready.first_s,))
        if row.role == Role.PEER and ready.first_s > settings.call_s:
            reason = f"a call took {ready.first_s:.0f} s, over {settings.call_s:g} s"
            self._fail(row.contender, Done(Status.TIMEOUT, reason))
        elif row.role == Role.PEER and difference is None:
            self._fail(row.contender, Done(Status.INCORRECT, "it has no outputs to compare"))
        elif difference is not None and not difference <= self._tolerance:
            self._fail(row.contender, Done(Status.INCORRECT, f"{worst} is {difference:.2g} off ours"))

    def _hopeless(self) -> set[str]:
        """The peers that are too slow to be the fastest, of which few samples are enough."""
        calls_s = {row.contender: _call_s(row) for row in self.rows if row.role == Role.PEER and _is_ready(row)}
        fastest = min(calls_s.values(), default=0)
        return {name for name, call_s in calls_s.items() if call_s > self._settings.hopeless * fastest}

    def _fail(self, name: str, failure: Done) -> None:
        self._update(name, status=failure.status, reason=failure.message, samples_s=(), device_s=())

    def _update(self, name: str, **changes: Any) -> None:
        self._rows[name] = replace(self._rows[name], **changes)


def _roles(row: Row) -> list[tuple[str, Role]]:
    limits = row.limit.contenders if row.limit else ()
    peers = [(name, Role.PEER) for name in row.peers]
    return [("ours", Role.OURS), *peers, *((name, Role.LIMIT) for name in limits)]


def _is_ready(row: ContenderRow) -> bool:
    return row.status == Status.OK


def _call_s(row: ContenderRow) -> float:
    return row.first_s or 0.0


def _size(difference: float) -> float:
    """The size of a difference for comparisons: NaN counts as the largest."""
    return math.inf if math.isnan(difference) else difference
