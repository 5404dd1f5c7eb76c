"""`./run_bench.sh peers`: the rows that it knows, its mistakes, its list, its folder, and one row for real."""

import csv
import dataclasses
import json
import subprocess
import sys

import pytest
from msgspec.structs import replace
from rich.console import Console

from lengthscale.bench.__main__ import main
from lengthscale.bench.commands.peers import OPTIONS
from lengthscale.bench.host.machine import TUNABLES
from lengthscale.bench.peers import contenders, device, files, loop
from lengthscale.bench.peers.case import Case
from lengthscale.bench.peers.command import make_request
from lengthscale.bench.peers.contenders import CONTENDERS
from lengthscale.bench.peers.record import PeerRecord
from lengthscale.bench.peers.rows import ROWS, Row, find
from lengthscale.bench.peers.tables import ALL_COLUMNS, COLUMNS, GPU_COLUMNS, IDENTITY
from lengthscale.bench.plan import options
from lengthscale.bench.plan.errors import RequestError
from lengthscale.bench.plan.options import from_arguments
from lengthscale.bench.plan.status import Status
from lengthscale.bench.results.codec import read_lines
from lengthscale.bench.results.journal import locked
from tests.helpers.paths import ROOT, environment
from tests.helpers.peer_records import record_of
from tests.helpers.runs import interrupted_after_the_journal

LSTM = Case("lstm", "forward", 512, 1, 1)


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
        "--samples: expected a positive whole number, got '0'",
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


GPU = {"backend": "gpu", "device_kind": "NVIDIA H200", "n_devices": 1}


def request_of(facts, *arguments):
    values, mistakes = options.parse(OPTIONS, from_arguments(OPTIONS, arguments))
    return make_request(values, mistakes, 2, facts)


def test_on_a_cpu_the_cases_and_columns_are_those_of_the_published_table():
    with open(ROOT / "results/amd-epyc-2cpu/peers.csv") as file:
        table = csv.DictReader(file)
        published = [tuple(row[name] for name in IDENTITY) for row in table]
        assert tuple(table.fieldnames or ()) == COLUMNS
    with open(ROOT / "results/amd-epyc-2cpu/peers_all.csv") as file:
        assert next(csv.reader(file)) == [name for name in ALL_COLUMNS if name not in GPU_COLUMNS]
    cases = request_of(device.CPU).cases
    assert {tuple(str(value) for value in case.key().values()) for case in cases} == set(published)
    assert all(find(case).platform == "cpu" for case in cases)


def test_on_a_gpu_the_cases_are_those_of_a_gpu():
    request = request_of(GPU)
    assert request.settings.device == "cuda"
    assert {find(case).platform for case in request.cases} == {"gpu"}
    assert {case.cores for case in request.cases} == {2}  # all that there are
    found = {(case.row, case.length, case.batch) for case in request.cases if case.measure == "train"}
    assert found == {(case.row, case.length, case.batch) for case in request.cases if case.measure == "forward"}
    assert found == {
        *((f"{op}-768", 1024, batch) for op in ("rnn", "lstm", "gru") for batch in (1, 32)),
        *(
            (f"selective-scan-1536{dtype}", length, batch)
            for dtype in ("", "-bfloat16")
            for length in (4096, 65_536)
            for batch in (1, 8)
        ),
        *(("wkv-768", length, 1) for length in (4096, 65_536)),
        *(("attention-768-bfloat16", length, 1) for length in (4096, 16_384, 65_536)),
        *(("attention-768-bfloat16", length, 8) for length in (4096, 16_384)),
    }
    with pytest.raises(RequestError, match="lstm has no measure train on a GPU"):
        request_of(GPU, "--only", "lstm", "--measures", "train")


def test_what_no_extra_installs_does_not_keep_a_table_from_being_published(monkeypatch):
    monkeypatch.setattr(contenders, "version", lambda name: None if name in ("fla", "mamba-ssm") else "1.0")
    assert request_of(GPU, "--publish").publish
    monkeypatch.setattr(contenders, "version", lambda name: None if name == "torch-flash" else "1.0")
    with pytest.raises(RequestError, match="--publish: torch-flash missing"):
        request_of(GPU, "--publish")


