"""Samples into figures: ratios, goals, intervals, the two tables, and what short lengths foretell."""

import csv

import pytest

from lengthscale.bench.peers import figures, files
from lengthscale.bench.peers.case import Case
from lengthscale.bench.peers.past import Past
from lengthscale.bench.peers.rounds import Settings
from lengthscale.bench.peers.rows import Goal, find

LSTM = Case("lstm", "forward", 512, 1, 1)


def record_of(case, ours, peer=None, limit=None, work=None, temp_bytes=None):
    def one(name, role, samples, work):
        facts = {"prepare_s": 1.0, "first_s": 1.0, "calls": 1, "work": work, "temp_bytes": temp_bytes}
        return {
            "contender": name,
            "role": role,
            "version": "1",
            "status": "ok",
            "reason": "",
            "samples_s": samples,
            "worst_difference": 0.0,
            **facts,
        }

    row = find(case)
    rows = [one("ours", "ours", ours, work)]
    rows += [one(row.peers[0], "peer", peer, None)] if peer else []
    rows += [one(row.limit.contenders[0], "limit", limit[0], limit[1])] if row.limit and limit else []
    return {"cell": case.key(), "status": "ok", "rows": rows, "environment": {"git_sha": "abc"}}


def test_goals_are_computed():
    """share >= 0.65; ratio >= 1 from 4096 on; 16 KiB of temporaries a token from 2048 on."""
    short, long = (Case("attention", "forward", length, 1, 1) for length in (2048, 8192))
    work = 4e9  # at 1e10 a second: 0.4 s
    kwargs = {"limit": ([0.1] * 5, 1e9), "work": work}
    row = figures.row_of(record_of(short, [0.5] * 5, [0.4] * 5, temp_bytes=2048 * 16 * 1024, **kwargs))
    assert row["share"] == pytest.approx(0.8)
    assert row["ratio"] == pytest.approx(0.8)
    assert row["reached"] == "yes"  # the ratio does not count yet
    assert row["goal"] == "share >= 0.65; temp_kb_per_token <= 16 (T >= 2048)"
    over = figures.row_of(record_of(short, [0.5] * 5, [0.4] * 5, temp_bytes=2048 * 16 * 1024 + 4096, **kwargs))
    assert over["reached"] == "no"
    assert figures.row_of(record_of(long, [0.5] * 5, [0.4] * 5, temp_bytes=1, **kwargs))["reached"] == "no"
    assert figures.row_of(record_of(long, [0.5] * 5, [0.6] * 5, temp_bytes=1, **kwargs))["reached"] == "yes"
    assert figures.row_of(record_of(long, [0.5] * 5, None, temp_bytes=1, **kwargs))["reached"] is None  # no peer
    assert figures.row_of(record_of(long, [0.9] * 5, None, temp_bytes=1, **kwargs))["reached"] == "no"  # share: 0.44


def test_a_million_tokens():
    """At the rate of 64k tokens within 10%, in 2 GiB."""
    case = Case("rnn-small", "long", 1 << 20, 1, 2)
    rate = {"limit": ([10.0] * 5, 65_536.0), "work": float(1 << 20)}  # 160 s for a million
    record = record_of(case, [170.0], None, **rate)
    record.rows[0]["peak_bytes"] = 2**31
    row = figures.row_of(record)
    assert row["share"] == pytest.approx(160 / 170)
    assert row["peak_mb"] == pytest.approx(2147.48, rel=1e-4)
    assert row["reached"] == "yes"
    record.rows[0]["peak_bytes"] += 10**6
    assert figures.row_of(record)["reached"] == "no"
    assert figures.row_of(record_of(case, [180.0], None, **rate))["reached"] == "no"  # 0.89
    assert figures.row_of(record_of(case, [170.0], None, **rate))["reached"] is None  # the memory is not known


def test_a_decoding_steps_overhead():
    case = Case("lstm", "decode", 512, 1, 1)
    record = record_of(case, [100e-6] * 5, [120e-6] * 5, ([1e-3] * 5, 80e6), work=6e6)  # 75 us to read
    row = figures.row_of(record)
    assert row["overhead_us"] == pytest.approx(25)
    assert row["limit_us_per_token"] == pytest.approx(75)
    assert row["reached"] == "yes"


def test_the_interval_of_a_ratio_pairs_the_rounds():
    """A machine that drifts by half leaves the ratio alone, and widens the interval of the times."""
    drift = [1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6]
    row = figures.row_of(record_of(LSTM, drift, [2 * x for x in drift], ([0.5] * 7, None)))
    assert (row["ratio"], row["ratio_low"], row["ratio_high"]) == pytest.approx((2, 2, 2))
    assert row["ours_low_us_per_token"] < 0.9 * row["ours_high_us_per_token"]
    few = figures.row_of(record_of(LSTM, [1.0, 2.0], [1.0, 2.0]))
    assert (few["ratio"], few["ratio_low"], few["ours_low_us_per_token"]) == (1, None, None)


def test_goals_say_what_they_want():
    assert str(Goal("ratio", 5.0, from_length=2048)) == "ratio >= 5 (T >= 2048)"
    assert str(Goal("overhead_us", 30.0, at_most=True)) == "overhead_us <= 30"


def test_the_tables_are_whole(tmp_path):
    records = [record_of(LSTM, [1.0] * 5, [2.0] * 5), record_of(Case("gru", "train", 2048, 8, 2), [1.0] * 5)]
    files.write_tables(tmp_path, records)
    with open(tmp_path / files.TABLE) as file:
        rows = list(csv.DictReader(file))
    assert [row["row"] for row in rows] == ["lstm", "gru"]
    assert tuple(rows[0]) == figures.COLUMNS
    assert (rows[0]["ratio"], rows[1]["ratio"], rows[0]["git_sha"]) == ("2", "", "abc")
    with open(tmp_path / files.ALL) as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == figures.ALL_COLUMNS
    assert [row["contender"] for row in rows] == ["ours", "torch", "ours"]


def test_short_lengths_foretell_long_ones():
    past = Past(Settings(call_s=60))
    case = Case("lstm", "train", 2048, 1, 1)
    record = record_of(case, [1.0], [1.0])
    record.rows[1] |= {"first_s": 20.0}
    past.learn(record)
    longer = Case("lstm", "train", 8192, 1, 1)
    assert past.reason_to_skip(longer, "torch") == "a call would take 80 s, over 60 s"
    assert past.reason_to_skip(longer, "ours") is None
    assert past.reason_to_skip(Case("lstm", "train", 8192, 8, 1), "torch") is None
    record.rows[1] |= {"status": "oom", "reason": "held 13 GiB"}
    past.learn(record)
    assert past.reason_to_skip(Case("lstm", "train", 2048, 1, 1), "torch") is None
    assert past.reason_to_skip(longer, "torch") == "oom at length 2048: held 13 GiB"
