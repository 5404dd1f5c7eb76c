"""Children that hang, die, raise or leave others behind each become a row, and nothing of them stays."""

import time
from dataclasses import replace

import psutil
import pytest

from bench.cell import Cell
from bench.runner import Runner
from bench.suites import Settings
from tests import children

CELL = Cell("forward", "rnn", "tiny", "auto", 16, 1, "float32", 0, "text", 0)


def run(target, timeout_s=20.0, cell=CELL):
    return Runner(Settings(timeout_s=timeout_s), target=target).measure(cell)


def test_a_good_child():
    stages = []
    record = Runner(Settings(), target=children.good).measure(CELL, stages.append)
    assert record["status"] == "ok"
    assert record["cell"]["model"] == "rnn"
    assert stages == ["sample"]


@pytest.mark.parametrize("target", [children.sleeps, children.talks_for_ever, children.ignores_term])
def test_the_deadline_is_absolute(target):
    Runner(Settings(timeout_s=60), target=children.good).measure(CELL)  # the forkserver is up
    started = time.monotonic()
    record = run(target, timeout_s=1.5)
    assert record["status"] == "timeout"
    assert "1.5 s" in record["message"]
    assert time.monotonic() - started < 8
    if target is children.sleeps:
        assert record["stage"] == "compile"


def test_a_killed_child():
    record = run(children.is_killed)
    assert (record["status"], record["stage"]) == ("killed", "sample")
    assert "SIGKILL" in record["message"]


def test_a_child_that_exits_leaves_its_last_words():
    record = run(children.exits)
    assert record["status"] == "error"
    assert "exit code 7" in record["message"]
    assert "the last words" in record["message"]


def test_no_grandchild_is_left(tmp_path):
    record = run(children.leaves_a_grandchild, cell=replace(CELL, data=str(tmp_path / "pid")))
    assert record["status"] == "ok"
    pid = int((tmp_path / "pid").read_text())
    for _ in range(50):
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return
        time.sleep(0.1)
    pytest.fail("the grandchild lives")


def test_a_worker_that_raises_becomes_an_error_with_its_stage():
    record = Runner(Settings(timeout_s=60)).measure(replace(CELL, size="huge"))
    assert (record["status"], record["stage"]) == ("error", "build")
    assert "unknown size 'huge'" in record["message"]


def test_a_program_larger_than_the_memory_is_skipped_before_it_is_allocated():
    record = Runner(Settings(timeout_s=60, mem_limit_share=1e-9)).measure(CELL)
    assert record["status"] == "skipped"
    assert "planned memory" in record["message"]


def test_a_real_cell():
    record = Runner(Settings(timeout_s=60, min_seconds=0.01)).measure(CELL)
    assert record["status"] == "ok", record["message"]
    row = record["rows"][0]
    assert row["time_median_ms"] > 0
    assert row["state_bytes"] == 4 + 2 * 32 * 4  # the position, and h of two blocks
    assert row["flops"] > 16 * 2 * row["n_params"] * 0.5
    assert len(record["samples_ms"]) == row["n_samples"]
