"""The harness that compares ours with its peers: contenders that sleep, fail, hang, babble or die."""

import os
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from lengthscale.bench.host.machine import TUNABLES
from lengthscale.bench.host.process import inherited
from lengthscale.bench.peers import files, tables
from lengthscale.bench.peers.case import Case
from lengthscale.bench.peers.crew import Crew, environment, start_contender
from lengthscale.bench.peers.messages import Prepare, Ready, Sampled
from lengthscale.bench.peers.rounds import Settings, run_case
from lengthscale.bench.peers.rows import find
from lengthscale.bench.results.codec import line_of
from lengthscale.bench.results.csv_table import read_table
from tests.helpers.fake_contender import starting

LSTM = Case("lstm", "forward", 512, 1, 1)
QUICK = Settings(samples=4, prepare_s=3, call_s=0.5, memory_bytes=250 << 20)


@pytest.fixture
def play(tmp_path):
    """Run a case whose contenders behave as told (default: fast); the record, the log's lines."""

    def run(case=LSTM, settings=QUICK, missing=(), skip=lambda case, name, role: None, **behaviours):
        crew = Crew(settings.memory_bytes, starting(tmp_path / "log", **behaviours))
        try:
            record = run_case(case, settings, crew, skip, lambda name: None if name in missing else "1.0")
        finally:
            crew.end()
        return record, (tmp_path / "log").read_text().splitlines()

    return run


def row_of(record, name):
    return next(row for row in record.rows if row.contender == name)


def test_each_round_takes_one_sample_of_each(play):
    record, log = play()
    names = ["ours", "torch", "flax", "flax-lstmcell", "products"]
    said = [tuple(line.split()[:2]) for line in log]
    assert said == [*(("prepare", name) for name in names), *[("sample", name) for name in names] * 4]
    assert len({line.split()[2] for line in log}) == len(names)  # a process each
    assert [row.role for row in record.rows] == ["ours", "peer", "peer", "peer", "limit"]
    assert all(row.status == "ok" and len(row.samples_s) == 4 for row in record.rows)


def test_known_times_give_the_known_ratio(play):
    record, _ = play(ours="slow", torch="slow", flax="fast", flax_lstmcell="hopeless")
    row = tables.line_of(record)
    assert row.peer == "flax"  # the fastest
    assert row.ratio is not None
    assert row.ratio == pytest.approx(1 / 3)
    assert row.ratio_low is not None
    assert row.ratio_high is not None
    assert row.ratio_low <= row.ratio <= row.ratio_high
    assert row.ours_us_per_token == pytest.approx(0.03 / 512 * 1e6)
    assert row.peer_us_per_token == pytest.approx(0.01 / 512 * 1e6)
    assert row.share == pytest.approx(1 / 3)
    assert (row.goal, row.reached, row.status, row.n_samples) == ("ratio >= 1", "no", "ok", 4)
    # One that takes over four times as long as the fastest is sampled twice: it will not be the fastest.
    assert len(row_of(record, "flax-lstmcell").samples_s) == 2
    lines = {line.contender: line for line in tables.lines_of_all(record)}
    assert lines["torch"].us_per_token == pytest.approx(0.03 / 512 * 1e6)
    assert lines["flax-lstmcell"].n_samples == 2


def test_a_call_of_minutes_is_not_made_again(play):
    """A million tokens: the preparing call is the sample; the limit is sampled as ever."""
    case = Case("rnn-small", "long", 1 << 20, 1, 2)
    record, log = play(case, replace(QUICK, once_s=0.02), ours="slow")
    assert [line.split()[:2] for line in log] == [
        ["prepare", "ours"],
        ["prepare", "ours-64k"],
        *[["sample", "ours-64k"]] * 4,
    ]
    assert row_of(record, "ours").samples_s == (0.03,)
    row = tables.line_of(record)
    assert row.ours_us_per_token == pytest.approx(0.03 / (1 << 20) * 1e6)
    assert row.n_samples == 1


