"""A sweep writes a record into its journal and its CSVs in one step, and ends at its deadline."""

import csv
from contextlib import closing
from pathlib import Path

import pytest

from lengthscale.bench.__main__ import main
from lengthscale.bench.host import sweep
from lengthscale.bench.host.request import make_request
from lengthscale.bench.host.sweep import Output
from lengthscale.bench.plan.options import from_arguments
from lengthscale.bench.plan.run_options import OPTIONS
from lengthscale.bench.plan.status import Status
from lengthscale.bench.results.folder import RunFolder
from lengthscale.bench.results.journal import Journal
from lengthscale.bench.results.messages import Done
from lengthscale.bench.results.tables import Tables
from tests.helpers import quick_run
from tests.helpers.runs import CELL, FACTS, changed, interrupted_after_the_journal, record


@pytest.mark.fault("Ctrl-C, once or twice")
def test_an_interrupt_while_a_record_is_written_waits_until_it_is_in_the_csv_too(tmp_path):
    folder, facts = RunFolder(tmp_path), {**FACTS, "device_kind": "cpu", "n_devices": 1, "peaks": {}}
    with closing(Journal(folder.journal)) as journal, interrupted_after_the_journal(), pytest.raises(KeyboardInterrupt):
        Output(journal, Tables(folder), facts).keep(record(CELL))
    assert len(folder.csv(CELL.measure).read_text().splitlines()) == 2


class Hurried:
    """In place of a Runner: each cell takes a second of a clock that nobody waits for."""

    now, checks = 0.0, 0
    holds = False

    def __init__(self, settings):
        pass

    def close(self):
        pass

    def probe(self):
        return quick_run.FACTS

    def peaks(self):
        return {}

    def check(self, cell):
        Hurried.checks += 1
        return Done(Status.OK)

    def measure(self, cell, replicate, on_stage):
        Hurried.now += 1
        return changed(record(cell), replicate=replicate)


@pytest.fixture
def hurried(monkeypatch):
    monkeypatch.setattr(sweep, "Runner", Hurried)
    monkeypatch.setattr(sweep.time, "monotonic", lambda: Hurried.now)
    monkeypatch.setattr(sweep.machine, "busy_cores", lambda seconds: (0.0, ""))


def replicates_in(folder):
    """The number of replicates of each row of a run's train.csv."""
    with open(RunFolder(Path(folder)).csv("train")) as file:
        return [int(row["n_replicates"]) for row in csv.DictReader(file)]


def test_a_sweep_ends_at_its_deadline_and_goes_on(tmp_path, hurried, console):
    arguments = "--suite quick --models rnn,gru --measures train --lengths 16,32,64 --out"
    request = make_request(from_arguments(OPTIONS, [*arguments.split(), str(tmp_path / "run")]))
    known = sweep.Known()
    folder, results, interrupted = sweep.run_sweep(request, console, Hurried.now + 3, known)
    assert len(results) == 3
    assert not interrupted
    assert replicates_in(folder) == [1] * 3
    _, results, _ = sweep.run_sweep(request, console)
    assert [len(each.replicates) for each in results] == [3] * 6
    assert len(replicates_in(folder)) == 6
    at_another_size = make_request(
        from_arguments(OPTIONS, [*arguments.split(), str(tmp_path / "small"), "--size", "small"])
    )
    before = Hurried.checks
    sweep.run_sweep(at_another_size, console, known=known)
    assert Hurried.checks - before == 3  # the shapes that the first one had not come to


def test_a_run_that_ends_in_time_says_how_it_goes_on(tmp_path, hurried, capsys, monkeypatch):
    """Three seconds for cells of a second each: the rest is left to the command that is printed."""
    monkeypatch.setattr("lengthscale.bench.commands.finish.finish", lambda *arguments: None)
    out = str(tmp_path / "run")
    cells = ["--suite", "quick", "--models", "rnn,gru", "--measures", "train", "--lengths", "16,32"]
    assert main(["run", *cells, "--minutes", "0.05", "--out", out]) == 0
    goes_on = f"after 0.05 minutes; replicates left: 9; run --resume {out} --minutes 0.05 continues"
    assert goes_on in capsys.readouterr().out
    assert main(["run", "--resume", out, "--minutes", "0.05"]) == 0
    assert "replicates left: 6" in capsys.readouterr().out
    assert main(["run", "--resume", out]) == 0
    assert "replicates left" not in capsys.readouterr().out
    assert replicates_in(out) == [3] * 4
