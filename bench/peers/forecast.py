"""What shorter lengths predict of contenders: one that ended early, or would take too long, is not started."""

from __future__ import annotations

from lengthscale.bench.peers.case import CONTEXT_MEASURES, Case
from lengthscale.bench.peers.record import PeerRecord, Role
from lengthscale.bench.plan.forecast import History, Point
from lengthscale.bench.plan.status import Status


class PeerForecast:
    """Learns from the records of cases; within a row they go from short to long."""

    def __init__(self, call_s: float):
        """call_s: seconds that a peer's call may take."""
        self._call_s = call_s
        self._history = History()

    def learn(self, record: PeerRecord) -> None:
        """Keep how each contender of a case ended, and how long its call took."""
        length = record.cell.length
        for row in record.rows:
            if row.status != Status.SKIPPED:
                point = Point(length, row.status, row.first_s, row.reason)
                self._history.learn(_series(record.cell, row.contender), point)

    def reason_to_skip(self, case: Case, contender: str, role: Role) -> str | None:
        """Why a contender should not be started for a case, or None."""
        if case.measure in CONTEXT_MEASURES:  # a step's time follows from the machine more than from the context
            return None
        series = _series(case, contender)
        if reason := self._history.reason_to_skip(series, case.length):
            return reason
        predicted_s = self._history.step_s(series, case.length, 1.0) if role == Role.PEER else None
        if predicted_s is not None and predicted_s > self._call_s:
            return f"a call would take {predicted_s:.0f} s, over {self._call_s:g} s"
        return None


def _series(case: Case, contender: str) -> tuple:
    return case.row, case.measure, case.batch, case.cores, contender
