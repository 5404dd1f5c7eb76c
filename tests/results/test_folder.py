"""Whose folder is it: nothing of a user's is overwritten or moved, and a run of ours is known again."""

import pytest

from lengthscale.bench.__main__ import main
from lengthscale.bench.results.folder import RunFolder
from tests.helpers.runs import finished_run

RUN = ["run", "--suite", "quick", "--models", "rnn", "--measures", "train", "--lengths", "16"]


@pytest.mark.parametrize("more", [[], ["--rerun"]])
def test_a_folder_of_the_user_s_own_files_is_refused_and_left_as_it_is(tmp_path, capsys, more):
    files = {"train.csv": "mine", "README.md": "mine too", "package.json": "{}", "suite.json": '{"name": "band"}'}
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert main([*RUN, "--out", str(tmp_path), *more]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert f"--out '{tmp_path}' is not empty and holds no run of ours (it has README.md and 3 more)" in said
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == files


def test_what_is_empty_or_a_run_may_be_written(tmp_path):
    assert RunFolder(tmp_path / "new").mistakes() == []
    assert RunFolder(tmp_path).mistakes() == []
    (tmp_path / "journal.jsonl").touch()  # of a run that ended before its first cell
    (tmp_path / ".lock").touch()
    assert RunFolder(tmp_path).mistakes() == []
    folder = finished_run(tmp_path / "run")
    (folder / "notes.txt").write_text("a user's, in our run")
    assert RunFolder(folder).mistakes() == []
    (folder / "suite.json").write_text("{")  # damaged; the journal has records
    assert RunFolder(folder).mistakes() == []
    (folder / "journal.jsonl").write_text("{")
    assert RunFolder(folder).mistakes() == []


def test_only_files_of_a_run_are_set_aside(tmp_path):
    folder = finished_run(tmp_path / "run")
    for name in ("notes.csv", "data.json", "NOTES.md", "report-of-mine.txt"):
        (folder / name).write_text("mine")
    moved = {path.name for path in RunFolder(folder).set_aside()}
    assert moved == {"journal.jsonl.aside1", "suite.json.aside1", "environment.json.aside1", "train.csv.aside1"}
    assert sorted(path.name for path in folder.iterdir() if "aside" not in path.name) == [
        *("NOTES.md", "data.json", "notes.csv", "report-of-mine.txt")
    ]
