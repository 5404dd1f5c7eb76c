"""`compare`: false alarms and missed slowdowns are counted, simulated and on a real operation; its exit codes."""

import json
from dataclasses import replace

import numpy as np
import pytest

from lengthscale.bench.__main__ import main
from lengthscale.bench.analysis import compare, differences
from lengthscale.bench.plan.cell import Cell
from lengthscale.bench.results.codec import line_of
from lengthscale.bench.results.record import Row
from tests.helpers.runs import made

CELL = Cell("train", "rnn", "tiny", "auto", 16, 1, "float32", 0, "text", 0)
FACTS = {"backend": "cpu", "cpu_model": "Some CPU", "n_cpus": 2, "git_sha": "abc", "load_average": [0, 0, 0]}


def records(cell, times_ms, status="ok", memory=None):
    """A replicate for each time; one without times for another status."""
    if status != "ok":
        return [made(cell, status)]
    rows = (Row(mem_peak_bytes=memory),)
    return [made(cell, replicate=number, rows=rows, samples_ms=(float(ms),) * 3) for number, ms in enumerate(times_ms)]


def write(folder, records, facts=FACTS):
    folder.mkdir()
    (folder / "journal.jsonl").write_bytes(b"".join(map(line_of, records)))
    (folder / "environment.json").write_text(json.dumps(facts))
    return folder


def run_of(rng, ms, replicates=3, level=differences.LEVEL, spread=0.03):
    """The times of a cell's replicates in one run: the run has a level, and each replicate one of its own."""
    return (ms * rng.lognormal(0, level) * rng.lognormal(0, spread, replicates)).tolist()


def difference(a, b):
    (found,) = differences.differences([(a, b)])
    return found


def alarms(a, b, cells=25):
    """Whether a comparison of these runs' cells (lists of runs of times) says that any of them changed."""
    found = differences.differences(list(zip(a, b, strict=True)))
    return min(each.p for each in found) * cells < differences.ALPHA


@pytest.mark.parametrize(
    ("runs", "replicates", "spread"),
    [
        (1, 3, 0.03),
        *(pytest.param(*each, marks=pytest.mark.slow) for each in [(1, 3, 0.1), (1, 10, 0.03), (3, 3, 0.03)]),
    ],
)
def test_at_most_one_comparison_of_the_same_code_in_100_raises_an_alarm(runs, replicates, spread):
    rng = np.random.default_rng(0)
    count = 0
    for _ in range(1000):
        a, b = [[[run_of(rng, 10, replicates, spread=spread) for _ in range(runs)] for _ in range(25)] for _ in "ab"]
        count += alarms(a, b)
    assert count <= 10


def test_the_interval_of_a_ratio_holds_the_truth_in_95_of_100():
    rng = np.random.default_rng(1)
    held = 0
    for _ in range(1000):
        ratio = difference([run_of(rng, 10)], [run_of(rng, 13)]).ratio()
        held += (ratio.low or 0) <= 1.3 <= (ratio.high or 0)
    assert 0.93 <= held / 1000 <= 0.97


def test_the_change_that_would_have_been_seen_is_seen_in_half_of_all_cases_and_more_in_nearly_all():
    rng = np.random.default_rng(2)
    seen = {1.0: 0, 1.5: 0}
    for factor in seen:
        for _ in range(300):
            a = [run_of(rng, 10)]
            visible = (found := difference(a, [run_of(rng, 10)])).quantile(differences.ALPHA) * found.error
            slower = difference(a, [run_of(rng, 10 * np.exp(factor * visible))])
            seen[factor] += slower.p < differences.ALPHA and slower.value > 0
    assert 0.4 < seen[1.0] / 300 < 0.6
    assert seen[1.5] / 300 > 0.8


def test_interleaved_runs_find_ten_percent_in_95_of_100_since_their_level_cancels():
    rng = np.random.default_rng(3)
    found, held = 0, 0
    for _ in range(300):
        levels = rng.lognormal(0, 0.1, 5)
        a, b = (x * levels * rng.lognormal(0, 0.02, 5) for x in (10, 11))
        ratio = differences.paired_ratio(a.tolist(), b.tolist())
        found += (ratio.low or 0) > 1
        held += (ratio.low or 0) <= 1.1 <= (ratio.high or 0)
    assert found >= 285
    assert 0.93 <= held / 300 <= 0.97
    assert differences.paired_ratio([1.0, 2.0], [1.1, 2.2]).interval is None


