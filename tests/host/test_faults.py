"""A run is struck while it is at work: killed, interrupted, its disk filled, its folder removed. Nothing is lost.

`./run_tests.sh --slow --reliability -m fault` writes how often each fault was injected into docs/reliability.md.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from lengthscale.bench.plan.cell import Cell
from lengthscale.bench.plan.schedule import schedule
from lengthscale.bench.results.codec import read_journal
from lengthscale.bench.results.validate import validate
from tests.helpers.paths import environment

LENGTHS = list(range(1, 9))
# Two replicates: between two of them the run starts another forkserver, which takes longer than all of its cells.
SWEEP = ("run", "--suite", "quick", "--models", "rnn", "--measures", "forward", "--replicates", "2")
SWEEP += ("--lengths", ",".join(map(str, LENGTHS)))
CELL = Cell("forward", "rnn", "tiny", "auto", 1, 1, "float32", 0, "text", 0)
# (length, replicate) in the order of measurement: first all lengths once, as they are listed
TURNS = [(t.cell.length, t.replicate) for t in schedule((replace(CELL, length=n) for n in LENGTHS), 2)]


def start(*arguments, target="quick", **options):
    """largest_file: bytes over which no file can grow; the kernel's EFBIG stands for ENOSPC."""
    variables = {"FAULT_FOLDER": str(options.pop("folder", ""))}
    variables["LARGEST_FILE"] = str(options.pop("largest_file", ""))
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "tests.helpers.quick_run", target, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment(**variables),
        **options,
    )


def finish(process, seconds=60):
    output, _ = process.communicate(timeout=seconds)
    return process.returncode, output


def turns(folder):
    return [(record.cell.length, record.replicate) for record in read_journal(folder / "journal.jsonl")]


def wait_for_cells(folder, count, process, seconds=30):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if len(read_journal(folder / "journal.jsonl")) >= count:
            return
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.01)
    pytest.fail(f"{count} cells did not come")


def goes_on_to_its_end(folder, kept, *arguments):
    """--resume (or these arguments) runs exactly what is missing; what was there is as it was."""
    before = read_journal(folder / "journal.jsonl")
    code, output = finish(start("run", *(arguments or ("--resume", folder))))
    assert code == 0, output
    assert len(before) == kept
    assert read_journal(folder / "journal.jsonl")[:kept] == before
    assert turns(folder) == TURNS
    assert validate(folder) == ([], [])


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    code, output = finish(start(*SWEEP, "--out", folder))
    assert code == 0, output
    return folder


