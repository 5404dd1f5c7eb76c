"""A training that does not fit into the memory is tried with rematerialisation; what was chosen is said."""

from dataclasses import replace

import pytest

from lengthscale.bench.device.program import compile_program
from lengthscale.bench.device.training import make_training
from lengthscale.bench.device.workloads import make_endless_workload
from lengthscale.bench.host.runner import Runner
from lengthscale.bench.plan.cell import Cell
from lengthscale.bench.plan.settings import Settings
from lengthscale.bench.plan.status import Status

SETTINGS = Settings(timeout_s=200, min_samples=1, max_samples=1, min_seconds=0.0, replicates=2)
CELL = Cell("train", "rnn", "mini", "auto", 2048, 1, "float32", 0, "text", 0)


def planned(remat):
    workload = make_endless_workload(CELL)
    program = make_training(CELL, workload, 1e-4, workload.example(), remat=remat)
    return compile_program(program, lambda stage: None).planned_bytes or 0


@pytest.fixture(scope="module")
def bytes_of():
    found = {remat: planned(remat) for remat in ("none", "block")}
    assert found["block"] < 0.7 * found["none"]
    return found


def measured(cell=CELL, **changes):
    runner = Runner(replace(SETTINGS, **changes))
    return [runner.measure(cell, replicate) for replicate in (0, 1)]


@pytest.mark.slow
def test_what_fits_keeps_everything():
    for record in measured():
        assert (record.status, record.row.remat, record.message) == (Status.OK, "none", "")


def test_where_that_is_too_much_blocks_are_computed_again_and_the_row_says_so(bytes_of):
    limit = (bytes_of["none"] + bytes_of["block"]) // 2
    for record in measured(mem_limit_bytes=limit):
        assert (record.status, record.row.remat) == (Status.OK, "block"), record.message
        assert record.message.startswith("it is leaner, since without: planned memory ")
        assert record.row.mem_planned_bytes == bytes_of["block"]
        assert record.row.flops


@pytest.mark.slow
def test_nothing_else_is_tried_where_the_user_has_chosen(bytes_of):
    limit = (bytes_of["none"] + bytes_of["block"]) // 2
    record, _ = measured(mem_limit_bytes=limit, remat="none")
    assert record.status == Status.SKIPPED
    record, _ = measured(remat="full")
    assert (record.status, record.row.remat) == (Status.OK, "full")


def test_where_nothing_fits_the_cell_is_skipped():
    record, _ = measured(mem_limit_bytes=10**6)
    assert record.status == Status.SKIPPED
    assert record.message.startswith("planned memory")


def test_a_model_without_blocks_has_nothing_to_compute_again():
    record, _ = measured(replace(CELL, model="rnn-plain", size="tiny", length=64), remat="block")
    assert (record.status, record.message) == (Status.UNSUPPORTED, "RecurrentModel has no blocks for remat block")


@pytest.mark.slow
def test_quality_trains_so_as_well(bytes_of):
    cell = replace(CELL, measure="quality", length=2048)
    changes = {"train_tokens": 2 * 2048, "contexts": (1, 4), "targets": 64, "windows": 4}
    limit = (bytes_of["none"] + bytes_of["block"]) // 2
    record = Runner(replace(SETTINGS, mem_limit_bytes=limit, **changes)).measure(cell)
    assert (record.status, record.row.remat) == (Status.OK, "block"), record.message
