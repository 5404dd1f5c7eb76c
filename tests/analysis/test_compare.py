"""`compare`: false alarms and missed slowdowns are counted, simulated and on a real operation; its exit codes."""

import json
import time
from dataclasses import replace

import numpy as np
import pytest

from lengthscale.bench.__main__ import main
from lengthscale.bench.analysis import compare
from lengthscale.bench.device import timing
from lengthscale.bench.plan.cell import Cell
from lengthscale.bench.plan.settings import Settings
from lengthscale.bench.results.codec import line_of
from lengthscale.bench.results.record import Row
from tests.helpers.runs import made

CELL = Cell("train", "rnn", "tiny", "auto", 16, 1, "float32", 0, "text", 0)
FACTS = {"backend": "cpu", "cpu_model": "Some CPU", "n_cpus": 2, "git_sha": "abc", "load_average": [0, 0, 0]}


def record(cell, samples, status="ok", memory=None):
    rows = (Row(mem_peak_bytes=memory),) if status == "ok" else ()
    return made(cell, status, rows=rows, samples_ms=tuple(map(float, samples)))


def write(folder, records, facts=FACTS):
    folder.mkdir()
    (folder / "journal.jsonl").write_bytes(b"".join(map(line_of, records)))
    (folder / "environment.json").write_text(json.dumps(facts))
    return folder


def verdict(tmp_path, a, b):
    """Of one cell with these samples."""
    folders = [tmp_path / name for name in "ab"]
    for folder, samples in zip(folders, (a, b), strict=True):
        folder.mkdir(exist_ok=True)
        (folder / "journal.jsonl").write_bytes(line_of(record(CELL, samples)))
    (pair,), _, _ = compare.compare(*folders)
    return pair.verdict


def noisy(rng, ms, n=30):
    """Times as a shared machine gives them: 3% of spread, skewed, a slow stretch here and there."""
    times = ms * rng.lognormal(0, 0.02, n) * (1 + rng.exponential(0.01, n))
    return times * np.where(rng.random(n) < 0.05, 1.5, 1.0)


def test_simulated_runs_that_are_alike_and_that_are_not(tmp_path):
    rng = np.random.default_rng(0)
    alarms = [verdict(tmp_path, noisy(rng, 10), noisy(rng, 10)) for _ in range(200)]
    assert sum(each in ("slower", "faster") for each in alarms) <= 2
    found = [verdict(tmp_path, noisy(rng, 10), noisy(rng, 10.5)) for _ in range(200)]
    assert found.count("slower") >= 190
    assert verdict(tmp_path, noisy(rng, 10), noisy(rng, 9.4)) == "faster"


def times_of_a_product(matrices, count):
    """Seconds of this thread, without the time that other tests take of its core meanwhile."""
    start = time.thread_time()
    for _ in range(count):
        np.matmul(*matrices)
    return time.thread_time() - start


def times_round_robin(rng, matrices, *counts):
    """Seconds of each number of products, a list each, sampled as a run does: until both medians are precise enough.

    Their order in a round is random: the first one comes after this loop's own work, the second one after products.
    """
    times = [[] for _ in counts]
    while any(timing.wants_more(tuple(mine), SAMPLING) or len(mine) < SAMPLING.min_samples for mine in times):
        for index in rng.permutation(len(counts)):
            times[index].append(times_of_a_product(matrices, counts[index]))
    return times


SAMPLING = Settings(precision=0.01, precision_s=60.0, min_samples=40, max_samples=800)


@pytest.mark.slow
def test_a_real_operation_compared_with_itself_and_with_five_percent_more_of_it(tmp_path):
    """100 comparisons of each kind: 60 products of matrices, small enough for one core, with 60 or 63 products."""
    rng = np.random.default_rng(0)
    matrices = rng.normal(size=(2, 56, 56)).astype("float32")
    times_round_robin(rng, matrices, 60)
    verdicts = {60: [], 63: []}
    for more in (60, 63) * 100:
        verdicts[more].append(verdict(tmp_path, *times_round_robin(rng, matrices, 60, more)))
    assert sum(each in ("slower", "faster") for each in verdicts[60]) <= 1
    assert verdicts[63].count("slower") >= 95


