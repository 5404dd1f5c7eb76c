"""The command `claims`, on claims of its own; nothing is measured but in the slow test."""

import csv
import dataclasses
import json
import os
import subprocess
import sys
from contextlib import closing

import pytest

from lengthscale.bench.__main__ import main
from lengthscale.bench.claims import command, picture, table
from lengthscale.bench.claims.claim import FAILS, HOLDS, NOT_DECIDED, Claim, Finding, Minutes, Part
from lengthscale.bench.figures.spec import Axis, DrawnCurve, Figure
from lengthscale.bench.host import machine
from lengthscale.bench.results.codec import read_journal
from lengthscale.bench.results.estimate import Estimate
from lengthscale.bench.results.folder import RunFolder
from lengthscale.bench.results.journal import Journal
from lengthscale.bench.results.record import Record
from lengthscale.bench.results.result import results_of
from lengthscale.bench.results.validate import validate
from tests.helpers.claim_records import record
from tests.helpers.paths import ROOT, environment
from tests.helpers.quick_run import FACTS
from tests.helpers.runs import changed


def toy_part(name, length):
    return Part(name, ("--suite", "quick", "--measures", "forward", "--models", "rnn,gru", "--lengths", str(length)))


def toy(number, name, minutes=(0.5, 5.0), verdict=HOLDS):
    def judge(records):
        count = sum(len(part) for part in records.values())
        estimate, decided = Estimate(float(count), None, 1 / 3), verdict if count == 4 else NOT_DECIDED
        about = {"n": 3, "confidence": 0.975, "says": f"{count} were found"}
        found = Finding(f"{count} cells", estimate, "x", decided, "4 cells", (16, 32), **about)
        return [found, dataclasses.replace(found, measured="an aside", says="")]

    def parts(minutes):
        return [toy_part("a", 16), toy_part("b", 32 if minutes < 60 else 64)]

    def figures(records):
        return (Figure("", Axis("x"), Axis("y"), (DrawnCurve("rnn", "rnn", (0.0, 1.0), (0.0, 1.0)),)),)

    return Claim(number, name, f"{name} is so [1]", "as they say", parts, judge, figures, Minutes(*minutes))


class Sweep:
    """In place of run_sweep: a cell takes `seconds` of a clock that nobody waits for."""

    def __init__(self, seconds=1.0, status="ok", stop_after=None, load=0.5):
        self.now, self.seconds, self.status, self.stop_after, self.load = 0.0, seconds, status, stop_after, load
        self.measured = []

    def monotonic(self):
        return self.now

    def __call__(self, request, console, deadline, known):
        request.out.mkdir(parents=True, exist_ok=True)
        (request.out / "suite.json").write_text(json.dumps(request.configuration()))
        with closing(Journal(RunFolder(request.out).journal, Record)) as journal:
            finished = {each.cell for each in journal.records}
            for cell in request.cells:
                if cell in finished or self.now >= deadline:
                    continue
                if len(self.measured) == self.stop_after:
                    return request.out, results_of(journal.records), True
                self.now += self.seconds
                self.measured.append(cell)
                one = record(cell.measure, cell.model, cell.length, status=self.status)
                for each in one.replicates:
                    journal.append(changed(each, cell=cell, load_before=self.load))
            return request.out, results_of(journal.records), False


@pytest.fixture
def sweep(monkeypatch):
    def install(**options):
        fake = Sweep(**options)
        monkeypatch.setattr(command, "run_sweep", fake)
        monkeypatch.setattr(command.time, "monotonic", fake.monotonic)
        monkeypatch.setattr(command.Runner, "probe", lambda self: FACTS)
        monkeypatch.setattr(
            command, "CLAIMS", {1: toy(1, "first"), 3: toy(3, "third", minutes=(1.5, 15.0), verdict=FAILS)}
        )
        return fake

    return install


def rows_of_csv(path):
    with open(path) as file:
        return list(csv.DictReader(file))


def rows_in(folder):
    return rows_of_csv(folder / "claims.csv")