@pytest.fixture
def folder(finished, tmp_path):
    """A finished run's."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


def files_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != ".lock"}


def test_the_same_command_again_measures_nothing(folder):
    before = (folder / "journal.jsonl").read_bytes()
    code, output = finish(start(*SWEEP, "--out", folder))
    assert code == 0, output
    assert f"{len(TURNS)} of {len(TURNS)} replicates of 8 cells are in" in " ".join(output.split())
    assert (folder / "journal.jsonl").read_bytes() == before


@pytest.mark.fault("the parent is killed (SIGKILL) at a random moment")
@pytest.mark.parametrize("seed", [pytest.param(n, marks=pytest.mark.slow if n >= 1 else ()) for n in range(50)])
def test_a_parent_killed_at_any_moment_loses_no_finished_cell(tmp_path, seed):
    process = start(*SWEEP, "--out", tmp_path)
    moment = random.Random(seed)
    wait_for_cells(tmp_path, moment.randint(1, len(TURNS) - 1), process)  # in both replicates
    time.sleep(moment.uniform(0, 0.8))
    process.kill()
    _, output = finish(process)
    done = turns(tmp_path)
    shown = [line for line in output.splitlines() if line.startswith("[") and " ... " in line]
    assert done == TURNS[: len(done)]
    assert len(done) >= len(shown)  # every cell that was shown as done is there
    goes_on_to_its_end(tmp_path, len(done))


@pytest.mark.fault("the last line of the journal is incomplete")
@pytest.mark.parametrize("cut", [1, 50, 400])
def test_a_torn_line_is_found_dropped_and_measured_again(folder, cut):
    path = folder / "journal.jsonl"
    path.write_bytes(path.read_bytes()[:-cut])
    assert len(read_journal(path)) == len(TURNS) - 1
    goes_on_to_its_end(folder, len(TURNS) - 1)


@pytest.mark.fault("the parent is killed while a child runs")
def test_a_killed_parent_leaves_no_orphan(tmp_path):
    process = start(*SWEEP, "--out", tmp_path, target="quick_until_the_eighth", folder=tmp_path)
    wait_for_cells(tmp_path, 7, process)
    pid = wait_for_pid(tmp_path)
    process.kill()
    finish(process)
    wait_for_the_end_of(pid)
    goes_on_to_its_end(tmp_path, 7)


def wait_for_pid(folder, seconds=20):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if (folder / "pid").exists() and (text := (folder / "pid").read_text()):
            return int(text)
        time.sleep(0.02)
    pytest.fail("the child did not start")


def wait_for_the_end_of(pid, seconds=10):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return
        time.sleep(0.05)
    pytest.fail("the child lives")


@pytest.mark.fault("a child is out of memory (RESOURCE_EXHAUSTED)")
def test_longer_cells_of_a_series_that_ran_out_of_memory_are_skipped(tmp_path):
    sweep = ("run", "--suite", "quick", "--models", "rnn,gru", "--measures", "forward", "--lengths", "4,8,16,32")
    sweep += ("--replicates", "1")
    code, output = finish(start(*sweep, "--out", tmp_path, target="quick_until_memory_runs_out"))
    assert code == 3, output
    outcomes = {(r.cell.model, r.cell.length): r for r in read_journal(tmp_path / "journal.jsonl")}
    for model in ("rnn", "gru"):
        records = [outcomes[model, length] for length in (4, 8, 16, 32)]
        assert [record.status for record in records] == ["ok", "oom", "skipped", "skipped"]
        assert records[1].message == "no room for so many tokens"
        assert records[2].message == "L=8 of this series ended with oom"


@pytest.mark.fault("every child fails, each in another way")
def test_a_run_whose_children_fail_each_in_another_way_comes_to_its_end(tmp_path):
    outcomes = {
        "rnn": ("killed", "sample", "ended by SIGKILL"),
        "lstm": ("killed", "sample", "ended by SIGSEGV"),
        "gru": ("error", "start", "lengthscale.bench.device.worker"),
        "transformer": ("error", "start", "exit code 7"),
        "mamba": ("timeout", "compile", "passed the deadline of 1 s for compiling"),
        "rwkv4": ("ok", "", ""),
    }
    which = ("--models", ",".join(outcomes), "--measures", "forward", "--lengths", "8", "--compile-timeout", "1")
    which += ("--replicates", "2")
    run = tmp_path / "run"
    arguments = ("run", "--suite", "quick", *which, "--out", run)
    code, output = finish(start(*arguments, target="each_in_its_own_way", folder=tmp_path))
    assert code == 3, output
    records = read_journal(run / "journal.jsonl")
    assert sorted(record.cell.model for record in records) == sorted([*outcomes, "rwkv4"])  # no other again
    for record in records:
        status, stage, message = outcomes[record.cell.model]
        assert (record.status, record.stage) == (status, stage), record
        assert message in record.message
    assert validate(run) == ([], [])
    assert still_at_work(tmp_path) == []


def still_at_work(folder):
    """The processes of the run in this folder."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get("FAULT_FOLDER") == str(folder) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