@pytest.mark.parametrize(
    ("behaviour", "status", "reason"),
    [
        ("fails", "unsupported", "not this one"),
        ("wrong", "incorrect", "d w_h is 0.25 off ours"),
        ("nan", "incorrect", "y is nan off ours"),
        ("silent", "incorrect", "it has no outputs to compare"),
        ("hangs", "timeout", "no answer in 3 s"),
        ("babbles", "error", "not an answer: 'Hello! I am a library.'"),
        ("dies", "error", "exit code 7 without a record: the last words"),
        ("is killed in its second sample", "killed", "ended by SIGKILL (often: out of memory)"),
        ("grows", "oom", "GiB, over 0 GiB"),
    ],
)
def test_a_peer_that_fails_is_a_row_with_its_reason_and_no_time(play, behaviour, status, reason):
    record, log = play(torch=behaviour)
    failed = row_of(record, "torch")
    assert (failed.status, failed.samples_s) == (status, ())
    assert reason in failed.reason
    row = tables.line_of(record)
    assert row.status == "ok"
    assert row.peer in ("flax", "flax-lstmcell")
    assert row.ratio is not None
    assert f"torch {status}: " in row.reason
    assert len(row_of(record, "ours").samples_s) == 4
    assert not any(psutil.pid_exists(int(line.split()[2])) for line in log)  # nobody is left


def test_a_sample_that_hangs_ends_by_its_deadline(play):
    started = time.monotonic()
    record, _ = play(settings=Settings(samples=3, prepare_s=3, call_s=0.05), flax="hangs in its second sample")
    assert time.monotonic() - started < 120  # by itself it would take 600
    assert row_of(record, "flax").status == "timeout"
    assert row_of(record, "torch").status == "ok"


def test_without_ours_nothing_is_compared(play):
    record, log = play(ours="dies")
    assert [row.status for row in record.rows] == ["error", *["skipped"] * 4]
    row = tables.line_of(record)
    assert (row.status, row.ours_us_per_token, row.reached) == ("error", None, None)
    assert "the last words" in row.reason
    assert len(log) == 1


def test_what_is_not_installed_or_not_worth_it_says_so(play):
    record, log = play(missing=("torch",), skip=lambda case, name, role: "too slow" if name == "flax" else None)
    assert (row_of(record, "torch").status, row_of(record, "flax").status) == ("not installed", "skipped")
    assert not any("torch" in line for line in log)
    row = tables.line_of(record)
    assert row.peer == "flax-lstmcell"
    assert "torch not installed" in row.reason
    assert "flax skipped: too slow" in row.reason


def test_on_a_gpu_too_what_is_not_installed_is_a_row_and_so_is_what_is_wrong(play):
    case = Case("attention-768-bfloat16", "train", 4096, 1, 2)
    record, log = play(case, missing=("torch-flash",), torch_cudnn="wrong")
    assert [row.contender for row in record.rows] == ["ours", "torch-flash", "torch-cudnn"]
    assert [row.status for row in record.rows] == ["ok", "not installed", "incorrect"]
    assert record.rows[2].samples_s == ()
    assert not any("flash" in line for line in log)
    line = tables.line_of(record)
    assert (line.peer, line.ratio) == (None, None)
    assert "torch-flash not installed: pip install -e .[peers]" in line.reason
    scan, _ = play(Case("selective-scan-1536", "forward", 4096, 1, 2), missing=("mamba-ssm",))
    assert "pip install mamba-ssm" in row_of(scan, "mamba-ssm").reason


@pytest.mark.parametrize(("row", "status"), [("attention-768-bfloat16", "ok"), ("wkv-768", "incorrect")])
def test_a_difference_that_bfloat16_explains_is_none(play, row, status):
    name = find(Case(row, "forward", 4096, 1, 2)).peers[0]
    record, _ = play(Case(row, "forward", 4096, 1, 2), **{name.replace("-", "_"): "a percent off"})
    assert row_of(record, name).status == status


def test_the_meter_and_the_device_s_own_times_are_in_the_table_of_all(play, tmp_path):
    case = Case("lstm-768", "forward", 1024, 1, 2)
    record, _ = play(case, torch="has a clock")
    assert [row.meter for row in record.rows] == ["queued", "queued"]
    ours, torch = tables.lines_of_all(record)
    assert (ours.meter, ours.device_us_per_token) == ("queued", None)
    assert torch.us_per_token == pytest.approx(0.01 / 1024 * 1e6)
    assert torch.device_us_per_token == pytest.approx(0.009 / 1024 * 1e6)
    assert tables.line_of(record).ratio == pytest.approx(1)  # by the meter that both have
    files.write_tables(tmp_path, [record])
    assert set(tables.GPU_COLUMNS) < set(read_table(tmp_path / files.ALL).columns)
    files.write_tables(tmp_path, [play()[0]])
    assert not set(tables.GPU_COLUMNS) & set(read_table(tmp_path / files.ALL).columns)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_every_contender_is_told_the_device(tmp_path, device):
    told = []

    class Recorder(Crew):
        def prepare(self, name, message, seconds):
            told.append((name, message.device))
            return super().prepare(name, message, seconds)

    crew = Recorder(QUICK.memory_bytes, starting(tmp_path / "log"))
    try:
        run_case(LSTM, replace(QUICK, device=device), crew, version=lambda name: "1.0")
    finally:
        crew.end()
    assert told == [(name, device) for name in ("ours", "torch", "flax", "flax-lstmcell", "products")]


