"""The rerun test on runs whose truth is known."""

from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from lengthscale.bench.__main__ import main
from lengthscale.bench.analysis import rerun
from lengthscale.bench.plan.cell import Cell
from lengthscale.bench.results.record import Row
from tests.helpers.runs import made, written_run

CELL = Cell("train", "mamba", "small", "auto", 256, 1, "float32", 0, "text", 0)
COSTS = {
    "transformer": lambda length: 1 + 0.05 * length + 2e-5 * length**2,
    "mamba": lambda length: 3 + 0.09 * length,
}


def run(folder, seed, level=1.0, spread=0.02):
    """Both models at four lengths, in 3 replicates. level: of the whole run."""
    random, records = np.random.default_rng(seed), []
    for model, cost in COSTS.items():
        for length in (256, 1024, 4096, 16_384):
            cell = replace(CELL, model=model, length=length)
            for number in range(3):
                ms = level * cost(length) * float(np.exp(spread * random.standard_normal()))
                row = Row(time_median_ms=ms, n_samples=5, tokens_per_s=length / ms * 1e3, mem_peak_bytes=1000 * length)
                records.append(made(cell, replicate=number, rows=(row,), samples_ms=(ms,) * 5))
    return written_run(folder, records)


def test_runs_that_differ_in_their_replicates_alone_are_confirmed(tmp_path):
    found = rerun.tallies([run(tmp_path / str(seed), seed) for seed in range(6)])
    assert len(found["train: time"].inside) == 6 * 5 * 8
    assert 0.8 < np.mean(found["train: time"].inside) < 0.95  # 88% by theory
    assert 0.8 < np.mean(found["train: exponent"].inside) <= 1
    assert 0.8 < np.mean(found["train: crossing"].inside) <= 1
    assert np.mean(found["train: peak memory"].inside) == 1
    assert 0.01 < np.median(found["train: time"].changes) < 0.03
    assert np.max(found["train: peak memory"].widths) < 1e-9


def test_another_level_of_a_run_is_not_confirmed_but_its_exponents_and_crossings_are(tmp_path):
    found = rerun.tallies([run(tmp_path / "a", 0, spread=0.002), run(tmp_path / "b", 1, level=1.2, spread=0.002)])
    assert np.mean(found["train: time"].inside) == 0
    assert np.median(found["train: time"].changes) == pytest.approx(np.log(1.2), abs=0.01)
    assert np.mean(found["train: exponent"].inside) > 0.5
    assert np.mean(found["train: crossing"].inside) > 0.4


def test_the_command_prints_the_table_of_all_runs(tmp_path, capsys):
    a, b, c = (str(run(tmp_path / name, seed)) for seed, name in enumerate("abc"))
    assert main(["validate", a, "--against", f"{b},{c}"]) == 0
    said = capsys.readouterr().out
    assert "3 runs: each run's 95% intervals" in said
    [line] = [line for line in said.splitlines() if "train: time" in line]
    assert " 48 " in line
    (tmp_path / "b" / "journal.jsonl").write_text("no journal\n")
    assert main(["validate", a, "--against", b]) == 1
    assert "runs: each" not in capsys.readouterr().out


def test_what_one_run_alone_has_is_left_out(tmp_path):
    alone = written_run(tmp_path / "b", [made(CELL, rows=(Row(time_median_ms=1.0),), samples_ms=(1.0,))])
    assert rerun.tallies([run(tmp_path / "a", 0), alone]).keys() == {"train: time"}
    rerun.print_rerun([alone, alone], Console())
