"""The harness that times ours beside its peers: contenders that sleep, fail, hang, babble or die; and once for real."""

import csv
import json
import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import psutil
import pytest

from bench.__main__ import main
from bench.environment import TUNABLES
from bench.peers import figures, files
from bench.peers.case import Case
from bench.peers.contenders import CONTENDERS
from bench.peers.past import Past
from bench.peers.rounds import Crew, Settings, run_case
from bench.peers.rows import ROWS, Goal, Row, find
from bench.peers.talk import Talk

ROOT = Path(__file__).parents[1]
FAKE = Path(__file__).with_name("fake_contender.py")
LSTM = Case("lstm", "forward", 512, 1, 1)
QUICK = Settings(samples=4, prepare_s=2, call_s=0.5, memory_bytes=250 << 20)


@pytest.fixture
def play(tmp_path):
    """Run a case whose contenders behave as told (default: fast); the record, the log's lines."""

    def run(case=LSTM, settings=QUICK, missing=(), skip=lambda case, name: None, **behaviours):
        def command(name, cores):
            told = behaviours.get(name.replace("-", "_"), "fast")
            return [sys.executable, "-S", str(FAKE), name, told, str(tmp_path / "log")]

        crew = Crew(settings, partial(Talk, make_command=command))
        try:
            record = run_case(case, settings, crew, skip, lambda name: None if name in missing else "1.0")
        finally:
            crew.end()
        return record, (tmp_path / "log").read_text().splitlines()

    return run


def turn(record, name):
    return next(row for row in record["rows"] if row["contender"] == name)


def test_each_round_takes_one_sample_of_each_in_turn(play):
    record, log = play()
    names = ["ours", "torch", "flax", "flax-lstmcell", "products"]
    said = [tuple(line.split()[:2]) for line in log]
    assert said == [*(("prepare", name) for name in names), *[("sample", name) for name in names] * 4]
    assert len({line.split()[2] for line in log}) == len(names)  # a process each
    assert [row["role"] for row in record["rows"]] == ["ours", "peer", "peer", "peer", "limit"]
    assert all(row["status"] == "ok" and len(row["samples_s"]) == 4 for row in record["rows"])


def test_known_times_give_the_known_ratio(play):
    record, _ = play(ours="slow", torch="slow", flax="fast", flax_lstmcell="hopeless")
    row = figures.row_of(record)
    assert row["peer"] == "flax"  # the fastest
    assert row["ratio"] == pytest.approx(1 / 3, rel=0.15)
    assert row["ratio_low"] <= row["ratio"] <= row["ratio_high"]
    assert row["ours_us_per_token"] == pytest.approx(0.03 / 512 * 1e6, rel=0.15)
    assert row["peer_us_per_token"] == pytest.approx(0.01 / 512 * 1e6, rel=0.15)
    assert row["share"] == pytest.approx(1 / 3, rel=0.15)
    assert (row["goal"], row["reached"], row["status"], row["n_samples"]) == ("ratio >= 1", "no", "ok", 4)
    # One that takes over four times as long as the fastest is sampled twice: it will not be it.
    assert len(turn(record, "flax-lstmcell")["samples_s"]) == 2
    rows = {row["contender"]: row for row in figures.rows_of_all(record)}
    assert rows["torch"]["us_per_token"] == pytest.approx(0.03 / 512 * 1e6, rel=0.15)
    assert rows["flax-lstmcell"]["n_samples"] == 2


@pytest.mark.parametrize(
    ("behaviour", "status", "reason"),
    [
        ("fails", "unsupported", "not this one"),
        ("wrong", "incorrect", "d w_h is 0.25 off ours"),
        ("nan", "incorrect", "y is nan off ours"),
        ("silent", "incorrect", "it gave nothing to compare"),
        ("hangs", "timeout", "no answer in 2 s"),
        ("babbles", "error", "not an answer: b'Hello! I am a library.'"),
        ("dies", "error", "exit code 7 without an answer: the last words"),
        ("is killed in its second sample", "killed", "ended by SIGKILL (often: out of memory)"),
        ("grows", "oom", "GiB, over 0 GiB"),
    ],
)
def test_a_peer_that_fails_is_a_row_with_its_reason_and_no_time(play, behaviour, status, reason):
    record, log = play(torch=behaviour)
    failed = turn(record, "torch")
    assert (failed["status"], failed["samples_s"]) == (status, [])
    assert reason in failed["reason"]
    row = figures.row_of(record)
    assert row["status"] == "ok"
    assert row["peer"] in ("flax", "flax-lstmcell")
    assert row["ratio"] is not None
    assert f"torch {status}: " in row["reason"]
    assert len(turn(record, "ours")["samples_s"]) == 4
    assert not any(psutil.pid_exists(int(line.split()[2])) for line in log)  # nobody is left


