"""The committed journals give the tables, fits, verdicts and pages that they gave before, byte for byte.

tests/helpers/replay.py makes the texts, and says when their digests may be renewed.
"""

import json
import subprocess

import pytest

from tests.helpers.replay import EXPECTED, REPLAYS, RESULTS, digests, known_runs


@pytest.mark.parametrize("kind", REPLAYS)
def test_the_journals_give_what_they_gave_before(kind):
    expected = json.loads(EXPECTED.read_text())[kind]
    found = digests(REPLAYS[kind](known_runs()))
    assert [name for name, each in found.items() if expected.get(name) != each] == []
    assert sorted(found) == sorted(expected)


def test_every_committed_run_is_replayed():
    listed = subprocess.run(["git", "ls-files"], cwd=RESULTS, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout, so it is unknown which runs are committed")
    journals = [path for path in listed.stdout.splitlines() if path.endswith("/journal.jsonl")]
    assert {"/".join(path.split("/")[:2]) for path in journals} == known_runs()
