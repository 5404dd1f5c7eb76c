"""What shorter lengths foretell: a contender that failed or would take too long is not started."""

from __future__ import annotations

from lengthscale.bench.peers.case import Case
from lengthscale.bench.peers.record import PeerRecord
from lengthscale.bench.peers.rounds import Settings
from lengthscale.bench.peers.rows import find

ENDED = ("timeout", "oom", "killed")


class Past:
    """Learns from records, in their order; within a row they go from short to long."""

    def __init__(self, settings: Settings):
        self._settings = settings
        self._last: dict[tuple, tuple[int, str, str, float | None]] = {}

    def learn(self, record: PeerRecord) -> None:
        case = record.cell
        for turn in record.rows:
            if turn["status"] != "skipped":
                key = self._key(case, turn["contender"])
                self._last[key] = (case.length, turn["status"], turn["reason"], turn["first_s"])

    def reason_to_skip(self, case: Case, contender: str) -> str | None:
        length, status, reason, call_s = self._last.get(self._key(case, contender), (0, "", "", None))
        if not 0 < length < case.length or case.measure in ("decode", "flat"):
            return None
        if status in ENDED:
            return f"{status} at length {length}: {reason}"
        if contender not in find(case).peers:
            return None
        foretold = (call_s or 0) * case.length / length  # at least: nothing here grows more slowly than linearly
        if foretold > self._settings.call_s:
            return f"a call would take {foretold:.0f} s, over {self._settings.call_s:g} s"
        return None

    def _key(self, case: Case, contender: str) -> tuple:
        return case.row, case.measure, case.batch, case.cores, contender
