"""On an accelerator one process measures the cells of a replicate, and many prepare them. Played on the CPU."""

import os
import time
from dataclasses import replace

import psutil
import pytest

from lengthscale.bench.host import machine, preparation, sweep
from lengthscale.bench.host.preparation import next_batch
from lengthscale.bench.host.runner import Runner
from lengthscale.bench.plan.cell import Cell
from lengthscale.bench.plan.settings import Settings
from lengthscale.bench.plan.status import Status
from tests.helpers import children
from tests.helpers.quick_run import FACTS
from tests.helpers.serving import paper

CELL = Cell("forward", "rnn", "tiny", "auto", 16, 1, "float32", 0, "text", 0)
TRAINED = replace(CELL, measure="quality")


@pytest.fixture
def runner():
    runner = Runner(Settings(timeout_s=20), target=children.good, serving=children.serves)
    runner.hold()
    yield runner
    runner.close()


def measured(runner, cell, replicate=0):
    """(the record, the number of the process that measured)."""
    stages = []
    record = runner.measure(cell, replicate, stages.append)
    return record, int(stages[-1])


def test_the_cells_of_a_replicate_share_a_process_and_replicates_do_not(runner):
    pids = [
        measured(runner, replace(CELL, measure="quality", seed=seed), replicate)[1]
        for replicate in (0, 1)
        for seed in (0, 1, 2)
    ]
    assert len(set(pids[:3])) == len(set(pids[3:])) == 1
    assert pids[0] != pids[3]
    assert not psutil.pid_exists(pids[0])


@pytest.mark.fault("a child is killed (as Linux does when memory is full)")
@pytest.mark.parametrize(
    ("model", "status", "goes_on"),
    [("lstm", "killed", False), ("gru", "oom", False), ("vit", "unsupported", True), ("rnn", "ok", True)],
)
def test_what_ends_badly_costs_the_process_and_a_row(runner, model, status, goes_on):
    _, before = measured(runner, TRAINED)
    record, same = measured(runner, replace(TRAINED, model=model))
    assert record.status == status
    assert same == before
    record, after = measured(runner, replace(TRAINED, seed=1))
    assert record.status == "ok"
    assert (after == before) == goes_on


@pytest.mark.fault("a child hangs: silent, sending, printing, ignoring TERM")
def test_one_that_hangs_is_ended_at_its_deadline():
    runner = Runner(Settings(timeout_s=1.0), serving=children.serves)
    runner.hold()
    runner.measure(TRAINED)  # the server is up
    record, pid = measured(runner, replace(TRAINED, model="mamba"))
    assert (record.status, record.message) == ("timeout", "passed the deadline of 1 s")
    assert not psutil.pid_exists(pid)
    runner.close()


def test_many_are_prepared_at_once_while_nothing_holds_the_device(runner, monkeypatch):
    monkeypatch.setattr(preparation.os, "cpu_count", lambda: 5)
    _, holder = measured(runner, TRAINED)
    cells = [replace(CELL, seed=seed) for seed in range(12)]
    started = time.monotonic()
    done = runner.prepare([("compile", cell) for cell in cells])
    assert [each.status for each in done] == [Status.OK] * 12
    assert time.monotonic() - started < 12 * 0.3  # one after the other
    assert not psutil.pid_exists(holder)
    assert not [child for child in psutil.Process().children(recursive=True) if child.name() == "sleep"]
    stages = []
    assert runner.measure(cells[0], 0, stages.append).status == "ok"
    assert stages[0] == "measure"  # and is not compiled again


def test_what_could_not_be_compiled_is_a_row(runner):
    cell = replace(CELL, model="rwkv4")
    runner.prepare([("compile", cell)])
    record = runner.measure(cell)
    assert (record.status, record.message) == ("skipped", "planned memory is over the limit")


def test_a_server_that_dies_while_preparing_costs_its_task_alone(monkeypatch):
    monkeypatch.setattr(preparation.os, "cpu_count", lambda: 3)
    runner = Runner(Settings(timeout_s=20), serving=children.serves)
    runner.hold()
    tasks = [("measure", replace(CELL, model=model)) for model in ("rnn", "lstm", "rnn", "rnn", "lstm", "rnn")]
    statuses = [done.status for done in runner.prepare(tasks)]
    assert statuses == ["ok", "killed", "ok", "ok", "killed", "ok"]
    runner.close()


