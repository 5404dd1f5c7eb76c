"""`merge`: shards become the run that one machine would have made; what does not belong together is refused."""

import json

import pytest

from lengthscale.bench.__main__ import main
from lengthscale.bench.plan.errors import RequestError
from lengthscale.bench.results.codec import read_journal
from lengthscale.bench.results.merge import merge
from lengthscale.bench.results.validate import validate
from tests.helpers.runs import CELLS, FACTS, finished_run


@pytest.fixture
def shards(tmp_path):
    return [finished_run(tmp_path / f"s{i}", CELLS[2 * i : 2 * i + 2], shard=f"{i + 1}/2") for i in (0, 1)]


def test_shards_become_one_valid_run(shards, tmp_path, capsys):
    assert main(["merge", *map(str, shards), "--out", str(tmp_path / "all")]) == 0
    records = read_journal(tmp_path / "all" / "journal.jsonl")
    assert [record.cell.model for record in records] == ["rnn", "rnn", "gru", "gru"]
    assert validate(tmp_path / "all") == ([], [])
    assert (tmp_path / "all" / "summary.md").exists()
    whole = finished_run(tmp_path / "whole")
    assert (tmp_path / "all" / "train.csv").read_bytes() == (whole / "train.csv").read_bytes()


def test_a_cell_that_two_runs_have_alike_counts_once(shards, tmp_path):
    again = finished_run(tmp_path / "again", CELLS[1:2], shard="2/2")
    _, records = merge([*shards, again], tmp_path / "all")
    assert len(records) == 4


@pytest.mark.parametrize(
    ("suite", "facts", "message"),
    [
        ({"settings": {"timeout_s": 5}}, {}, "are not of one sweep (settings: timeout_s: None -> 5)"),
        ({}, {"code": "xyz"}, "were measured by different code (code: abc -> xyz)"),
        ({}, {"cpu_model": "Other"}, "of some-cpu-2cpu, "),
    ],
)
def test_what_does_not_belong_together_is_refused(shards, tmp_path, suite, facts, message):
    other = finished_run(tmp_path / "other", CELLS[2:], FACTS | facts, shard="2/2", **suite)
    with pytest.raises(RequestError) as refusal:
        merge([shards[0], other], tmp_path / "all")
    assert message in str(refusal.value)
    assert not (tmp_path / "all").exists()
    if "cpu_model" in facts:
        merge([shards[0], other], tmp_path / "all", across_devices=True)
        held = json.loads((tmp_path / "all" / "environment.json").read_text())
        assert [each["cpu_model"] for each in held["merged"]] == ["Other"]


def test_two_runs_that_disagree_on_a_cell_are_refused(shards, tmp_path, capsys):
    path = shards[1] / "journal.jsonl"
    record = json.loads((shards[0] / "journal.jsonl").read_text().splitlines()[0])
    path.write_text(path.read_text() + json.dumps({**record, "status": "oom", "rows": []}) + "\n")
    assert main(["merge", *map(str, shards), "--out", str(tmp_path / "all")]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "have both measured measure=train model=rnn" in said
    assert not (tmp_path / "all").exists()


def test_a_folder_that_is_there_already_is_left_alone(shards, tmp_path, capsys):
    assert main(["merge", *map(str, shards), "--out", str(shards[0])]) == 2
    assert "exists already" in capsys.readouterr().err
    assert main(["merge", str(tmp_path), "--out", str(tmp_path / "all")]) == 2
    assert "suite.json" in capsys.readouterr().err
