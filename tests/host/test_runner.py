"""Children that hang, die, raise or leave others behind each become a row, and nothing of them stays."""

import re
import time
from dataclasses import replace

import numpy as np
import psutil
import pytest

from lengthscale.bench.figures.catalog import figures_of, select
from lengthscale.bench.figures.mpl.sheet import render
from lengthscale.bench.figures.mpl.theme import plt
from lengthscale.bench.figures.run import read_run
from lengthscale.bench.figures.spec import Sheet
from lengthscale.bench.figures.style import LIGHT
from lengthscale.bench.host import process
from lengthscale.bench.host.runner import Runner
from lengthscale.bench.plan.cell import Cell
from lengthscale.bench.plan.settings import Settings
from lengthscale.bench.results.codec import csv_of
from lengthscale.bench.results.result import results_of
from tests.helpers import children
from tests.helpers.runs import CONDITIONS, changed

CELL = Cell("forward", "rnn", "tiny", "auto", 16, 1, "float32", 0, "text", 0)
TRAINED = replace(CELL, measure="quality")


def run(target, timeout_s=20.0, cell=CELL):
    return Runner(Settings(timeout_s=timeout_s), target=target).measure(cell)


def test_a_good_child():
    stages = []
    record = Runner(Settings(), target=children.good).measure(TRAINED, on_stage=stages.append)
    assert record.status == "ok"
    assert record.cell.model == "rnn"
    assert stages == ["sample"]


def test_a_process_that_has_compiled_measures_nothing():
    stages = []
    runner = Runner(Settings(), target=children.tells_its_task)
    for replicate in range(3):
        runner.measure(CELL, replicate, stages.append)
    assert stages == ["compile", "measure", "measure", "measure"]
    runner.measure(TRAINED, 0, stages.append)  # it has one process
    assert stages[4:] == ["measure"]
    resumed = Runner(Settings(), target=children.tells_its_task)  # what was compiled has gone with the other run
    resumed.measure(CELL, 2, stages.append)
    assert stages[5:] == ["compile", "measure"]


def test_replicates_have_forkservers_of_their_own():
    """Children of one server have one layout of memory, and do not differ as independent runs do."""
    servers = []
    runner = Runner(Settings(), target=children.tells_its_server)
    for replicate in (0, 0, 1, 1, 2):
        runner.measure(TRAINED, replicate, servers.append)
    assert servers[0] == servers[1] != servers[2] == servers[3] != servers[4] != servers[0]
    assert [psutil.pid_exists(int(server)) for server in servers] == [False] * 4 + [True]


@pytest.mark.fault("a child hangs: silent, sending, printing, ignoring TERM")
@pytest.mark.parametrize(
    "target", [children.sleeps, children.sends_for_ever, children.prints_for_ever, children.ignores_term]
)
def test_the_deadline_is_absolute(target, monkeypatch):
    monkeypatch.setattr(process, "GRACE_S", 0.5)
    Runner(Settings(timeout_s=60), target=children.good).measure(CELL)  # the forkserver is up
    started = time.monotonic()
    record = run(target, timeout_s=1.0)
    assert record.status == "timeout"
    assert record.message == "passed the deadline of 1 s"
    assert time.monotonic() - started < 60  # by itself it would not end
    if target is children.sleeps:
        assert record.stage == "compile"


@pytest.mark.fault("a compilation takes too long")
def test_compiling_has_its_own_deadline():
    settings = Settings(timeout_s=60, compile_timeout_s=0.6)
    record = Runner(settings, target=children.sleeps).measure(CELL)
    assert (record.status, record.stage) == ("timeout", "compile")
    assert record.message == "passed the deadline of 0.6 s for compiling"
    assert record.wall_s < 20
    assert Runner(settings, target=children.samples_after_compiling).measure(CELL).status == "ok"


@pytest.mark.fault("10,000 cells in one journal")
def test_a_cells_process_starts_from_one_that_has_imported_jax():
    stages = []
    Runner(Settings(), target=children.tells_its_origin).measure(TRAINED, on_stage=stages.append)
    assert stages == ["forked by a server: True, with jaxlib: True"]


def test_the_load_is_noted_before_and_after():
    record = Runner(Settings(), target=children.good).measure(CELL)
    assert record.load_before >= 0
    assert record.load_after >= 0


