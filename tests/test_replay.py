"""The committed journals give the tables, fits, verdicts and pages that they gave before, byte for byte.

tests/helpers/replay.py makes the texts, and says when their digests may be renewed.
"""

import json

import pytest

from tests.helpers.replay import EXPECTED, REPLAYS, digests, known_runs


@pytest.mark.parametrize("kind", REPLAYS)
def test_the_journals_give_what_they_gave_before(kind):
    expected = json.loads(EXPECTED.read_text())[kind]
    found = digests(REPLAYS[kind](known_runs()))
    assert [name for name, each in found.items() if expected.get(name) != each] == []
    assert sorted(found) == sorted(expected)