def test_what_a_child_inherits():
    """On a GPU all children of a row share the device, so none takes all of its memory."""
    cpu, cuda = environment(2, "cpu"), environment(2, "cuda")
    assert (cpu["JAX_PLATFORMS"], cuda["JAX_PLATFORMS"]) == ("cpu", "cuda")
    assert cuda["XLA_PYTHON_CLIENT_PREALLOCATE"] == "false"
    assert cuda.keys() - cpu.keys() == {"XLA_PYTHON_CLIENT_PREALLOCATE"}


def test_what_a_contender_prints_disturbs_nobody(play):
    record, _ = play(torch="prints")  # more than a pipe holds, at each call
    assert all(row.status == "ok" and len(row.samples_s) == 4 for row in record.rows)


def test_a_difference_that_is_no_number_is_a_blank_in_the_record(play):
    """Or the journal, whose JSON has no NaN, would give another table than the run did."""
    record, _ = play(torch="nan")
    assert row_of(record, "torch").worst_difference is None
    assert b"NaN" not in line_of(record)


def test_children_stay_for_a_row_and_go_with_it(tmp_path):
    crew = Crew(QUICK.memory_bytes, starting(tmp_path / "log"))
    for case in (LSTM, Case("lstm", "train", 512, 8, 1), Case("gru", "forward", 512, 1, 1)):
        run_case(case, QUICK, crew, version=lambda name: "1.0")
    crew.end()
    ours = [line.split()[2] for line in (tmp_path / "log").read_text().splitlines() if line.startswith("prepare ours")]
    assert ours[0] == ours[1] != ours[2]


def test_the_surroundings_of_a_child_are_taken_back_whatever_happens(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    mine = os.sched_getaffinity(0)
    seen = []

    def start_and_fail():
        with inherited({"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}, 1):
            seen.extend([os.environ["OMP_NUM_THREADS"], os.environ["MKL_NUM_THREADS"], os.sched_getaffinity(0)])
            raise RuntimeError

    with pytest.raises(RuntimeError):
        start_and_fail()
    assert seen == ["1", "1", {min(mine)}]
    assert os.environ["OMP_NUM_THREADS"] == "5"
    assert "MKL_NUM_THREADS" not in os.environ
    assert os.sched_getaffinity(0) == mine


def test_a_child_keeps_to_its_cores_and_threads(monkeypatch):
    monkeypatch.setenv("GLIBC_TUNABLES", TUNABLES)
    mine = os.sched_getaffinity(0), dict(os.environ)
    started = []

    def start(name, cores):
        started.append(start_contender(name, cores))
        return started[0]

    crew = Crew(4 << 30, start)
    try:
        case = Case("attention", "forward", 512, 1, 1)
        ready = crew.prepare("gemm-jax", Prepare(case, Path("/nowhere"), None), 120)
        assert isinstance(ready, Ready), ready
        assert ready.work == 2 * 1024**3
        sample = crew.sample("gemm-jax", 60)
        assert isinstance(sample, Sampled)
        assert 1e-4 < sample.seconds < 10
        assert os.sched_getaffinity(started[0].pid) == {min(os.sched_getaffinity(0))}
        # glibc cuts the tunables apart where they lie.
        environment = Path(f"/proc/{started[0].pid}/environ").read_bytes().replace(b":", b"\0").split(b"\0")
        tunables = f"GLIBC_TUNABLES={TUNABLES}".encode().split(b":")
        assert {b"OMP_NUM_THREADS=1", b"JAX_PLATFORMS=cpu", *tunables} <= set(environment)
        assert mine == (os.sched_getaffinity(0), dict(os.environ))
    finally:
        crew.end()