def test_what_was_not_measured_well_enough_is_not_decided(tmp_path):
    assert verdict(tmp_path, [10, 10.1, 10.2], [11, 11.1, 11.2]) == "not decided"  # whatever the difference
    rng = np.random.default_rng(1)
    assert verdict(tmp_path, 10 * rng.lognormal(0, 0.4, 8), 10 * rng.lognormal(0, 0.4, 8)) == "not decided"
    steady = np.linspace(9.99, 10.01, 20)
    assert verdict(tmp_path, steady, steady + 0.001) == "same"
    assert verdict(tmp_path, steady, steady * 1.02) == "same"  # surely slower, but by less than counts


def test_many_cells_together_raise_no_more_false_alarms_than_one(tmp_path):
    rng = np.random.default_rng(2)
    cells = [replace(CELL, length=length) for length in range(1, 101)]
    a, b = (write(tmp_path / name, [record(cell, noisy(rng, 10)) for cell in cells]) for name in "ab")
    pairs, _, _ = compare.compare(a, b)
    assert sum(pair.verdict in ("slower", "faster") for pair in pairs) == 0


def test_a_former_name_and_the_present_one_are_one_model(tmp_path):
    old, new = (replace(CELL, model=name) for name in ("s4d-small-dt", "s4d:dt=small"))
    folders = [write(tmp_path / name, [record(cell, [1.0] * 5)]) for name, cell in (("a", old), ("b", new))]
    (pair,), *alone = compare.compare(*folders)
    assert (pair.cell, pair.ratio, alone) == (new, 1.0, [[], []])


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("ok", "oom", "broken"),
        ("timeout", "ok", "fixed"),
        ("oom", "oom", "oom in both"),
        ("oom", "skipped", "oom, then skipped"),
    ],
)
def test_outcomes_are_compared_too(tmp_path, before, after, expected):
    statuses = {"a": before, "b": after}
    a, b = (write(tmp_path / name, [record(CELL, [1.0] * 9, statuses[name])]) for name in "ab")
    (pair,), _, _ = compare.compare(a, b)
    assert pair.verdict == expected


@pytest.fixture
def runs(tmp_path):
    """A, B with one cell slower, one broken, one missing and one new; and C, which is A on another device."""
    rng = np.random.default_rng(3)
    cells = [replace(CELL, length=length) for length in (16, 32, 64, 128, 256)]
    a = write(tmp_path / "a", [record(cell, noisy(rng, 10), memory=1000) for cell in cells[:4]])
    b = [record(cells[0], noisy(rng, 12), memory=2000), record(cells[1], noisy(rng, 10))]
    b = write(tmp_path / "b", [*b, record(cells[2], [], "oom"), record(cells[4], noisy(rng, 10))])
    c = write(tmp_path / "c", [record(cell, noisy(rng, 10)) for cell in cells[:4]], FACTS | {"cpu_model": "Other"})
    return a, b, c


def test_the_command_says_what_changed_and_fails_on_request(runs, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    a, b, _ = map(str, runs)
    assert main(["compare", a, b]) == 0
    said = capsys.readouterr().out
    lines = {line.split("L=")[1].split()[0]: line for line in said.splitlines() if "L=" in line}
    assert "slower" in lines["16"]
    assert " 2 " in lines["16"]  # memory
    assert "broken" in lines["64"]
    assert "1 cells only in A" in said
    assert "1 cells only in B" in said
    assert main(["compare", a, b, "--fail-on-regression"]) == 1
    assert main(["compare", a, a, "--fail-on-regression"]) == 0


def test_the_command_refuses_what_cannot_be_compared(runs, tmp_path, capsys):
    a, _, c = map(str, runs)
    assert main(["compare", a, c]) == 2
    assert "some-cpu-2cpu, B of other-2cpu; --across-devices" in " ".join(capsys.readouterr().err.split())
    assert main(["compare", a, c, "--across-devices"]) == 0
    assert main(["compare", a, str(tmp_path / "none")]) == 2
    assert "no environment.json" in capsys.readouterr().err
    assert main(["compare", a, a, "--least-effect", "0"]) == 2
    other = write(tmp_path / "other", [record(replace(CELL, model="gru"), [1.0] * 9)])
    assert main(["compare", a, str(other)]) == 2
    assert "no cell in common" in capsys.readouterr().err