@pytest.mark.parametrize(
    ("driver", "probed", "backend"),
    [
        (None, 1 / 2, "cpu"),  # nothing is asked
        ("an NVIDIA GPU", GPU | {"energy_source": None}, "gpu"),
        ("an NVIDIA GPU", device.CPU, "cpu"),  # jax was installed without CUDA
        ("an AMD GPU", GPU | {"device_kind": "gfx942"}, "cpu"),
        ("a TPU", GPU | {"backend": "tpu"}, "cpu"),
    ],
)
def test_the_device_is_jax_s(monkeypatch, driver, probed, backend):
    monkeypatch.setattr(device.machine, "unused_accelerator", lambda backend: driver)
    monkeypatch.setattr(device.Runner, "probe", lambda runner: probed)
    assert device.facts() == (GPU if backend == "gpu" else device.CPU)


@pytest.mark.slow
def test_a_gpu_s_rows_rehearsed_on_a_cpu(tmp_path, monkeypatch):
    """Every row of a GPU at 16 tokens, each contender in a process, by the same meter; only the device is another."""
    monkeypatch.setenv("GLIBC_TUNABLES", TUNABLES)
    request = request_of(GPU, "--lengths", "16", "--samples", "3", "--out", str(tmp_path / "out"))
    cases = tuple(case for case in request.cases if case.batch == 1)
    request = dataclasses.replace(request, cases=cases, settings=dataclasses.replace(request.settings, device="cpu"))
    assert loop.run_request(request, Console(quiet=True))
    with open(tmp_path / "out" / files.ALL) as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == sum(1 + len(find(case).peers) for case in cases)
    for row in rows:
        assert row["meter"] == "queued"
        assert row["device_us_per_token"] == ""  # no device with a clock
        if row["role"] == "ours":
            assert (row["status"], row["n_samples"]) == ("ok", "3"), row
        elif contenders.version(row["contender"]) is None:
            assert row["status"] == "not installed"
            assert row["reason"].startswith("pip install ")
        elif row["contender"] in ("torch", "torch-flash"):
            assert (row["status"], row["n_samples"]) == ("ok", "3"), row
            assert float(row["worst_difference"]) < (1e-2 if "bfloat16" in row["row"] else 1e-4)
        else:  # a CPU does not have it
            assert row["status"] == "error"
            assert row["reason"], row
    facts = json.loads((tmp_path / "out" / files.FACTS).read_text())
    assert (facts["backend"], facts["device_kind"]) == ("gpu", "NVIDIA H200")
    assert set(facts["peers"]) == {"jax", "torch", "fla-core", "mamba-ssm"}
    if contenders.version("torch"):
        assert (tmp_path / "out" / "peers.png").exists()


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
    command = [sys.executable, "-P", "-m", "lengthscale.bench", "peers", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment(blocker), cwd=cwd, timeout=300)


@pytest.mark.slow
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
    assert facts["glibc_tunables"] == TUNABLES
    assert {"peers.png", "peers.svg", "journal.jsonl"} <= {path.name for path in (tmp_path / "out").iterdir()}

    before = (tmp_path / "out" / "journal.jsonl").read_bytes()
    again = start(*arguments, cwd=tmp_path)
    assert "5 of 5 cases" in again.stdout
    assert (tmp_path / "out" / "journal.jsonl").read_bytes() == before
    other = start("--only", "lstm", "--lengths", "32", "--out", tmp_path / "out", cwd=tmp_path)
    assert other.returncode == 2
    assert "holds another run" in other.stderr
    assert (tmp_path / "out" / "journal.jsonl").read_bytes() == before


def table(folder, *rows):
    """A run's folder whose tables have these (row, measure, length, batch, cores, commit)."""
    folder.mkdir()
    for name, columns in ((files.TABLE, COLUMNS), (files.ALL, ALL_COLUMNS)):
        with open(folder / name, "w", newline="") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            for row in rows:
                writer.writerow(dict(zip((*IDENTITY, "git_sha"), row, strict=True)))
    (folder / files.FACTS).write_text(json.dumps({"of": folder.name}))
    return folder


def test_published_rows_replace_those_of_the_same_cases(tmp_path):
    mamba, lstm = ("mamba", "train", 2048, 1, 1), ("lstm", "forward", 512, 1, 1)
    longer, gone = ("lstm", "forward", 8192, 1, 1), ("perceptron", "train", 1, 1, 1)
    home = tmp_path / "home"
    files.publish(table(tmp_path / "first", (*mamba, "a"), (*lstm, "a"), (*gone, "a")), home)
    files.publish(table(tmp_path / "second", (*longer, "b"), (*mamba, "b")), home)
    for name in (files.TABLE, files.ALL):
        with open(home / name) as file:
            rows = [(row["row"], row["length"], row["git_sha"]) for row in csv.DictReader(file)]
        assert rows == [("lstm", "512", "a"), ("lstm", "8192", "b"), ("mamba", "2048", "b"), ("perceptron", "1", "a")]
    assert json.loads((home / files.FACTS).read_text()) == {"of": "second"}