def verdict(tmp_path, a, b):
    """Of one cell with these times of replicates."""
    folders = [tmp_path / name for name in "ab"]
    for folder, times in zip(folders, (a, b), strict=True):
        folder.mkdir(exist_ok=True)
        (folder / "journal.jsonl").write_bytes(b"".join(map(line_of, records(CELL, times))))
    (pair,), _, _ = compare.compare(folders[:1], folders[1:])
    return pair.verdict


def test_the_verdicts(tmp_path):
    assert verdict(tmp_path, [10, 10.1, 10.2], [16, 16.1, 16.2]) == "slower"
    assert verdict(tmp_path, [10, 10.1, 10.2], [6, 6.1, 6.2]) == "faster"
    assert verdict(tmp_path, [10, 10.1, 10.2], [11, 11.1, 11.2]) == "not decided"  # a run's level differs by as much
    assert verdict(tmp_path, [10, 10.1], [20, 20.1]) == "not decided"  # too few replicates


def test_several_runs_on_a_side_see_smaller_changes(tmp_path):
    rng = np.random.default_rng(4)
    runs = {name: write(tmp_path / name, records(CELL, run_of(rng, 10))) for name in "abcdef"}
    few, many = ([runs[name] for name in names] for names in ("a", "abc"))
    visible = [
        compare.compare(a, [runs[name] for name in names])[0][0].visible for a, names in ((few, "d"), (many, "def"))
    ]
    assert visible[1] - 1 < 0.7 * (visible[0] - 1)


def test_slow_cells_are_decided(tmp_path):
    """A replicate of a step of 15 s has one sample."""
    cell = replace(CELL, length=16_384)
    a, b = (
        [made(cell, replicate=n, rows=(Row(),), samples_ms=(ms * (1 + n / 100),)) for n in range(3)]
        for ms in (15_000, 24_000)
    )
    (pair,), _, _ = compare.compare([write(tmp_path / "a", a)], [write(tmp_path / "b", b)])
    assert pair.verdict == "slower"


def test_a_former_name_and_the_present_one_are_one_model(tmp_path):
    old, new = (replace(CELL, model=name) for name in ("s4d-small-dt", "s4d:dt=small"))
    a, b = (write(tmp_path / name, records(cell, [1.0] * 5)) for name, cell in (("a", old), ("b", new)))
    (pair,), *alone = compare.compare([a], [b])
    assert (pair.cell, pair.ratio.value, alone) == (new, 1.0, [[], []])


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
    a, b = (write(tmp_path / name, records(CELL, [1.0] * 3, statuses[name])) for name in "ab")
    (pair,), _, _ = compare.compare([a], [b])
    assert pair.verdict == expected


@pytest.fixture
def runs(tmp_path):
    """A, B with one cell slower, one broken, one missing and one new; and C, which is A on another device."""
    cells = [replace(CELL, length=length) for length in (16, 32, 64, 128, 256)]

    def several(some, ms=10.0, memory=None):
        return [each for cell in some for each in records(cell, (ms, 1.01 * ms, 1.02 * ms), memory=memory)]

    a = write(tmp_path / "a", several(cells[:4], memory=1000))
    b = [*several(cells[:1], 20.0, memory=2000), *several(cells[1:2]), *records(cells[2], [], "oom")]
    b = write(tmp_path / "b", [*b, *several(cells[4:])])
    return a, b, write(tmp_path / "c", several(cells[:4]), FACTS | {"cpu_model": "Other"})


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
    assert "visible: the smallest ratio that would have been called slower; its median is 1." in said
    assert "1 cells only in B" in said
    assert main(["compare", a, b, "--fail-on-regression"]) == 1
    assert main(["compare", a, a, "--fail-on-regression"]) == 0
    assert main(["compare", f"{a},{a}", f"{b},{b}", "--fail-on-regression"]) == 1


def test_the_command_refuses_what_cannot_be_compared(runs, tmp_path, capsys):
    a, _, c = map(str, runs)
    assert main(["compare", a, c]) == 2
    assert "of other-2cpu; --across-devices" in " ".join(capsys.readouterr().err.split())
    assert main(["compare", a, c, "--across-devices"]) == 0
    assert main(["compare", a, str(tmp_path / "none")]) == 2
    assert "no environment.json" in capsys.readouterr().err
    assert main(["compare", a, a, "--least-effect", "0"]) == 2
    other = write(tmp_path / "other", records(replace(CELL, model="gru"), [1.0] * 3))
    assert main(["compare", a, str(other)]) == 2
    assert "no cell in common" in capsys.readouterr().err
