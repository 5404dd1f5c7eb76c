"""What is not measured is compiled once: another seed reads what the first one left in the run's cache."""

import jax
import pytest

from lengthscale.bench.device.evaluation import score
from lengthscale.bench.device.training import train
from lengthscale.bench.device.workloads import make_workload
from lengthscale.bench.plan.cell import Cell
from lengthscale.bench.plan.settings import Settings

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


def trained(seed):
    cell = Cell("quality", "rnn", "tiny", "auto", 16, 1, "float32", 0, "text", seed)
    workload = make_workload(cell)
    training = train(cell, workload, Settings(train_tokens=64, step_tokens=16), lambda stage: None)  # pyright: ignore[reportArgumentType]
    score(training.model.call, workload.last_scored(4))
    return training.row


def test_seeds_share_their_programs(cache):
    first = trained(0)
    compiled = {path.name for path in cache.iterdir() if not path.name.endswith("-atime")}
    assert len(compiled) >= 3  # its parameters, its step, its evaluation
    second = trained(1)
    assert {path.name for path in cache.iterdir() if not path.name.endswith("-atime")} == compiled
    assert first["train_loss"] != second["train_loss"]
    assert "compile_s" not in first  # which may be another cell's
