"""A run is struck while it is at work: killed, interrupted, its disk filled, its folder removed. Nothing is lost.

`./run_tests.sh --slow --reliability -m fault` writes how often each fault was injected into docs/reliability.md.
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from bench.journal import read_journal
from bench.validate import validate

ROOT = Path(__file__).parents[1]
CELLS = 40
LENGTHS = ",".join(str(length) for length in range(1, CELLS + 1))
SWEEP = ("run", "--suite", "quick", "--models", "rnn", "--measures", "decode", "--lengths", LENGTHS)


def start(*arguments, target="quick", **options):
    """largest_file: bytes over which no file can grow; the kernel's EFBIG stands for ENOSPC."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "FAULT_FOLDER": str(options.pop("folder", ""))}
    environment["LARGEST_FILE"] = str(options.pop("largest_file", ""))
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "tests.quick_run", target, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
        **options,
    )


def finish(process, seconds=60):
    output, _ = process.communicate(timeout=seconds)
    return process.returncode, output


def lengths(folder):
    return [record["cell"]["length"] for record in read_journal(folder / "journal.jsonl")]


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
    assert lengths(folder) == list(range(1, CELLS + 1))
    assert validate(folder) == ([], [])


@pytest.mark.fault(
    "the parent is killed (SIGKILL) at a random moment",
    "every finished cell is there; --resume runs exactly what is missing",
)
@pytest.mark.parametrize("seed", [pytest.param(n, marks=pytest.mark.slow if n >= 2 else ()) for n in range(50)])
def test_a_parent_killed_at_any_moment_loses_no_finished_cell(tmp_path, seed):
    process = start(*SWEEP, "--out", tmp_path)
    wait_for_cells(tmp_path, 1, process)
    time.sleep(random.Random(seed).uniform(0, 2.0))
    process.kill()
    _, output = finish(process)
    done = lengths(tmp_path)
    shown = [line for line in output.splitlines() if line.startswith("[") and " ... " in line]
    assert done == list(range(1, len(done) + 1))
    assert len(done) >= len(shown)  # what was told as done is there
    goes_on_to_its_end(tmp_path, len(done))


@pytest.mark.fault("the last line of the journal is torn", "the line is found and dropped, its cell measured again")
@pytest.mark.parametrize("cut", [1, 50, 400])
def test_a_torn_line_is_found_dropped_and_measured_again(tmp_path, cut):
    assert finish(start(*SWEEP, "--out", tmp_path))[0] == 0
    path = tmp_path / "journal.jsonl"
    path.write_bytes(path.read_bytes()[:-cut])
    assert len(read_journal(path)) == CELLS - 1
    goes_on_to_its_end(tmp_path, CELLS - 1)


@pytest.mark.fault("the parent is killed while a child is at work", "the child ends too")
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


@pytest.mark.fault("a cell is out of memory", "its longer cells are `skipped` with the reason; other series go on")
def test_longer_cells_of_a_series_that_ran_out_of_memory_are_skipped(tmp_path):
    sweep = ("run", "--suite", "quick", "--models", "rnn,gru", "--measures", "decode", "--lengths", "4,8,16,32")
    code, output = finish(start(*sweep, "--out", tmp_path, target="quick_until_memory_runs_out"))
    assert code == 3, output
    outcomes = {(r["cell"]["model"], r["cell"]["length"]): r for r in read_journal(tmp_path / "journal.jsonl")}
    for model in ("rnn", "gru"):
        records = [outcomes[model, length] for length in (4, 8, 16, 32)]
        assert [record["status"] for record in records] == ["ok", "oom", "skipped", "skipped"]
        assert records[1]["message"] == "no room for so many tokens"
        assert records[2]["message"] == "L=8 of this series ended with oom"


@pytest.mark.fault("Ctrl-C", "the child ends, the tables are written, exit code 130; --resume goes on")
@pytest.mark.parametrize("times", [1, 2])
def test_an_interrupt_ends_the_child_and_keeps_what_is_finished(tmp_path, times):
    ours = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job would ignore it
    process = start(*SWEEP, "--out", tmp_path, target="quick_until_the_eighth", folder=tmp_path)
    signal.signal(signal.SIGINT, ours)
    wait_for_cells(tmp_path, 7, process)
    pid = wait_for_pid(tmp_path)
    for _ in range(times):
        process.send_signal(signal.SIGINT)
        time.sleep(0.2)
    code, output = finish(process)
    assert code == 130, output
    wait_for_the_end_of(pid)
    assert len((tmp_path / "decode.csv").read_text().splitlines()) == 8
    goes_on_to_its_end(tmp_path, 7)


