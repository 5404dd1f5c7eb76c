"""A cell's replicates combined: medians of medians, Student's t over replicates, flags, failures."""

from dataclasses import replace

import numpy as np
import pytest

from lengthscale.bench.results.record import Row
from lengthscale.bench.results.result import results_of
from tests.helpers.runs import CELL, changed, made


def replicate(number, ms, waited=(), **fields):
    """A replicate of 5 samples of `ms`. fields: of its row."""
    row = Row(time_median_ms=ms, tokens_per_s=16e3 / ms, flops_per_s=1e9 / ms, flops=10**6, **fields)
    return made(CELL, replicate=number, rows=(row,), samples_ms=(ms,) * 5, waited_ms=waited)


def combined(*records):
    (result,) = results_of(records)
    return result


def test_the_median_of_replicates_with_students_interval():
    row = combined(replicate(0, 10.0), replicate(1, 11.0), replicate(2, 10.5)).row
    logs = np.log([10.0, 11.0, 10.5])
    half = 4.302653 * logs.std(ddof=1) / np.sqrt(3)
    assert row.time_median_ms == 10.5
    assert (row.time_low_ms, row.time_high_ms) == pytest.approx(np.exp(logs.mean() + np.array([-half, half])))
    assert (row.n_replicates, row.n_samples, row.flags) == (3, 15, "noisy")
    assert row.tokens_per_s == pytest.approx(16e3 / 10.5)
    assert row.flops_per_s == pytest.approx(1e9 / 10.5)
    assert row.flops == 10**6


def test_fewer_than_three_replicates_have_no_interval():
    row = combined(replicate(0, 10.0), replicate(1, 10.1)).row
    assert row.time_median_ms == pytest.approx(10.05)
    assert (row.time_low_ms, row.time_high_ms, row.flags) == (None, None, "few")


def test_disturbed_samples_are_kept_marked_and_not_averaged():
    """Two of five samples waited for a core."""
    first = changed(replicate(0, 10.0), samples_ms=(10.0, 30.0, 10.0, 30.0, 10.0), waited_ms=(0.1, 20, 0.1, 20, 0.1))
    result = combined(first, replicate(1, 10.1, (0.0,) * 5), replicate(2, 10.2, (0.0,) * 5))
    assert result.medians_ms == (10.0, 10.1, 10.2)
    assert (result.row.n_samples, result.row.n_disturbed, result.row.flags) == (15, 2, None)
    assert result.row.time_p90_ms < 11
    assert result.row.time_all_ms == 10.1


@pytest.mark.parametrize(
    "disturbed",
    [
        {"samples_ms": (20.0,) * 5, "waited_ms": (15.0,) * 5},
        {"samples_ms": (20.0,) * 5, "waited_ms": (15.0,) * 5, "other_cores": 0.2},
        {"samples_ms": (20.0,) * 5, "stolen_ms": (15.0,) * 5},
        {"samples_ms": (20.0,) * 5, "throttled": ("hw_slowdown",) * 5},
        {"other_cores": 0.9},
    ],
)
def test_a_replicate_without_enough_undisturbed_samples_flags_the_cell(disturbed):
    records = [changed(replicate(0, 10.0), **disturbed), replicate(1, 10.0), replicate(2, 10.0)]
    result = combined(*records)
    assert result.is_disturbed
    assert "disturbed" in (result.row.flags or "")
    assert result.row.time_median_ms == 10.0


def test_threads_that_wait_for_each_other_on_a_quiet_machine_are_not_disturbed():
    records = [changed(replicate(n, 10.0, (9.0,) * 5), other_cores=0.01) for n in range(3)]
    assert not combined(*records).is_disturbed
    assert combined(*records).row.n_disturbed == 0


def test_compile_times_are_those_of_the_replicate_that_compiled():
    row = combined(replicate(0, 1.0), replicate(1, 1.0, compile_s=2.5), replicate(2, 1.0)).row
    assert row.compile_s == 2.5


def test_memory_has_an_interval_over_replicates():
    row = combined(*(replicate(n, 1.0, mem_peak_bytes=mb * 10**6) for n, mb in enumerate((100, 110, 105)))).row
    assert row.mem_peak_bytes == 105e6
    assert row.mem_peak_low_bytes < 100e6
    assert row.mem_peak_high_bytes > 110e6


def test_a_failure_of_any_replicate_is_the_cells():
    killed = made(CELL, "killed", replicate=1, stage="sample", message="ended by SIGKILL")
    result = combined(replicate(0, 1.0), killed)
    assert (result.status, result.stage, result.message) == ("killed", "sample", "replicate 2: ended by SIGKILL")
    assert result.row.n_replicates == 1
    assert combined(made(CELL, "oom", message="no room")).message == "no room"


def test_a_record_of_an_older_schema_is_one_replicate():
    old = changed(replicate(0, 10.0), schema=2, samples_ms=(9.0, 10.0, 12.0))
    row = combined(old).row
    assert (row.time_median_ms, row.n_replicates, row.n_disturbed, row.time_low_ms) == (10.0, 1, None, None)


def test_results_are_in_the_order_of_tables():
    cells = [replace(CELL, model=model, length=length) for length in (32, 16) for model in ("mamba", "rnn")]
    results = results_of(made(cell, rows=(Row(),)) for cell in cells)
    assert [(each.cell.model, each.cell.length) for each in results] == [
        ("rnn", 16),
        ("rnn", 32),
        ("mamba", 16),
        ("mamba", 32),
    ]