def test_a_batch_begins_at_the_cell_that_comes(monkeypatch):
    cells = [replace(CELL, seed=seed) for seed in range(6)]
    monkeypatch.setattr(preparation, "BATCH", 3)
    assert next_batch(cells[0], cells, set()) == cells[:3]
    assert next_batch(cells[3], cells, set(cells[:3])) == cells[3:]
    assert next_batch(cells[4], cells, {cells[3]}) == cells[4:]  # an earlier one has failed meanwhile


class Played(Runner):
    """A runner on a machine that says it has a GPU."""

    def __init__(self, settings):
        super().__init__(settings, target=children.good, serving=children.serves)

    def probe(self):
        return {**FACTS, "backend": "gpu", "device_kind": "played"}

    def peaks(self):
        return {"copy_bytes_per_s": 1.0}


@pytest.mark.slow
def test_a_sweep_on_an_accelerator(tmp_path, monkeypatch):
    """Prepared, measured, checked: a wrong method and one that does not fit are rows, and all processes end."""
    from lengthscale.bench.plan.request import read_request

    monkeypatch.setattr(sweep, "Runner", Played)
    monkeypatch.setattr(sweep.machine, "busy_cores", lambda seconds: (0.0, ""))
    monkeypatch.setenv("LENGTHSCALE_KNOWN", str(tmp_path / "known"))
    given = {
        "suite": "quick",
        "measures": "forward",
        "models": "rnn,lstm,rwkv4,s4d",
        "lengths": "16,32",
        "replicates": "2",
    }
    for number in (1, 2):
        request, mistakes = read_request({**given, "out": str(tmp_path / f"run{number}")})
        assert not mistakes
        _, results, interrupted = sweep.run_sweep(request, paper())
        assert not interrupted
        statuses = {(result.cell.model, result.cell.length): result.status for result in results}
        assert statuses == {
            ("rnn", 16): "ok",
            ("rnn", 32): "ok",
            ("lstm", 16): "killed",
            ("lstm", 32): "skipped",
            ("rwkv4", 16): "skipped",
            ("rwkv4", 32): "skipped",
            ("s4d", 16): "incorrect",
            ("s4d", 32): "incorrect",
        }
        assert {len(result.replicates) for result in results if result.status == "ok"} == {2}
    assert not [each for each in psutil.Process(os.getpid()).children() if "serves" in " ".join(each.cmdline())]
    (known,) = (tmp_path / "known").iterdir()
    assert "copy_bytes_per_s" in known.read_text()


@pytest.mark.slow
def test_real_cells_in_one_process():
    """The worker itself, on the CPU: each cell leaves nothing that another one would meet."""
    runner = Runner(Settings(timeout_s=120, min_samples=2, min_seconds=0.0, train_tokens=64))
    runner.hold()
    cells = [CELL, replace(CELL, measure="train"), replace(CELL, measure="decode"), replace(TRAINED, model="lstm")]
    runner.prepare([("compile", cell) for cell in cells[:3]])
    for replicate in (0, 1):
        for cell in cells:
            record = runner.measure(cell, replicate)
            assert record.status == "ok", record.message
            assert record.row.time_median_ms
            assert set(record.stages_s) >= {"start", "build"}
            assert sum(record.stages_s.values()) == pytest.approx(record.wall_s, abs=0.1)
    runner.close()


def test_a_gpu_that_jax_does_not_use_is_named(tmp_path, monkeypatch):
    """A wrong driver or a missing package makes jax fall back to the CPU, without an error."""
    driver = tmp_path / "version"
    driver.touch()
    monkeypatch.setattr(machine, "ACCELERATORS", ((str(driver), "an NVIDIA GPU", "cuda13"),))
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    expected = f"an NVIDIA GPU ({driver}); see `doctor`, and try pip install 'jax[cuda13]'"
    assert machine.unused_accelerator("cpu") == expected
    assert machine.unused_accelerator("gpu") is None
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")  # the user has asked for it
    assert machine.unused_accelerator("cpu") is None
    driver.unlink()
    monkeypatch.delenv("JAX_PLATFORMS")
    assert machine.unused_accelerator("cpu") is None