def test_a_claim_becomes_rows_and_a_picture(sweep, tmp_path, capsys):
    fake = sweep()
    assert main(["claims", "--out", str(tmp_path)]) == 0
    assert len(fake.measured) == 8
    rows = rows_in(tmp_path)
    assert tuple(rows[0]) == table.COLUMNS
    assert [(row["claim"], row["measured"], row["verdict"]) for row in rows] == [
        *(("1", "4 cells", "holds"), ("1", "an aside", "holds")),
        *(("3", "4 cells", "fails"), ("3", "an aside", "fails")),
    ]
    known = {"figure": "4", "low": "", "high": "0.333333", "unit": "x", "length_min": "16", "length_max": "32"}
    known |= {"finding": "4 were found", "published": "as they say", "n": "3", "confidence": "0.975"}
    assert known.items() <= rows[0].items()
    assert rows[2]["command"] == "./run_bench.sh claims --only 3 --budget 15"
    assert rows[0]["device"]
    assert {path.name for path in (tmp_path / "claims").iterdir()} == {
        f"{name}{theme}.{kind}" for name in ("first", "third") for theme in ("", "-dark") for kind in ("png", "svg")
    }
    assert "first is so [1]" in capsys.readouterr().out
    assert (tmp_path / "claims.md").read_text().splitlines()[2:] == [
        "| 1. first is so [1] | as they say | 4 were found; 4x | holds |",
        "| 3. third is so [1] | as they say | 4 were found; 4x | fails |",
    ]


@pytest.mark.parametrize(
    ("row", "text"),
    [
        (("4.91234", "4.7", "5.25", "x"), "4.91x [4.7, 5.25]"),
        (("1325.24", "1105.18", "", "tokens"), "1,325 tokens"),
        (("0.000164", "0.0001", "0.0002", ""), "0.000164 [0.0001, 0.0002]"),
        (("", "", "", "x"), ""),
    ],
)
def test_figures_in_words(row, text):
    assert table.estimate_text(dict(zip(("figure", "low", "high", "unit"), row, strict=True))) == text


def test_time_is_shared_and_kept(sweep, tmp_path, capsys):
    """A minute a cell: the first claim has 2 of the 8 minutes, the second the other 6."""
    fake = sweep(seconds=60.0)
    assert main(["claims", "--budget", "8", "--out", str(tmp_path)]) == 0
    assert len(fake.measured) == 2 + 4
    first, _, third, _ = rows_in(tmp_path)
    assert first["verdict"] == NOT_DECIDED
    assert first["note"] == "out of time (2 min): 6 of 12 replicates were not measured"
    assert (third["verdict"], third["note"]) == (FAILS, "")
    why = "not decided (out of time (2 min): 6 of 12 replicates were not measured)"
    assert f"| 1. first is so [1] | as they say | 2 were found; 2x | {why} |" in (tmp_path / "claims.md").read_text()


def test_a_budget_in_parts(sweep, tmp_path, capsys):
    """A minute a cell: 3 of 8 minutes, of which the first claim may have 2, then 3 more."""
    fake = sweep(seconds=60.0)
    arguments = ["claims", "--budget", "8", "--minutes", "3", "--out", str(tmp_path)]
    assert main(arguments) == 0
    assert len(fake.measured) == 2 + 1
    assert "replicates are left: the same command" in capsys.readouterr().out.replace("\n", " ")
    assert main(arguments) == 0
    assert len(fake.measured) == 6
    assert main(arguments) == 0
    assert [row["verdict"] for row in rows_in(tmp_path)] == [HOLDS, HOLDS, FAILS, FAILS]


def test_what_is_judged_again_keeps_the_commit_of_its_measurements(sweep, tmp_path, monkeypatch):
    sweep()
    arguments = ["claims", "--only", "1", "--budget", "5", "--out", str(tmp_path)]
    assert main(arguments) == 0
    facts = {**machine.describe(FACTS), "git_dirty": False}
    for part, sha in (("a", "0123456789"), ("b", "9876543210")):
        (tmp_path / "first" / part / "environment.json").write_text(json.dumps({**facts, "git_sha": sha}))
    drawn = []
    monkeypatch.setattr(picture, "write", lambda sheet, home, name: drawn.append(sheet))
    assert main(arguments) == 0
    assert drawn[0].caption[2:] == ("commit 0123456789", "commit 9876543210")
    assert rows_in(tmp_path)[0]["git_sha"] == "0123456789, 9876543210"


def test_a_claim_that_the_budget_cannot_decide_says_so(sweep, tmp_path):
    fake = sweep()
    assert main(["claims", "--budget", "1", "--out", str(tmp_path)]) == 0
    assert len(fake.measured) == 4
    _, _, third, _ = rows_in(tmp_path)
    assert (third["verdict"], third["note"]) == (
        NOT_DECIDED,
        "the budget cannot decide it: it takes 1.5 minutes or more",
    )
    assert third["command"] == "./run_bench.sh claims --only 3 --budget 1.5"