def test_a_sample_that_hangs_ends_by_its_deadline(play):
    started = time.monotonic()
    record, _ = play(settings=Settings(samples=3, prepare_s=2, call_s=0.05), flax="hangs in its second sample")
    assert time.monotonic() - started < 15
    assert turn(record, "flax")["status"] == "timeout"
    assert turn(record, "torch")["status"] == "ok"


def test_without_ours_nothing_is_compared(play):
    record, log = play(ours="dies")
    assert [row["status"] for row in record["rows"]] == ["error", *["skipped"] * 4]
    row = figures.row_of(record)
    assert (row["status"], row["ours_us_per_token"], row["reached"]) == ("error", None, None)
    assert "the last words" in row["reason"]
    assert len(log) == 1


def test_what_is_not_installed_or_not_worth_it_says_so(play):
    record, log = play(missing=("torch",), skip=lambda case, name: "too slow" if name == "flax" else None)
    assert (turn(record, "torch")["status"], turn(record, "flax")["status"]) == ("not installed", "skipped")
    assert not any("torch" in line for line in log)
    row = figures.row_of(record)
    assert row["peer"] == "flax-lstmcell"
    assert "torch not installed" in row["reason"]
    assert "flax skipped: too slow" in row["reason"]


def test_children_stay_for_a_row_and_go_with_it(tmp_path):
    def command(name, cores):
        return [sys.executable, "-S", str(FAKE), name, "fast", str(tmp_path / "log")]

    crew = Crew(QUICK, partial(Talk, make_command=command))
    for case in (LSTM, Case("lstm", "train", 512, 8, 1), Case("gru", "forward", 512, 1, 1)):
        run_case(case, QUICK, crew, version=lambda name: "1.0")
    crew.end()
    ours = [line.split()[2] for line in (tmp_path / "log").read_text().splitlines() if line.startswith("prepare ours")]
    assert ours[0] == ours[1] != ours[2]


def test_a_child_keeps_to_its_cores_and_threads(monkeypatch):
    monkeypatch.setenv("GLIBC_TUNABLES", TUNABLES)
    talk = Talk("gemm-jax", 1, 4 << 30)
    try:
        case = Case("attention", "forward", 512, 1, 1)
        answer = talk.ask({"prepare": case.key(), "reference": "/nowhere", "work": None}, 120)
        assert isinstance(answer, dict), answer
        assert answer["ready"]["work"] == 2 * 1024**3
        sample = talk.ask({"sample": True}, 60)
        assert isinstance(sample, dict)
        assert 1e-4 < sample["seconds"] < 10
        child = talk._child.pid
        assert os.sched_getaffinity(child) == {min(os.sched_getaffinity(0))}
        environment = Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
        assert {b"OMP_NUM_THREADS=1", b"JAX_PLATFORMS=cpu", f"GLIBC_TUNABLES={TUNABLES}".encode()} <= set(environment)
    finally:
        talk.end()


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
    record["rows"][1] |= {"first_s": 20.0}
    past.learn(record)
    longer = Case("lstm", "train", 8192, 1, 1)
    assert past.reason_to_skip(longer, "torch") == "a call would take 80 s, over 60 s"
    assert past.reason_to_skip(longer, "ours") is None
    assert past.reason_to_skip(Case("lstm", "train", 8192, 8, 1), "torch") is None
    record["rows"][1] |= {"status": "oom", "reason": "held 13 GiB"}
    past.learn(record)
    assert past.reason_to_skip(Case("lstm", "train", 2048, 1, 1), "torch") is None
    assert past.reason_to_skip(longer, "torch") == "oom at length 2048: held 13 GiB"


def test_the_rows_name_what_there_is():
    for row in ROWS:
        limits = row.limit.contenders if row.limit else ()
        assert {*row.peers, *limits} <= CONTENDERS.keys()
        assert all((ROOT / f"bench/peers/contenders/{CONTENDERS[name].module}.py").exists() for name in row.peers)
    assert len({(row.name, row.measure) for row in ROWS}) == len(ROWS)
    assert isinstance(find(LSTM), Row)