@pytest.mark.fault("the disk is full before the first cell", "refused, exit code 2, no cell is run")
def test_a_disk_that_is_full_already_is_refused_before_the_first_cell(tmp_path):
    code, output = finish(start(*SWEEP, "--out", tmp_path, largest_file=1_000))
    assert code == 2, output
    assert "File too large" in output
    assert "suite.json" in output
    assert "[1/" not in output
    goes_on_to_its_end(tmp_path, 0, *SWEEP[1:], "--out", tmp_path)


@pytest.mark.fault("the disk is full in the middle of a run", "old files stay whole, exit code 3; --resume goes on")
@pytest.mark.parametrize("size", [9_000, 15_000])
def test_a_full_disk_leaves_old_files_whole_and_the_run_can_go_on(tmp_path, size):
    code, output = finish(start(*SWEEP, "--out", tmp_path, largest_file=size))
    assert code == 3, output
    assert "the results can no longer be written" in output
    assert f"--resume {tmp_path} goes on" in " ".join(output.split())
    kept = len(lengths(tmp_path))
    assert 0 < kept < CELLS
    assert (tmp_path / "journal.jsonl").read_bytes().endswith(b"\n")
    goes_on_to_its_end(tmp_path, kept)


@pytest.mark.fault("the folder vanishes in the middle of a run", "the run ends with exit code 3")
def test_a_folder_that_vanishes_ends_the_run(tmp_path):
    folder = tmp_path / "run"
    process = start(*SWEEP, "--out", folder, target="quick_until_the_eighth", folder=tmp_path)
    wait_for_pid(tmp_path)
    shutil.rmtree(folder)
    os.kill(wait_for_pid(tmp_path), signal.SIGKILL)
    code, output = finish(process)
    assert code == 3, output
    assert "was removed while the run went on" in output


@pytest.mark.fault("the folder cannot be written", "refused before the first cell, exit code 2")
@pytest.mark.parametrize("place", ["/proc/lengthscale", "/dev/null/run"])
def test_a_folder_that_cannot_be_made_is_refused_before_the_first_cell(place):
    code, output = finish(start(*SWEEP, "--out", place))
    assert code == 2, output
    assert "error: " in output
    assert "[1/" not in output


@pytest.mark.fault("two runs on one folder", "the second ends at once and names the first; a dead run's lock is free")
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


@pytest.mark.fault(
    "the journal is corrupt",
    "line and column are named, nothing is overwritten; --rerun keeps it aside",
)
def test_a_corrupt_journal_is_named_and_nothing_is_overwritten(tmp_path):
    assert finish(start(*SWEEP, "--out", tmp_path))[0] == 0
    path = tmp_path / "journal.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:4], lines[4].replace(b":", b"=", 1), *lines[5:]]))
    before = {each.name: each.read_bytes() for each in tmp_path.iterdir()}
    code, output = finish(start("run", "--resume", tmp_path))
    assert code == 2, output
    assert "journal.jsonl, line 5, column " in output
    assert {each.name: each.read_bytes() for each in tmp_path.iterdir()} == before
    code, output = finish(start("run", "--resume", tmp_path, "--rerun"))
    assert code == 0, output
    assert lengths(tmp_path) == list(range(1, CELLS + 1))
    assert (tmp_path / "journal.jsonl.aside1").read_bytes() == before["journal.jsonl"]


@pytest.mark.fault("a CSV is edited", "it is kept aside and made again from the journal")
def test_an_edited_csv_is_kept_aside_and_made_again(tmp_path):
    assert finish(start(*SWEEP, "--out", tmp_path))[0] == 0
    path = tmp_path / "decode.csv"
    whole = path.read_text()
    path.write_text(whole.replace(",ok,", ",better,", 1))
    goes_on_to_its_end(tmp_path, CELLS)
    assert path.read_text() == whole
    assert ",better," in (tmp_path / "decode.csv.aside1").read_text()