def test_no_time_at_all_is_a_verdict_too(sweep, tmp_path, monkeypatch, capsys):
    fake = sweep()

    def slow_probe(runner):
        fake.now += 3600
        return FACTS

    monkeypatch.setattr(command.Runner, "probe", slow_probe)
    assert main(["claims", "--only", "1", "--out", str(tmp_path / "new")]) == 0
    assert not fake.measured
    row = rows_in(tmp_path / "new")[0]
    assert (row["verdict"], row["note"]) == (
        NOT_DECIDED,
        "out of time (20 min): 12 of 12 replicates were not measured",
    )
    assert "12 replicates are left" in capsys.readouterr().out


def test_the_same_command_continues(sweep, tmp_path, capsys):
    sweep(stop_after=3)
    assert main(["claims", "--out", str(tmp_path)]) == 130
    assert not (tmp_path / "claims.csv").exists()
    assert f"--out {tmp_path} continues" in capsys.readouterr().out.replace("\n", " ")
    fake = sweep()
    assert main(["claims", "--out", str(tmp_path)]) == 0
    assert len(fake.measured) == 5
    assert len(read_journal(tmp_path / "first" / "a" / "journal.jsonl")) == 2 * 3
    assert [row["verdict"] for row in rows_in(tmp_path)] == [HOLDS, HOLDS, FAILS, FAILS]


def test_a_claim_measured_later_joins_the_others(sweep, tmp_path):
    sweep()
    assert main(["claims", "--only", "third", "--out", str(tmp_path)]) == 0
    assert [row["claim"] for row in rows_in(tmp_path)] == ["3", "3"]
    assert rows_in(tmp_path)[0]["command"].endswith("--only 3 --budget 20")
    assert main(["claims", "--only", "1", "--out", str(tmp_path)]) == 0
    assert [row["claim"] for row in rows_in(tmp_path)] == ["1", "1", "3", "3"]


def test_a_busy_machine_is_noted(sweep, tmp_path):
    cores = len(os.sched_getaffinity(0))
    sweep(load=1.6 * cores)
    assert main(["claims", "--only", "1", "--out", str(tmp_path)]) == 0
    expected = f"the machine was busy (load {1.6 * cores:.1f} on {cores} cores): times may be off"
    assert rows_in(tmp_path)[0]["note"] == expected


def test_failures_are_noted(sweep, tmp_path):
    sweep(status="timeout")
    assert main(["claims", "--only", "1", "--out", str(tmp_path)]) == 3
    assert rows_in(tmp_path)[0]["note"] == "a: 2 timeout; b: 2 timeout"
    assert not (tmp_path / "claims").exists()  # nothing to draw


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "scalling"], "did you mean 'scaling'"),
        (["--only", "9"], "unknown claim '9'"),
        (["--only", ""], "unknown claim ''"),
        (["--budget", "0"], "--budget: expected a positive number, got '0'"),
        (["--budget", "nan"], "--budget: expected a positive number, got 'nan'"),
    ],
)
def test_wrong_use_is_an_error_at_once(arguments, message, capsys):
    assert main(["claims", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_a_budget_that_plans_other_cells_is_an_error_before_anything_runs(sweep, tmp_path, capsys):
    fake = sweep()
    assert main(["claims", "--only", "1", "--out", str(tmp_path)]) == 0
    assert main(["claims", "--only", "1", "--budget", "60", "--out", str(tmp_path)]) == 2
    assert "claim 1, part b: --out" in capsys.readouterr().err
    assert len(fake.measured) == 4


@pytest.mark.slow
def test_end_to_end(tmp_path):
    """What is exact of the cheapest claim, which decodes for minutes after it: real children, real records."""
    arguments = "-P -m lengthscale.bench claims --only 7 --budget 1.5 --out".split()
    command = [sys.executable, *arguments, tmp_path]
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = rows_in(tmp_path)[1:]  # the first is the claim's verdict

    def found(start):
        (row,) = (row for row in rows if row["measured"].startswith(start))
        return row

    agreed = found("RWKV-4, trained")
    assert float(agreed["figure"]) < 1e-4
    assert agreed["verdict"] == HOLDS
    path, recurrent = (found(f"{name}: operations on") for name in ("rwkv4 (associative scan)", "rnn"))
    assert 1000 < float(path["figure"]) < 65_536 < float(recurrent["figure"])
    assert path["verdict"] == HOLDS
    assert (tmp_path / "claims" / "parallel_and_recurrent.png").stat().st_size > 10_000
    for part in ("agreement", "depth", "depth-rnn"):
        assert validate(tmp_path / "parallel_and_recurrent" / part) == ([], [])
