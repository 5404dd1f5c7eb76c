"""Samples into figures: a case's record becomes its row of peers.csv, and a row for each contender."""

from __future__ import annotations

import numpy as np

from lengthscale.bench.peers.case import Case
from lengthscale.bench.peers.record import PeerRecord
from lengthscale.bench.peers.rows import Row, find
from lengthscale.bench.results import intervals

IDENTITY = ("row", "measure", "length", "batch", "cores")
# Times are medians; low and high are bootstrap 95% intervals, of a ratio by drawing whole rounds.
COLUMNS = (
    *IDENTITY,
    "ours_us_per_token",
    "ours_low_us_per_token",
    "ours_high_us_per_token",
    "peer",  # the fastest
    "peer_us_per_token",
    "ratio",  # peer / ours: over 1, ours is ahead
    "ratio_low",
    "ratio_high",
    "limit",
    "limit_us_per_token",
    "share",  # limit / ours: 1 is all that the machine allows
    "overhead_us",  # decode: ours - limit
    "temp_mb",  # temporaries that the compiler planned
    "peak_mb",  # long: the most that the process held, from its start on
    "goal",
    "reached",  # yes, no; blank: a figure is missing
    "status",
    "reason",
    "n_samples",
    "git_sha",
)
ALL_COLUMNS = (
    *IDENTITY,
    "contender",
    "role",
    "version",
    "us_per_token",
    "p10_us_per_token",
    "p90_us_per_token",
    "n_samples",
    "calls",  # in a sample
    "prepare_s",
    "worst_difference",  # from ours, of outputs and gradients
    "temp_mb",
    "status",
    "reason",
    "git_sha",
)


def row_of(record: PeerRecord) -> dict:
    """A record's row of peers.csv; what was not measured is None."""
    case = record.cell
    row = find(case)
    turns = {(turn["role"], turn["contender"]): turn for turn in record.rows}
    ours = turns["ours", "ours"]
    figures = dict.fromkeys(COLUMNS) | case.key()
    figures |= {"status": ours["status"], "n_samples": len(ours["samples_s"])}
    figures |= {"git_sha": record.environment.get("git_sha"), "reason": _reasons(record.rows)}
    unit = 1e6 / case.tokens
    if ours["samples_s"]:
        figures |= _times(case, row, ours, turns, unit)
    goals = [goal for goal in row.goals if case.length >= goal.from_length]
    met = [goal.met(figures) for goal in goals]
    figures["goal"] = "; ".join(map(str, goals))
    if goals and all(met):
        figures["reached"] = "yes"
    elif False in met:
        figures["reached"] = "no"
    return {name: figures[name] for name in COLUMNS}


def _times(case: Case, row: Row, ours: dict, turns: dict, unit: float) -> dict:
    mine = np.array(ours["samples_s"])
    figures: dict = {"ours_us_per_token": float(np.median(mine)) * unit}
    low, high = intervals.of_median(mine)
    figures |= {"ours_low_us_per_token": _times_unit(low, unit), "ours_high_us_per_token": _times_unit(high, unit)}
    peers = {name: np.array(turn["samples_s"]) for (role, name), turn in turns.items() if role == "peer"}
    peers = {name: samples for name, samples in peers.items() if len(samples)}
    if peers:
        name = min(peers, key=lambda name: float(np.median(peers[name])))
        low, high = intervals.of_ratio(peers[name], mine)
        figures |= {
            "peer": name,
            "peer_us_per_token": float(np.median(peers[name])) * unit,
            "ratio": float(np.median(peers[name]) / np.median(mine)),
            "ratio_low": low,
            "ratio_high": high,
        }
    limit_s = _limit_s(row, ours, turns)
    if row.limit and limit_s is not None:
        figures |= {
            "limit": row.limit.name,
            "limit_us_per_token": limit_s * unit,
            "share": limit_s / float(np.median(mine)),
        }
        if case.measure == "decode":
            figures["overhead_us"] = (float(np.median(mine)) - limit_s) * 1e6
    if ours["temp_bytes"] is not None:
        figures["temp_mb"] = ours["temp_bytes"] / 1e6
        figures["temp_kb_per_token"] = ours["temp_bytes"] / 1024 / case.tokens  # a goal's, no column
    figures["peak_mb"] = _times_unit(ours.get("peak_bytes"), 1e-6)
    return figures


def _limit_s(row: Row, ours: dict, turns: dict) -> float | None:
    """Seconds that the machine would need for a call of ours."""
    if row.limit is None:
        return None
    measured = [turn for (role, _), turn in turns.items() if role == "limit" and turn["samples_s"]]
    if not measured or (row.limit.rate and ours["work"] is None):
        return None
    if not row.limit.rate:
        return min(float(np.median(turn["samples_s"])) for turn in measured)
    return ours["work"] / max(turn["work"] / float(np.median(turn["samples_s"])) for turn in measured)


def rows_of_all(record: PeerRecord) -> list[dict]:
    """A record's rows of peers_all.csv."""
    case = record.cell
    unit = 1e6 / case.tokens
    rows = []
    for turn in record.rows:
        figures = {**dict.fromkeys(ALL_COLUMNS), **case.key(), **turn}
        figures["git_sha"] = record.environment.get("git_sha")
        figures["n_samples"] = len(turn["samples_s"])
        figures["temp_mb"] = _times_unit(turn["temp_bytes"], 1e-6)
        if turn["samples_s"]:
            p10, median, p90 = np.quantile(turn["samples_s"], [0.1, 0.5, 0.9]) * unit
            times = {"us_per_token": median, "p10_us_per_token": p10, "p90_us_per_token": p90}
            figures |= {name: float(value) for name, value in times.items()}
        rows.append({name: figures[name] for name in ALL_COLUMNS})
    return rows


def _times_unit(value: float | None, unit: float) -> float | None:
    return None if value is None else value * unit


def _reasons(turns: list[dict]) -> str:
    """Why ours or a peer or a limit is not there."""
    return "; ".join(f"{turn['contender']} {turn['status']}: {turn['reason']}" for turn in turns if turn["reason"])
