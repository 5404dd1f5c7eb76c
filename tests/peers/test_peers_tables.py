"""Samples into numbers: ratios, goals, intervals, the two tables, and what short lengths predict."""

import csv

import pytest
from msgspec.structs import replace

from lengthscale.bench.peers import files, tables
from lengthscale.bench.peers.case import Case
from lengthscale.bench.peers.forecast import PeerForecast
from lengthscale.bench.peers.record import Role
from lengthscale.bench.peers.rows import Goal
from lengthscale.bench.plan.status import Status
from tests.helpers.peer_records import record_of

LSTM = Case("lstm", "forward", 512, 1, 1)


def test_goals_are_computed():
    """share >= 0.65; ratio >= 1 from 4096 on; 16 KiB of temporaries a token from 2048 on."""
    short, long = (Case("attention", "forward", length, 1, 1) for length in (2048, 8192))
    work = 4e9  # at 1e10 a second: 0.4 s
    kwargs = {"limit": ([0.1] * 5, 1e9), "work": work}
    row = tables.line_of(record_of(short, [0.5] * 5, [0.4] * 5, temp_bytes=2048 * 16 * 1024, **kwargs))
    assert row.share == pytest.approx(0.8)
    assert row.ratio == pytest.approx(0.8)
    assert row.reached == "yes"  # the ratio does not count yet
    assert row.goal == "share >= 0.65; temp_kb_per_token <= 16 (T >= 2048)"
    over = tables.line_of(record_of(short, [0.5] * 5, [0.4] * 5, temp_bytes=2048 * 16 * 1024 + 4096, **kwargs))
    assert over.reached == "no"
    assert tables.line_of(record_of(long, [0.5] * 5, [0.4] * 5, temp_bytes=1, **kwargs)).reached == "no"
    assert tables.line_of(record_of(long, [0.5] * 5, [0.6] * 5, temp_bytes=1, **kwargs)).reached == "yes"
    assert tables.line_of(record_of(long, [0.5] * 5, None, temp_bytes=1, **kwargs)).reached is None  # no peer
    assert tables.line_of(record_of(long, [0.9] * 5, None, temp_bytes=1, **kwargs)).reached == "no"  # share: 0.44


def test_a_million_tokens():
    """At the rate of 64k tokens within 10%, in 2 GiB."""
    case = Case("rnn-small", "long", 1 << 20, 1, 2)
    rate = {"limit": ([10.0] * 5, 65_536.0), "work": float(1 << 20)}  # 160 s for a million
    line = tables.line_of(record_of(case, [170.0], None, **rate, peak_bytes=2**31))
    assert line.share == pytest.approx(160 / 170)
    assert line.peak_mb == pytest.approx(2147.48, rel=1e-4)
    assert line.reached == "yes"
    assert tables.line_of(record_of(case, [170.0], None, **rate, peak_bytes=2**31 + 10**6)).reached == "no"
    assert tables.line_of(record_of(case, [180.0], None, **rate)).reached == "no"  # 0.89
    assert tables.line_of(record_of(case, [170.0], None, **rate)).reached is None  # the memory is not known


def test_a_decoding_steps_overhead():
    case = Case("lstm", "decode", 512, 1, 1)
    record = record_of(case, [100e-6] * 5, [120e-6] * 5, ([1e-3] * 5, 80e6), work=6e6)  # 75 us to read
    row = tables.line_of(record)
    assert row.overhead_us == pytest.approx(25)
    assert row.limit_us_per_token == pytest.approx(75)
    assert row.reached == "yes"


def test_the_interval_of_a_ratio_pairs_the_rounds():
    """A machine that drifts by half leaves the ratio alone, and widens the interval of the times."""
    drift = [1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6]
    row = tables.line_of(record_of(LSTM, drift, [2 * x for x in drift], ([0.5] * 7, None)))
    assert (row.ratio, row.ratio_low, row.ratio_high) == pytest.approx((2, 2, 2))
    assert row.ours_low_us_per_token is not None
    assert row.ours_high_us_per_token is not None
    assert row.ours_low_us_per_token < 0.9 * row.ours_high_us_per_token
    few = tables.line_of(record_of(LSTM, [1.0, 2.0], [1.0, 2.0]))
    assert (few.ratio, few.ratio_low, few.ours_low_us_per_token) == (1, None, None)