def test_nothing_is_published_while_a_peer_is_missing(tmp_path):
    done = start("--only", "lstm,rnn-small", "--publish", "--out", tmp_path / "out", cwd=tmp_path)
    assert done.returncode == 2
    assert "--publish: read-torch, torch missing; LENGTHSCALE_EXTRAS=peers installs them" in " ".join(
        done.stderr.split()
    )
    assert not (tmp_path / "out").exists()


def test_a_batch_is_not_taken_to_the_longest_lengths():
    cases = find(LSTM).cases(None, (1,))
    assert {case.length for case in cases if case.batch == 8} == {512, 2048, 8192}
    assert max(case.length for case in cases) == 32_768


def run_with_fakes(monkeypatch, cases, *more):
    """The exit code of a run in this process whose cases end as `cases` (case -> record) says."""
    monkeypatch.setenv("GLIBC_TUNABLES", TUNABLES)
    monkeypatch.setattr(loop, "run_case", lambda case, settings, crew, reason_to_skip: cases(case))
    return main(["peers", "--only", "lstm", "--measures", "train", "--cores", "1", *more])


def test_an_interrupt_while_a_record_is_written_waits_until_it_is_in_the_tables_too(tmp_path, monkeypatch):
    with interrupted_after_the_journal():
        code = run_with_fakes(monkeypatch, lambda case: record_of(case, [1.0] * 5, [2.0] * 5), "--out", str(tmp_path))
    assert code == 130
    with open(tmp_path / "peers.csv") as file:
        assert [row["ratio"] for row in csv.DictReader(file)] == ["2"]


def test_an_interrupted_run_keeps_its_cases_and_continues(tmp_path, monkeypatch, capsys):
    out = tmp_path / "out"
    arguments = ("--lengths", "512,2k", "--out", str(out))
    asked = []

    def interrupted(case):
        asked.append(case)
        if len(asked) == 3:
            raise KeyboardInterrupt
        return record_of(case, [1.0] * 5, [2.0] * 5)

    assert run_with_fakes(monkeypatch, interrupted, *arguments) == 130
    assert f"the same command with --out {out} continues" in " ".join(capsys.readouterr().out.split())
    kept = read_lines(out / "journal.jsonl", PeerRecord)
    assert [record.cell for record in kept] == asked[:2]
    assert kept[0].environment.git_sha == json.loads((out / "peers.json").read_text())["git_sha"]
    with open(out / "peers.csv") as file:
        assert [row["ratio"] for row in csv.DictReader(file)] == ["2", "2"]

    again = []

    def fine(case):
        again.append(case)
        return record_of(case, [1.0] * 5, [2.0] * 5)

    assert run_with_fakes(monkeypatch, fine, *arguments) == 0
    assert "2 of 4 cases are in" in capsys.readouterr().out
    assert len(again) == 2
    assert not {*again} & {*asked[:2]}
    with open(out / "peers.csv") as file:
        assert len(list(csv.DictReader(file))) == 4


def test_a_case_of_ours_that_fails_is_a_row_and_an_exit_code(tmp_path, monkeypatch):
    def failing(case):
        record = record_of(case, [1.0] * 5, [2.0] * 5)
        status, reason = Status.KILLED, "ended by SIGKILL"
        ours = replace(record.rows[0], status=status, reason=reason, samples_s=())
        return replace(record, status=status, message=reason, rows=(ours, *record.rows[1:]))

    assert run_with_fakes(monkeypatch, failing, "--lengths", "512", "--out", str(tmp_path / "out")) == 3
    with open(tmp_path / "out" / "peers.csv") as file:
        rows = list(csv.DictReader(file))
    assert {(row["status"], row["ours_us_per_token"], row["reached"]) for row in rows} == {("killed", "", "")}


@pytest.mark.parametrize("name", ["notes.txt", "peers.csv", "suite.json"])
def test_a_folder_that_holds_something_else_is_refused_and_left_alone(tmp_path, monkeypatch, capsys, name):
    (tmp_path / name).write_text("{}")
    assert run_with_fakes(monkeypatch, lambda case: 1 / 0, "--out", str(tmp_path)) == 2
    assert f"is not empty and holds no run of ours (it has {name})" in " ".join(capsys.readouterr().err.split())
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_folder_that_another_run_has_is_refused(tmp_path, monkeypatch, capsys):
    with locked(tmp_path):
        assert run_with_fakes(monkeypatch, lambda case: 1 / 0, "--out", str(tmp_path)) == 2
    assert "is in use by another run" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / files.FACTS).exists()
