"""What must be unchanged when a run continues, and the messages on differences of two descriptions."""

import json

import pytest

from lengthscale.bench.results import resume
from lengthscale.bench.results.errors import JournalError
from lengthscale.bench.results.folder import RunFolder


def test_differences_are_given_in_words():
    held = {
        "suite": "quick",
        "settings": {"timeout_s": 60, "windows": 4},
        "cells": list("abcdefgh"),
        "arguments": ["x"],
    }
    now = {"suite": "quick", "settings": {"timeout_s": 90, "windows": 4}, "cells": list("abcdefgi"), "shard": "1/2"}
    assert resume.differences(held, now) == [
        "settings: timeout_s: 60 -> 90",
        "cells: 1 no longer there, 1 new, such as h",
        "shard: None -> 1/2",
    ]
    assert resume.differences(held, held) == []


def test_what_is_set_aside_is_all_of_a_run_and_nothing_else(tmp_path):
    for name in ("journal.jsonl", "train.csv", "suite.json", "summary.md", "notes.txt", "train.csv.aside1"):
        (tmp_path / name).write_text(name)
    (tmp_path / "plots").mkdir()
    moved = {path.name for path in RunFolder(tmp_path).set_aside()}
    assert moved == {
        "journal.jsonl.aside1",
        "train.csv.aside2",
        "suite.json.aside1",
        "summary.md.aside1",
        "plots.aside1",
    }
    assert (tmp_path / "train.csv.aside1").read_text() == "train.csv.aside1"
    assert (tmp_path / "notes.txt").exists()


@pytest.mark.fault("the journal or suite.json is corrupt")
@pytest.mark.parametrize("text", ["{", "[]", "[" * 100_000])
def test_a_broken_configuration_is_named(tmp_path, text):
    (tmp_path / "suite.json").write_text(text)
    with pytest.raises(JournalError, match=r"suite\.json"):
        resume.arguments_of(tmp_path)
    (mistake,) = resume.check_configuration(tmp_path, {})
    assert "cannot be read" in mistake
    assert "--rerun" in mistake


@pytest.mark.fault("configuration or code changed, then `--resume`")
def test_numbers_from_elsewhere_are_refused(tmp_path):
    described = {name: f"{name} here" for name in resume.SAME} | {"packages": {"jax": "0.10.2"}, "load_average": 1}
    (tmp_path / "environment.json").write_text(json.dumps(described))
    assert resume.check_environment(tmp_path, described | {"load_average": 2}) == []
    (mistake,) = resume.check_environment(tmp_path, described | {"packages": {"jax": "0.12.0"}})
    assert "packages: jax: 0.10.2 -> 0.12.0" in mistake