def test_all_mistakes_at_once_before_anything_runs(tmp_path, capsys):
    out = tmp_path / "new"
    wrong = ["--only", "lstn,attention", "--measures", "trane", "--lengths", "x", "--cores", "999", "--samples", "0"]
    assert main(["peers", *wrong, "--out", str(out)]) == 2
    errors = " ".join(capsys.readouterr().err.split())
    for part in (
        "unknown row 'lstn'; did you mean 'lstm'?",
        "unknown measure 'trane'; did you mean 'train'?",
        "length 'x' is not a positive whole number",
        "--cores 999: only",
        "--samples must be positive, got 0",
    ):
        assert part in errors, errors
    assert not out.exists()


def test_a_measure_that_a_row_has_not(capsys):
    assert main(["peers", "--only", "lstm", "--measures", "step"]) == 2
    assert "lstm has no measure step" in capsys.readouterr().err


def test_the_list_of_cases(capsys):
    assert main(["peers", "--only", "lstm,attention", "--measures", "train", "--lengths", "2k", "--list"]) == 0
    listed = capsys.readouterr().out
    assert "lstm train L=2048 B=8 cores=1" in listed
    assert "attention train L=2048 cores=1" in listed
    assert "forward" not in listed


def test_the_parent_imports_neither_jax_nor_torch():
    code = "import sys, bench.__main__, bench.peers.plot\nsys.exit(bool({'jax', 'torch'} & sys.modules.keys()))"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def start(*arguments, cwd):
    """A user without the extra: its packages cannot be found."""
    blocker = cwd / "without_peers"
    blocker.mkdir(exist_ok=True)
    (blocker / "sitecustomize.py").write_text(
        "import importlib.metadata as m\n"
        "found = m.version\n"
        "def version(name):\n"
        "    if name in ('torch', 'transformers', 'mambapy'):\n"
        "        raise m.PackageNotFoundError(name)\n"
        "    return found(name)\n"
        "m.version = version\n"
    )
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{blocker}"}
    command = [sys.executable, "-P", "-m", "bench", "peers", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=cwd, timeout=300)


def test_one_row_for_real_with_the_peers_that_are_always_there(tmp_path):
    arguments = ("--only", "lstm", "--lengths", "64", "--cores", "1", "--samples", "3", "--out", tmp_path / "out")
    done = start(*arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "lstm forward L=64 cores=1 ... ours" in done.stdout
    with open(tmp_path / "out" / "peers.csv") as file:
        rows = {(row["measure"], row["batch"]): row for row in csv.DictReader(file)}
    assert set(rows) == {("forward", "1"), ("forward", "8"), ("train", "1"), ("train", "8"), ("decode", "1")}
    for row in rows.values():
        assert row["status"] == "ok", row
        assert row["peer"] in ("flax", "flax-lstmcell")
        assert float(row["ratio"]) > 0
        assert "torch not installed: pip install -e .[peers]" in row["reason"]
        assert row["n_samples"] == "3"
        assert row["reached"] in ("yes", "no")
    with open(tmp_path / "out" / "peers_all.csv") as file:
        everyone = list(csv.DictReader(file))
    timed = [row for row in everyone if row["role"] == "peer" and row["n_samples"] != "0"]
    assert all(float(row["worst_difference"]) < 1e-5 for row in timed)
    facts = json.loads((tmp_path / "out" / "peers.json").read_text())
    assert facts["peers"]["torch"] is None
    assert facts["glibc_tunables"] == "glibc.malloc.hugetlb=1"
    assert {"peers.png", "peers.svg", "journal.jsonl"} <= {path.name for path in (tmp_path / "out").iterdir()}

    before = (tmp_path / "out" / "journal.jsonl").read_bytes()
    again = start(*arguments, cwd=tmp_path)
    assert "5 of 5 cases" in again.stdout
    assert (tmp_path / "out" / "journal.jsonl").read_bytes() == before
    other = start("--only", "lstm", "--lengths", "32", "--out", tmp_path / "out", cwd=tmp_path)
    assert other.returncode == 2
    assert "holds another run" in other.stderr
    assert (tmp_path / "out" / "journal.jsonl").read_bytes() == before


def test_only_a_whole_run_replaces_the_devices_table(tmp_path):
    home, folder = tmp_path / "home", tmp_path / "run"
    for path in (home, folder):
        path.mkdir()
        for name in files.PUBLISHED:
            (path / name).write_text(f"{path.name} {name}")
    files.publish(folder, home)
    assert sorted(path.name for path in home.iterdir()) == sorted(files.PUBLISHED)
    assert all((home / name).read_text() == f"run {name}" for name in files.PUBLISHED)