@pytest.mark.fault("Ctrl-C, once or twice")
@pytest.mark.parametrize("times", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_an_interrupt_ends_the_child_and_keeps_what_is_finished(tmp_path, times):
    ours = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job would ignore it
    options = {"target": "quick_until_the_eighth", "folder": tmp_path, "start_new_session": True}
    process = start(*SWEEP, "--out", tmp_path, **options)
    signal.signal(signal.SIGINT, ours)
    wait_for_cells(tmp_path, 7, process)
    pid = wait_for_pid(tmp_path)
    for _ in range(times):
        os.killpg(process.pid, signal.SIGINT)  # a terminal sends it to the parent and its forkserver alike
        time.sleep(0.2)
    code, output = finish(process)
    assert code == 130, output
    wait_for_the_end_of(pid)
    assert still_at_work(tmp_path) == []
    assert len((tmp_path / "forward.csv").read_text().splitlines()) == 8
    goes_on_to_its_end(tmp_path, 7)


@pytest.mark.fault("results cannot be written: disk full, read-only, a file in the way")
def test_a_disk_that_is_full_already_is_refused_before_the_first_cell(tmp_path):
    code, output = finish(start(*SWEEP, "--out", tmp_path, largest_file=1_000))
    assert code == 2, output
    assert "File too large" in output
    assert "suite.json" in output
    assert "[1/" not in output
    goes_on_to_its_end(tmp_path, 0, *SWEEP[1:], "--out", tmp_path)


@pytest.mark.fault("the disk fills in the middle of a run")
@pytest.mark.parametrize("size", [5_000, pytest.param(9_000, marks=pytest.mark.slow)])
def test_a_full_disk_leaves_old_files_whole_and_the_run_can_go_on(tmp_path, size):
    code, output = finish(start(*SWEEP, "--out", tmp_path, largest_file=size))
    assert code == 3, output
    assert "the results can no longer be written" in output
    assert f"--resume {tmp_path} continues" in " ".join(output.split())
    kept = len(turns(tmp_path))
    assert 0 < kept < len(TURNS)
    assert (tmp_path / "journal.jsonl").read_bytes().endswith(b"\n")
    goes_on_to_its_end(tmp_path, kept)


@pytest.mark.fault("the folder vanishes in the middle of a run")
def test_a_folder_that_vanishes_ends_the_run(tmp_path):
    folder = tmp_path / "run"
    process = start(*SWEEP, "--out", folder, target="quick_until_the_eighth", folder=tmp_path)
    wait_for_pid(tmp_path)
    shutil.rmtree(folder)
    os.kill(wait_for_pid(tmp_path), signal.SIGKILL)
    code, output = finish(process)
    assert code == 3, output
    assert "was removed while the run went on" in output


@pytest.mark.fault("results cannot be written: disk full, read-only, a file in the way")
@pytest.mark.parametrize("place", ["/proc/lengthscale", "/sys/lengthscale", "/dev/null/run"])
def test_a_folder_that_cannot_be_made_is_refused_before_the_first_cell(place):
    code, output = finish(start(*SWEEP, "--out", place))
    assert code == 2, output
    assert "error: " in output
    assert "[1/" not in output


@pytest.mark.fault("two runs on one folder")
def test_a_second_run_ends_at_once_and_names_the_first(tmp_path):
    process = start(*SWEEP, "--out", tmp_path, target="quick_until_the_eighth", folder=tmp_path)
    pid = wait_for_pid(tmp_path)
    code, output = finish(start(*SWEEP, "--out", tmp_path), seconds=20)
    assert code == 2, output
    assert f"is in use by another run (process {process.pid} on " in " ".join(output.split())
    process.kill()
    finish(process)
    wait_for_the_end_of(pid)
    goes_on_to_its_end(tmp_path, 7)  # the dead run's lock holds nobody up


@pytest.mark.fault("the journal or suite.json is corrupt")
def test_a_corrupt_journal_is_named_and_nothing_is_overwritten(folder):
    path = folder / "journal.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:4], lines[4].replace(b":", b"=", 1), *lines[5:]]))
    before = files_of(folder)
    code, output = finish(start("run", "--resume", folder))
    assert code == 2, output
    assert "journal.jsonl, line 5, column " in output
    assert files_of(folder) == before
    code, output = finish(start("run", "--resume", folder, "--rerun"))
    assert code == 0, output
    assert turns(folder) == TURNS
    assert (folder / "journal.jsonl.aside1").read_bytes() == before["journal.jsonl"]


@pytest.mark.fault("a CSV is edited or corrupt")
@pytest.mark.parametrize(
    "spoil", [lambda csv: csv.replace(b",ok,", b",better,", 1), lambda csv: b"\xff\0" + csv], ids=["edited", "corrupt"]
)
def test_a_damaged_csv_is_set_aside_and_made_again(folder, spoil):
    path = folder / "forward.csv"
    whole = path.read_bytes()
    path.write_bytes(spoil(whole))
    goes_on_to_its_end(folder, len(TURNS))
    assert path.read_bytes() == whole
    assert (folder / "forward.csv.aside1").read_bytes() == spoil(whole)


@pytest.mark.fault("configuration or code changed, then `--resume`")
@pytest.mark.parametrize(
    ("name", "change", "difference"),
    [
        ("environment.json", {"code": "0" * 12}, "was measured under other conditions (code: 000000000000 -> "),
        pytest.param(
            *("suite.json", {"settings": {"windows": 3}}, "holds another configuration (settings: windows: 3 -> "),
            marks=pytest.mark.slow,  # test_cli.py has a refusal of this kind
        ),
    ],
    ids=["code", "configuration"],
)
def test_what_was_measured_under_other_conditions_is_refused_or_measured_again_on_request(
    folder, name, change, difference
):
    held = json.loads((folder / name).read_text())
    merged = {key: {**held[key], **value} if isinstance(value, dict) else value for key, value in change.items()}
    (folder / name).write_text(json.dumps(held | merged))
    lines = (folder / "journal.jsonl").read_text().splitlines(keepends=True)
    (folder / "journal.jsonl").write_text("".join(lines[:-1]))  # one cell is missing
    before = files_of(folder)
    code, output = finish(start("run", "--resume", folder))
    assert code == 2, output
    assert difference in " ".join(output.split())
    assert files_of(folder) == before
    other = ("--suite", "quick", "--models", "rnn", "--measures", "train", "--lengths", "8", "--replicates", "1")
    code, output = finish(start("run", *other, "--out", folder, "--rerun"))
    assert code == 0, output
    assert "set aside" in output
    assert [record.cell.measure for record in read_journal(folder / "journal.jsonl")] == ["train"]
    assert {f"{each}.aside1": content for each, content in before.items()}.items() <= files_of(folder).items()
    assert not (folder / "forward.csv").exists()
    assert validate(folder) == ([], [])