def test_goals_say_what_they_want():
    assert str(Goal("ratio", 5.0, from_length=2048)) == "ratio >= 5 (T >= 2048)"
    assert str(Goal("overhead_us", 30.0, at_most=True)) == "overhead_us <= 30"


def test_the_tables_are_whole(tmp_path):
    records = [record_of(LSTM, [1.0] * 5, [2.0] * 5), record_of(Case("gru", "train", 2048, 8, 2), [1.0] * 5)]
    files.write_tables(tmp_path, records)
    with open(tmp_path / files.TABLE) as file:
        rows = list(csv.DictReader(file))
    assert [row["row"] for row in rows] == ["lstm", "gru"]
    assert tuple(rows[0]) == tables.COLUMNS
    assert (rows[0]["ratio"], rows[1]["ratio"], rows[0]["git_sha"]) == ("2", "", "abc")
    with open(tmp_path / files.ALL) as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == tuple(name for name in tables.ALL_COLUMNS if name not in tables.GPU_COLUMNS)
    assert [row["contender"] for row in rows] == ["ours", "torch", "ours"]


def peers_record(case, **changes):
    """A record whose peer is like that."""
    record = record_of(case, [1.0], [1.0])
    ours, peer = record.rows
    return replace(record, rows=(ours, replace(peer, **changes)))


def test_short_lengths_predict_long_ones():
    forecast = PeerForecast(call_s=60)
    case = Case("lstm", "train", 2048, 1, 1)
    forecast.learn(peers_record(case, first_s=20.0))
    longer = Case("lstm", "train", 8192, 1, 1)
    assert forecast.reason_to_skip(longer, "torch", Role.PEER) == "a call would take 80 s, over 60 s"
    assert forecast.reason_to_skip(longer, "ours", Role.OURS) is None
    assert forecast.reason_to_skip(Case("lstm", "train", 8192, 8, 1), "torch", Role.PEER) is None
    forecast.learn(peers_record(case, status=Status.OOM, reason="held 13 GiB"))
    assert forecast.reason_to_skip(Case("lstm", "train", 2048, 1, 1), "torch", Role.PEER) is None
    reason = "L=2048 of this series ended with oom: held 13 GiB"
    assert forecast.reason_to_skip(longer, "torch", Role.PEER) == reason


def test_two_lengths_predict_by_their_slope():
    """As cells do: 1 s and 4 s are quadratic, so that 8192 tokens take 64 s and not 16."""
    forecast = PeerForecast(call_s=60)
    for length, seconds in ((1024, 1.0), (2048, 4.0)):
        forecast.learn(peers_record(Case("lstm", "train", length, 1, 1), first_s=seconds))
    longer = Case("lstm", "train", 8192, 1, 1)
    assert forecast.reason_to_skip(longer, "torch", Role.PEER) == "a call would take 64 s, over 60 s"


def test_a_contender_that_was_skipped_because_of_ours_is_tried_at_longer_lengths():
    forecast = PeerForecast(call_s=60)
    case = Case("lstm", "train", 2048, 1, 1)
    reason = "there is nothing of ours to compare with"
    forecast.learn(peers_record(case, status=Status.SKIPPED, reason=reason, first_s=None))
    assert forecast.reason_to_skip(Case("lstm", "train", 8192, 1, 1), "torch", Role.PEER) is None


def test_how_a_step_ended_at_one_context_says_nothing_of_another():
    forecast = PeerForecast(call_s=60)
    short, long = (Case("attention", "decode", context, 1, 1) for context in (512, 8192))
    forecast.learn(peers_record(short, status=Status.TIMEOUT, reason="no answer in 300 s"))
    assert forecast.reason_to_skip(long, "torch", Role.PEER) is None
