"""A case from beginning to end: ours, the peers and the limit are prepared, compared, sampled in turns.

Each round takes one sample of each, so that a machine that drifts does so for all alike.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lengthscale.bench.peers import contenders
from lengthscale.bench.peers.case import Case
from lengthscale.bench.peers.record import PeerRecord
from lengthscale.bench.peers.rows import Row, find
from lengthscale.bench.peers.talk import Failure, Talk
from lengthscale.bench.results.record import SCHEMA

SHORT_S = 2.0  # is enough for a sample of short calls
SETTLE_S = 0.01  # between two contenders: OpenMP's threads go on spinning for a while


@dataclass(frozen=True)
class Settings:
    samples: int = 7
    slow: tuple[tuple[float, int], ...] = ((2.0, 5), (10.0, 3))  # (s, n): where a call takes over s, n are enough
    prepare_s: float = 300  # to import, compile, run once and compare; for ours and the limit also a sample's deadline
    long_s: float = 3600  # the same for a million tokens
    once_s: float = 60  # where a call of ours takes longer, the first one is the sample
    call_s: float = 60  # of a peer's call; one that takes longer is no choice
    memory_bytes: int = 12 << 30  # of one contender
    tolerance: float = 1e-3  # of outputs and gradients against ours
    few: int = 2  # samples of a peer that took over `hopeless` times as long as the fastest
    hopeless: float = 3.0


@dataclass
class Turn:
    """A contender in a case, as far as it got."""

    name: str
    role: str  # ours, peer or limit
    version: str | None
    status: str = "ok"
    reason: str = ""
    facts: dict | None = None  # what the child said when it was ready
    samples_s: tuple[float, ...] = ()

    def fail(self, failure: Failure) -> None:
        self.status, self.reason = failure.status, failure.reason

    def row(self) -> dict:
        facts = self.facts or {}
        return {
            "contender": self.name,
            "role": self.role,
            "version": self.version,
            "status": self.status,
            "reason": self.reason,
            "samples_s": list(self.samples_s),
            **{name: facts.get(name) for name in ("prepare_s", "first_s", "calls", "work", "temp_bytes", "peak_bytes")},
            "worst_difference": max((facts.get("differences") or {}).values(), default=None),
        }


class Crew:
    """The children of one row and number of cores: they stay for all of its cases, idle when it is not their turn."""

    def __init__(self, settings: Settings, start: Callable[[str, int, int], Talk] = Talk):
        self._settings, self._start = settings, start
        self._of: tuple | None = None
        self._talks: dict[str, Talk] = {}

    def ask(self, case: Case, name: str, message: dict, seconds: float) -> dict | Failure:
        if self._of != (case.row, case.cores):
            self.end()
            self._of = (case.row, case.cores)
        if name not in self._talks or not self._talks[name].alive:
            self._talks[name] = self._start(name, case.cores, self._settings.memory_bytes)
        answer = self._talks[name].ask(message, seconds)
        if isinstance(answer, Failure) and answer.status in ("timeout", "oom", "killed"):
            self._talks.pop(name).end()
        return answer

    def end(self) -> None:
        for talk in self._talks.values():
            talk.end()
        self._talks.clear()


def run_case(
    case: Case,
    settings: Settings,
    crew: Crew,
    reason_to_skip: Callable[[Case, str], str | None] = lambda case, name: None,
    version: Callable[[str], str | None] = contenders.version,
) -> PeerRecord:
    """The case's record."""
    started = time.monotonic()
    row = find(case)
    turns = [Turn(name, role, version(name)) for name, role in _names(row)]
    with tempfile.TemporaryDirectory(prefix="lengthscale-") as folder:
        for turn in turns:
            _prepare(turn, turns[0], case, settings, crew, reason_to_skip, Path(folder) / "ours.npz")
    _sample(turns, case, settings, crew)
    ours = turns[0]
    return PeerRecord(
        schema=SCHEMA,
        cell=case,
        status=ours.status,
        message=ours.reason,
        rows=[turn.row() for turn in turns],
        wall_s=round(time.monotonic() - started, 3),
    )


def _names(row: Row) -> list[tuple[str, str]]:
    limits = row.limit.contenders if row.limit else ()
    return [("ours", "ours"), *((name, "peer") for name in row.peers), *((name, "limit") for name in limits)]


def _prepare(turn: Turn, ours: Turn, case: Case, settings: Settings, crew: Crew, reason_to_skip, path: Path) -> None:
    if turn.version is None:
        turn.fail(Failure("not installed", "pip install -e .[peers]"))
    elif ours.status != "ok":
        turn.fail(Failure("skipped", "there is nothing of ours to compare with"))
    elif reason := reason_to_skip(case, turn.name):
        turn.fail(Failure("skipped", reason))
    if turn.status != "ok":
        return
    message = {"prepare": case.key(), "reference": str(path), "work": (ours.facts or {}).get("work")}
    answer = crew.ask(case, turn.name, message, settings.long_s if case.measure == "long" else settings.prepare_s)
    if isinstance(answer, Failure):
        turn.fail(answer)
        return
    turn.facts = facts = answer["ready"]
    if turn.role == "ours" and facts["first_s"] > settings.once_s:
        turn.samples_s = (facts["first_s"],)
    wrong = {name: off for name, off in facts["differences"].items() if not off <= settings.tolerance}
    if turn.role == "peer" and facts["first_s"] > settings.call_s:
        turn.fail(Failure("timeout", f"a call took {facts['first_s']:.0f} s, over {settings.call_s:g} s"))
    elif turn.role == "peer" and not facts["differences"]:
        turn.fail(Failure("incorrect", "it gave nothing to compare"))
    elif wrong:
        worst = max(wrong, key=lambda name: wrong[name] if wrong[name] == wrong[name] else float("inf"))
        turn.fail(Failure("incorrect", f"{worst} is {wrong[worst]:.2g} off ours"))


def _sample(turns: list[Turn], case: Case, settings: Settings, crew: Crew) -> None:
    calls_s = {turn.name: turn.facts["first_s"] for turn in turns if turn.status == "ok" and turn.facts}
    fastest = min((calls_s[turn.name] for turn in turns if turn.role == "peer" and turn.name in calls_s), default=0)
    hopeless = {turn.name for turn in turns if turn.role == "peer"}
    hopeless &= {name for name, call_s in calls_s.items() if call_s > settings.hopeless * fastest}
    slowest = max((call_s for name, call_s in calls_s.items() if name not in hopeless), default=0)
    enough = min((n for seconds, n in settings.slow if slowest > seconds), default=settings.samples)
    for number in range(min(settings.samples, enough)):
        for turn in turns:
            if turn.status != "ok" or (turn.name in hopeless and number >= settings.few):
                continue
            if turn.role == "ours" and calls_s[turn.name] > settings.once_s:
                continue
            seconds = 2 * settings.call_s + SHORT_S if turn.role == "peer" else settings.prepare_s
            answer = crew.ask(case, turn.name, {"sample": True}, seconds)
            if isinstance(answer, Failure):
                turn.fail(answer)
                turn.samples_s = ()
                continue
            turn.samples_s += (answer["seconds"],)
            time.sleep(SETTLE_S)
