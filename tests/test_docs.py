"""The README's table of systems says what is there."""

import re
from pathlib import Path

from models import MODELS
from tests.adapters import ADAPTERS

ROOT = Path(__file__).parents[1]
LINES = (ROOT / "README.md").read_text().splitlines()
ROWS = [re.split(r"\s*\|\s*", line)[1:-1] for line in LINES if re.match(r"\| `[a-z].*\.py` \|", line)]


def test_every_model_is_in_the_table_of_systems():
    named = {name for row in ROWS for name in re.findall(r"`([^`]+)`", row[0])}
    assert named == set(MODELS)
    for row in ROWS:
        names, file = re.findall(r"`([^`]+)`", row[0]), row[2].strip("`")
        assert {MODELS[name].module for name in names} == {f"models.{file.removesuffix('.py')}"}


def test_the_fixtures_of_the_table_are_tested():
    """tests/test_golden.py runs every fixture that has an adapter."""
    named = {name.strip() for row in ROWS for name in row[5].split(",")}
    assert named <= set(ADAPTERS)
    assert set(ADAPTERS) <= named
    for name in named:
        assert list((ROOT / "tests/golden").glob(f"{name}*.npz")), name
