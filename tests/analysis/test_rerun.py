"""The rerun test on runs whose truth is known."""

from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from lengthscale.bench.__main__ import main
from lengthscale.bench.analysis import rerun
from lengthscale.bench.plan.cell import Cell
from lengthscale.bench.results.folder import RunFolder
from lengthscale.bench.results.record import Row
from lengthscale.bench.results.result import results_of
from tests.helpers.runs import made, written_run

CELL = Cell("train", "mamba", "small", "auto", 256, 1, "float32", 0, "text", 0)
COSTS = {
    "transformer": lambda length: 1 + 0.05 * length + 2e-5 * length**2,
    "mamba": lambda length: 3 + 0.09 * length,
}


def records_of(seed, level=1.0, spread=0.02, own=0.0):
    """Both models at four lengths, in 3 replicates. level: of the whole run; own: how much that of a cell varies."""
    random, records = np.random.default_rng(seed), []
    for model, cost in COSTS.items():
        for length in (256, 1024, 4096, 16_384):
            cell = replace(CELL, model=model, length=length)
            of_cell = level * float(np.exp(own * random.standard_normal()))
            for number in range(3):
                ms = of_cell * cost(length) * float(np.exp(spread * random.standard_normal()))
                row = Row(time_median_ms=ms, n_samples=5, tokens_per_s=length / ms * 1e3, mem_peak_bytes=1000 * length)
                records.append(made(cell, replicate=number, rows=(row,), samples_ms=(ms,) * 5))
    return records


def run(folder, *settings, **more):
    return written_run(folder, records_of(*settings, **more))


def results(*settings, **more):
    return results_of(records_of(*settings, **more))


def test_runs_that_differ_in_their_replicates_alone_are_confirmed():
    found = rerun.tallies([results(seed) for seed in range(8)])
    assert len(found["train: time"].inside) == 8 * 7 * 8
    assert 0.8 < np.mean(found["train: time"].inside) < 0.95  # 88% by theory
    assert 0.8 < np.mean(found["train: exponent"].inside) <= 1
    assert 0.8 < np.mean(found["train: crossing"].inside) <= 1
    assert np.mean(found["train: peak memory"].inside) == 1
    assert 0.005 < np.median(found["train: time"].changes) < 0.03
    assert np.max(found["train: peak memory"].widths) < 1e-9


def test_another_level_of_a_run_is_not_confirmed_but_its_exponents_and_crossings_are():
    found = rerun.tallies([results(0, spread=0.002), results(1, level=1.2, spread=0.002)])
    assert np.mean(found["train: time"].inside) == 0
    assert np.median(found["train: time"].changes) == pytest.approx(np.log(1.2), abs=0.01)
    assert np.mean(found["train: exponent"].inside) > 0.5
    assert np.mean(found["train: crossing"].inside) > 0.4


@pytest.mark.parametrize(("shared", "own"), [(0.0, 0.0), (0.06, 0.0), (0.0, 0.06), (0.04, 0.05)])
def test_the_levels_of_runs_are_found(shared, own):
    random = np.random.default_rng(0)
    of_runs = np.exp(shared * random.standard_normal(100))
    found = rerun.levels([results(seed, level, own=own) for seed, level in enumerate(of_runs)], "train")
    assert found
    assert found.shared == pytest.approx(shared, abs=0.01)
    assert found.whole == pytest.approx(np.hypot(shared, own), abs=0.01)


def test_two_changed_runs_are_an_alarm(tmp_path):
    folders = [run(tmp_path / "a", 0), run(tmp_path / "b", 1, level=2.5)]
    assert "8 of 8 cells slower or faster, in 1 of 1 comparisons" in rerun.alarms(folders)


def test_the_command_prints_the_table_of_all_runs(tmp_path, capsys):
    a, b, c = (str(run(tmp_path / name, seed)) for seed, name in enumerate("abc"))
    assert main(["validate", a, "--against", f"{b},{c}"]) == 0
    said = capsys.readouterr().out
    assert "3 runs: each run's 95% intervals" in said
    [line] = [line for line in said.splitlines() if "train: time" in line]
    assert " 48 " in line
    assert "0 of 24 cells slower or faster, in 0 of 3 comparisons; a slowdown of 1." in said
    (tmp_path / "b" / "journal.jsonl").write_text("no journal\n")
    assert main(["validate", a, "--against", b]) == 1
    assert "runs: each" not in capsys.readouterr().out


def test_what_one_run_alone_has_is_left_out(tmp_path):
    alone = written_run(tmp_path / "b", [made(CELL, rows=(Row(time_median_ms=1.0),), samples_ms=(1.0,))])
    assert rerun.tallies([results(0), RunFolder(alone).results()]).keys() == {"train: time"}
    rerun.print_rerun([alone, alone], Console())