@pytest.mark.fault("a child is killed (as Linux does when memory is full)")
def test_a_killed_child():
    record = run(children.is_killed)
    assert (record.status, record.stage) == ("killed", "sample")
    assert "SIGKILL" in record.message


@pytest.mark.fault("a child's memory fault (SIGSEGV)")
def test_a_segmentation_fault():
    record = run(children.reads_where_nothing_is)
    assert (record.status, record.stage) == ("killed", "sample")
    assert record.message.startswith("ended by SIGSEGV")
    assert run(children.good).status == "ok"


@pytest.mark.fault("a child cannot import what it needs")
def test_an_import_error():
    record = run(children.cannot_import_the_worker)
    assert (record.status, record.stage) == ("error", "start")
    assert "lengthscale.bench.device.worker" in record.message
    assert run(children.good).status == "ok"


@pytest.mark.fault("a child is out of memory (RESOURCE_EXHAUSTED)")
def test_out_of_memory():
    cell = replace(CELL, measure="train", length=16_384, batch=16)
    record = run(children.has_little_memory, timeout_s=60, cell=cell)
    assert record.status == "oom", record
    assert "memory" in record.message
    assert record.rows == ()


@pytest.mark.fault("a loss is not finite")
def test_a_loss_that_is_not_finite(tmp_path):
    settings = Settings(timeout_s=60, learning_rate=1e30, train_tokens=256)
    record = Runner(settings).measure(replace(CELL, measure="quality"))
    assert record.status == "nan", record
    assert re.fullmatch(r"the loss is (nan|inf) at step \d+", record.message)
    [row] = record.rows
    assert row.number("time_median_ms") > 0
    assert len(record.samples_ms) == row.n_samples == 14  # of 16 steps, two warm up
    assert row.loss is None
    assert row.train_loss is None

    gru = replace(CELL, measure="quality", model="gru")
    rows = tuple(changed(row, context=context, loss=2.0) for context in (1, 4))
    both = [
        changed(each, environment=CONDITIONS) for each in (changed(record, cell=gru, status="ok", rows=rows), record)
    ]
    (tmp_path / "quality.csv").write_text(csv_of(results_of(both)))
    (figure,) = select(figures_of(read_run(tmp_path)), "quality", "loss")
    (axes, *_) = render(Sheet((figure,), ()), LIGHT).axes
    curves = [line.get_color() for line in axes.lines if np.array_equal(line.get_ydata(), [2.0, 2.0])]
    assert curves == [LIGHT.colour("gru")]
    assert [line.get_marker() for line in axes.lines if line.get_color() == LIGHT.colour("rnn")] == ["x"]
    assert "rnn: nan at 16" in [text.get_text() for text in axes.texts]
    plt.close("all")


@pytest.mark.fault("a child exits without a message")
def test_a_child_that_exits_leaves_its_last_words():
    record = run(children.exits)
    assert record.status == "error"
    assert "exit code 7" in record.message
    assert record.message.endswith("the last words")
    assert len(record.message) < 2100


@pytest.mark.fault("a child leaves a grandchild")
def test_no_grandchild_is_left(tmp_path):
    record = run(children.leaves_a_grandchild, cell=replace(CELL, data=str(tmp_path / "pid")))
    assert record.status == "ok"
    pid = int((tmp_path / "pid").read_text())
    for _ in range(50):
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return
        time.sleep(0.1)
    pytest.fail("the grandchild lives")


@pytest.mark.fault("a child raises")
def test_a_worker_that_raises_becomes_an_error_with_its_stage():
    record = Runner(Settings(timeout_s=60)).measure(replace(CELL, size="huge"))
    assert (record.status, record.stage) == ("error", "build")
    assert "huge' is not a folder" in record.message


@pytest.mark.fault("a program is larger than the memory")
def test_a_program_larger_than_the_memory_is_skipped_before_it_is_allocated():
    record = Runner(Settings(timeout_s=60, mem_limit_share=1e-9)).measure(CELL)
    assert record.status == "skipped"
    assert "planned memory" in record.message


def test_a_real_cell():
    record = Runner(Settings(timeout_s=60, min_seconds=0.01)).measure(CELL)
    assert record.status == "ok", record.message
    row = record.row
    assert row.number("time_median_ms") > 0
    assert row.state_bytes == 4 + 2 * 32 * 4  # the position, and h of two blocks
    assert row.number("flops") > 16 * 2 * row.number("n_params") * 0.5
    assert len(record.samples_ms) == row.n_samples
