"""A model that trains with its recipe, as the command line trains it."""

import os
import subprocess
import sys

import pytest

from lengthscale.bench.analysis.references import read_references
from lengthscale.bench.results.csv_table import read_table


@pytest.mark.slow  # a million tokens of training
def test_a_model_trained_with_its_recipe_beats_the_trigrams(tmp_path):
    """With the compiler's optimisations, which the tests do without: so in a process of its own."""
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    asked = ("--suite", "default", "--measures", "quality", "--models", "gru", "--lengths", "72")
    command = [sys.executable, "-m", "lengthscale.bench", "run", *asked, "--out", str(tmp_path / "run")]
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL, timeout=600)
    rows = list(read_table(tmp_path / "run" / "quality.csv").text_rows())
    assert {row.text("recipe") for row in rows} == {"tuned"}
    loss = {row.whole("context"): row.number("loss") for row in rows if row.has("context")}
    ngrams = {point.name: point.loss for point in read_references(tmp_path / "run")}
    assert loss[64] < ngrams["3-gram"]
    assert loss[1] > ngrams["2-gram"] - 0.05  # with one token no model knows more than bigrams do
