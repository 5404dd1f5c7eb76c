"""What is not measured is compiled once: another seed reads what the first one left in the run's cache."""

import jax
import pytest

from lengthscale.bench.device import compilation, learner, program, worker
from lengthscale.bench.device.evaluation import score
from lengthscale.bench.device.training import train
from lengthscale.bench.device.workloads import make_workload
from lengthscale.bench.plan.cell import Cell
from lengthscale.bench.plan.measures import MEASURES
from lengthscale.bench.plan.settings import Settings
from lengthscale.bench.results.messages import Measured

OPTIONS = {
    "jax_enable_compilation_cache": False,
    "jax_persistent_cache_min_compile_time_secs": 0.0,
    "jax_persistent_cache_min_entry_size_bytes": -1,
}


@pytest.fixture
def cache(tmp_path):
    """A folder as the runner names one to its children."""
    changed = OPTIONS | {"jax_compilation_cache_dir": str(tmp_path)}
    before = {name: getattr(jax.config, name) for name in changed}
    for name, value in changed.items():
        jax.config.update(name, value)
    yield tmp_path
    for name, value in before.items():
        jax.config.update(name, value)


@pytest.mark.parametrize(
    "measure", ["train", *(pytest.param(each, marks=pytest.mark.slow) for each in ("forward", "decode", "generate"))]
)
def test_a_replicate_runs_what_was_compiled_before(measure, cache, monkeypatch):
    cell = Cell(measure, "rnn", "tiny", "auto", 16, 1, "float32", 0, "text", 0)
    settings = Settings(min_samples=1, max_samples=1, new_tokens=2)

    def ignore(stage):
        pass

    assert worker.run("compile", cell, settings, ignore).status == "ok"
    stored = set(cache.iterdir())
    assert len(stored) >= 3  # its step, and what makes its state under two names

    def never(*args):
        raise AssertionError("compiled or traced again")

    monkeypatch.setattr(learner, "build", never)  # or a part of tracing would not be in trace_s, either
    monkeypatch.setattr(program, "compile_program", never)
    monkeypatch.setattr(compilation, "store", never)
    done = worker.run("measure", cell, settings, ignore)
    assert done.status == "ok"
    assert set(cache.iterdir()) == stored
    assert isinstance(done.content, Measured)
    [row] = done.content.rows
    assert row.number("compile_s") > 0  # of the process that compiled it
    assert row.number("time_median_ms") > 0


def trained(seed):
    cell = Cell("quality", "rnn", "tiny", "auto", 16, 1, "float32", 0, "text", seed)
    workload = make_workload(cell)
    training = train(cell, workload, Settings(train_tokens=64, step_tokens=16), lambda stage: None)  # pyright: ignore[reportArgumentType]
    score(training.model.call, workload.last_scored(4))
    return training.row


def files(folder):
    """The files of compiled programs, each of which may have several names."""
    return {path.stat().st_ino for path in folder.iterdir() if not path.name.endswith(("-atime", ".choice"))}


def test_seeds_share_their_programs(cache):
    first = trained(0)
    compiled = files(cache)
    assert len(compiled) >= 3  # its parameters, its step, its evaluation
    second = trained(1)
    assert files(cache) == compiled
    assert first["train_loss"] != second["train_loss"]
    for measure in MEASURES.values():  # every measure that trains has the columns of a training
        assert not measure.trains or not set(first) - {"n_params", *measure.columns}
    assert "compile_s" not in first  # which may be another cell's
