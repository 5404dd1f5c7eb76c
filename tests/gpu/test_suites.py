"""The commands of a first session on a GPU, at a tiny size: they run, stop in time, go on, and every row is whole.

On a CPU the slow tests rehearse them.
"""

import csv

import pytest

from lengthscale.bench.__main__ import main
from lengthscale.bench.results.folder import RunFolder
from lengthscale.bench.results.validate import validate
from tests.helpers.platforms import ON_GPU

pytestmark = [pytest.mark.gpu, pytest.mark.slow]

MODELS = "mamba,transformer"
TINY = ["--models", MODELS, "--lengths", "64", "--replicates", "1", "--size", "tiny"]


def rows_of(folder, measure):
    with open(RunFolder(folder).csv(measure)) as file:
        return list(csv.DictReader(file))


def test_the_paper_suite_in_parts(tmp_path, capsys, monkeypatch):
    """Its parts in their order, in bfloat16, a first one of 18 seconds; what is left runs when it is resumed."""
    monkeypatch.setattr("lengthscale.bench.commands.finish.STEPS", ())
    folder = tmp_path / "run"
    measures = ["train", "forward", "decode", "generate"]
    arguments = ["run", "--suite", "paper", *TINY, "--measures", ",".join(measures), "--out", str(folder)]
    assert main([*arguments, "--minutes", "0.3"]) == 0
    assert "after 0.3 minutes; replicates left: " in capsys.readouterr().out
    assert not RunFolder(folder).csv("generate").exists()
    assert main(["run", "--resume", str(folder)]) == 0
    for measure in measures:
        rows = rows_of(folder, measure)
        assert {row["status"] for row in rows} == {"ok"}, measure
        assert {row["model"] for row in rows} == {*MODELS.split(",")}
        assert {row["dtype"] for row in rows} == {"bfloat16"}
        assert all(row["precision"].startswith("bfloat16") and int(row["flops"]) > 0 for row in rows)
    mistakes, _ = validate(folder)
    assert mistakes == []


@pytest.mark.skipif(not ON_GPU, reason="the rows are those of the device's platform")
def test_peers_on_a_gpu(tmp_path):
    """One row of ours and of whatever peer is installed."""
    assert main(["peers", "--only", "attention-768-bfloat16", "--lengths", "4k", "--out", str(tmp_path)]) == 0
