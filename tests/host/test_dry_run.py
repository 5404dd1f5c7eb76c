"""A dry run's table, from plans that a played runner gives."""

import csv

import pytest

from lengthscale.bench.__main__ import main
from lengthscale.bench.host import dry_run
from lengthscale.bench.plan.status import Status
from lengthscale.bench.results.messages import Done, Planned

ARGUMENTS = "run --suite quick --dry-run --models rnn,mamba --measures train,decode --lengths 16,64"


class Played:
    """In place of a Runner: a training step of 64 tokens does not fit, others take a millisecond a token."""

    def __init__(self, settings):
        pass

    def plan(self, cell):
        if cell.measure == "train" and cell.length == 64:
            return Done(Status.SKIPPED, "planned memory 9 GB is over the limit")
        columns = {"mem_planned_bytes": 1000 * cell.length, "flops": 2_000 * cell.length, "precision": "float32"}
        columns |= {"trace_s": 1.0, "lower_s": 0.5, "compile_s": 0.5}
        columns |= {"remat": "block"} if cell.measure == "train" else {}
        return Done(content=Planned(columns, None, cell.length / 1e3, ("a_kernel",), 7.0, 3.5e6), status=Status.OK)


def test_every_cell_is_a_row_of_the_table(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(dry_run, "Runner", Played)
    table = tmp_path / "plan.csv"
    assert main([*ARGUMENTS.split(), "--table", str(table)]) == 0
    assert "predicted: " in capsys.readouterr().out
    with open(table) as file:
        rows = {(row["model"], row["measure"], row["length"]): row for row in csv.DictReader(file)}
    assert len(rows) == 8
    known = rows["mamba", "train", "16"]
    expected = {
        "status": "ok",
        "precision": "float32",
        "remat": "block",
        "mem_planned_bytes": "16000",
        "flops": "32000",
    }
    expected |= {"kernels": "7", "moved_bytes": "3.5e+06", "step_ms": "16", "calls": "a_kernel", "size": "tiny"}
    assert {name: known[name] for name in expected} == expected
    assert rows["rnn", "train", "64"]["status"] == "skipped"
    assert "9 GB" in rows["rnn", "train", "64"]["message"]


@pytest.mark.parametrize(
    ("more", "mistake"),
    [
        (["--table", "{}/there.csv"], "exists, and is not replaced"),
        (["--table", "{}/none/plan.csv"], "there is no such folder"),
    ],
)
def test_a_table_that_cannot_be_written_is_a_mistake_before_anything_is_planned(tmp_path, capsys, more, mistake):
    (tmp_path / "there.csv").write_text("mine")
    assert main([*ARGUMENTS.split(), *(text.format(tmp_path) for text in more)]) == 2
    assert mistake in capsys.readouterr().err
    assert (tmp_path / "there.csv").read_text() == "mine"


def test_a_table_is_of_plans_only(tmp_path, capsys):
    assert main(["run", "--suite", "quick", "--table", str(tmp_path / "plan.csv")]) == 2
    assert "--table is of plans: add --dry-run" in capsys.readouterr().err
