"""Predictions for contenders from shorter lengths: one that ended early, or would take too long, is not started."""

from __future__ import annotations

from lengthscale.bench.peers.case import CONTEXT_MEASURES, Case
from lengthscale.bench.peers.record import PeerRecord, Role
from lengthscale.bench.plan.forecast import History, Point
from lengthscale.bench.plan.status import Status


class PeerForecast:
    """Predicts from earlier cases, which go from short to long, whether a contender should be started."""

    def __init__(self, call_s: float):
        """call_s: the most seconds that one call of a peer may take."""
        self._call_s = call_s
        self._history = History()

    def learn(self, record: PeerRecord) -> None:
        """Store how each contender of a case ended, and how long its call took."""
        length = record.cell.length
        for row in record.rows:
            if row.status != Status.SKIPPED:
                point = Point(length, row.status, row.first_s, row.reason)
                self._history.learn(_series(record.cell, row.contender), point)

    def reason_to_skip(self, case: Case, contender: str, role: Role) -> str | None:
        """Why a contender should not be started for a case, or None."""
        if case.measure in CONTEXT_MEASURES:  # the time of a step depends on the machine more than on the context
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
