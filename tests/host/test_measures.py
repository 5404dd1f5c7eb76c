"""Each measure as a run has it, in processes of its own that share programs: its check, and its measurement."""

import pytest

from lengthscale.bench.host.runner import Runner
from lengthscale.bench.plan.cell import Cell
from lengthscale.bench.plan.measures import MEASURES
from lengthscale.bench.plan.settings import Settings

SETTINGS = Settings(
    timeout_s=60,
    min_seconds=0.01,
    max_seconds=0.1,
    train_tokens=512,
    step_tokens=128,
    learning_rate=1e-3,
    contexts=(1, 4),
    targets=256,
    new_tokens=4,
    mem_limit_bytes=2**26,  # where the frontier soon is
)
DATA = {"recall": "mqar:pairs=4,vocab=32", "tracking": "parity", "resampling": "mnist"}
ONE_MODEL = {"discretisation": ("s4d",), "resampling": ("s4d",)}  # a state space model whose step can be changed


@pytest.mark.slow
@pytest.mark.parametrize(
    ("measure", "model"),
    # transformer learns a table of positions, so that programs of different lengths have different parameters
    [(measure, model) for measure in MEASURES for model in ONE_MODEL.get(measure, ("transformer", "mamba"))],
)
def test_a_run_of_each_measure(measure, model):
    length = 196 if measure == "resampling" else 64
    cell = Cell(measure, model, "tiny", "auto", length, 1, "float32", 0, DATA.get(measure, "text"), 0)
    runner = Runner(SETTINGS)
    checked = runner.check(cell)
    assert checked.status == "ok", checked.message
    for replicate in range(2 if MEASURES[measure].replicated else 1):
        record = runner.measure(cell, replicate)
        assert record.status == "ok", record.message
        assert record.rows
