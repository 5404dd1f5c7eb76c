"""The losses of each place: the protocol of contexts and its controls, and the record that keeps them."""

import csv

import numpy as np
import pytest

from lengthscale.bench import data as tasks
from lengthscale.bench.__main__ import main
from lengthscale.bench.analysis.summary import summarise
from lengthscale.bench.claims import paired
from lengthscale.bench.data import planted
from lengthscale.bench.data.errors import DataError
from lengthscale.bench.data.targets import make_targets
from lengthscale.bench.device.evaluation import of_places
from lengthscale.bench.device.workloads import text
from lengthscale.bench.figures.run import read_run
from lengthscale.bench.host.request import make_request
from lengthscale.bench.plan.errors import RequestError
from lengthscale.bench.plan.options import from_arguments
from lengthscale.bench.plan.run_options import OPTIONS
from lengthscale.bench.plan.settings import Settings
from lengthscale.bench.results.codec import csv_of, line_of, read_journal
from lengthscale.bench.results.result import results_of
from lengthscale.bench.results.validate import validate
from tests.helpers.claim_records import record_of_places
from tests.helpers.runs import changed

STREAM = np.arange(5000, dtype=np.uint16)  # a token says where it comes from
SETTINGS = Settings(contexts=(4, 16, 64), targets=256, least_sequences=3, context_tokens=160)


def test_a_long_context_is_read_at_the_first_places():
    targets = make_targets(STREAM, SETTINGS.targets, max(SETTINGS.contexts))
    windows = {context: targets.windows(context, SETTINGS.places_at(context)) for context in SETTINGS.contexts}
    assert [len(windows[context].tokens) for context in (4, 16, 64)] == [32 * 8, 10 * 4, 3]
    assert SETTINGS.shuffled_context == 4
    ends = {context: each.tokens[:, context:].reshape(-1, 8) for context, each in windows.items()}
    np.testing.assert_array_equal(ends[16], ends[4][:10])
    np.testing.assert_array_equal(ends[64], ends[4][:3])
    assert len(np.unique(ends[4][:, 0])) == 32
    for count in (3, 10):  # they lie all over the stream, and not at its beginning
        assert np.diff(np.sort([0, *ends[4][:count, 0], 5000])).max() < 2.6 * 5000 / count


def test_the_shuffle_leaves_targets_and_near_context_alone():
    whole = make_targets(STREAM, SETTINGS.targets, max(SETTINGS.contexts)).windows(64)
    for near in (1, 16, 63):
        shuffled = text.shuffled(whole, near)
        np.testing.assert_array_equal(shuffled.tokens[:, 64 - near :], whole.tokens[:, 64 - near :])
        assert (shuffled.context, shuffled.blocks) == (64, 1)
        far, before = shuffled.tokens[:, : 64 - near], whole.tokens[:, : 64 - near]
        np.testing.assert_array_equal(np.sort(far, axis=1), np.sort(before, axis=1))
        assert near == 63 or (far != before).any(axis=1).all()
        orders = far - before.min(axis=1, keepdims=True)
        assert near == 63 or (orders[0] != orders[1]).any()  # each window in an order of its own


def planted_stream(name):
    stream = tasks.load(name)
    assert isinstance(stream, tasks.Stream)
    return stream


@pytest.mark.parametrize("distance", [2, 16, 100])
def test_planted_data_repeat_at_the_distance_and_nowhere_else(distance):
    stream = planted_stream(f"planted:distance={distance}")
    assert stream.vocab == 4 * distance > stream.tokens.max()
    phase, value = np.divmod(stream.tokens.astype(int), 4)
    np.testing.assert_array_equal(phase, np.arange(len(phase)) % distance)
    same = 0.9 + 0.1 / 4
    spread = 5 * (same * (1 - same) / len(value)) ** 0.5
    assert np.mean(value[distance:] == value[:-distance]) == pytest.approx(same, abs=spread)
    for other in {1, distance // 2, distance - 1, distance + 1} - {0, distance}:
        assert np.mean(value[other:] == value[:-other]) == pytest.approx(0.25, abs=0.01)
    at_once = np.mean(
        (value[distance:-distance] == value[: -2 * distance]) & (value[distance:-distance] == value[2 * distance :])
    )
    assert at_once == pytest.approx(same**2, abs=0.01)  # one repeat says nothing of the next
    assert planted.floor() == pytest.approx(-same * np.log(same) - (1 - same) * np.log((1 - same) / 3))


def test_the_name_of_planted_data():
    versions = [planted_stream(name).version for name in ("planted", "planted:distance=16", "planted:distance=8")]
    assert versions[0] == versions[1] != versions[2]
    for wrong, message in (
        ("planted:distance=1", "distance must be from 2 to 4096, got 1"),
        ("planted:far=3", "has one option, written as planted:distance=16"),
        ("planted:", "has one option"),
    ):
        with pytest.raises(DataError, match=message):
            tasks.load(wrong)


# The record


@pytest.mark.slow
def test_a_record_keeps_the_losses_of_each_place(tmp_path, monkeypatch):
    """Losses of a real child: its rows have their means, the folder is valid, and wrong losses are named."""
    monkeypatch.setattr("lengthscale.bench.commands.finish.STEPS", ())  # pictures take longer than the run
    arguments = "--suite quick --measures quality --models rnn --lengths 16 --train-tokens 2048 --windows 6"
    arguments += " --targets 64 --contexts 4,16,64 --shuffle-beyond 4 --context-tokens 640 --out"
    folder = tmp_path / "run"
    assert main(["run", *arguments.split(), str(folder)]) == 0
    (kept,) = read_journal(folder / "journal.jsonl")
    points = [(row.context, row.control) for row in kept.rows]
    known = [(4, None), (16, None), (64, None), (16, "shuffled beyond 4")]
    assert points == [*known, *[(None, None)] * (len(kept.rows) - 4)]
    assert kept.place_losses is not None
    assert [len(mine) for mine in kept.place_losses] == [32, 32, 10, 32, *[0] * (len(kept.rows) - 4)]
    assert [row.n_targets for row in kept.rows[:4]] == [64, 64, 20, 64]
    for row, mine in zip(kept.rows[:4], kept.place_losses[:4], strict=True):
        losses = np.array(mine, float)
        assert losses.mean() == pytest.approx(row.loss, rel=1e-6)
        assert np.ptp(losses) > 0.01
        assert [float(f"{value:.7g}") for value in mine] == list(mine)
    np.testing.assert_array_equal(paired.losses(results_of([kept])[0], 16, "shuffled beyond 4"), kept.place_losses[3])
    with open(folder / "quality.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row["control"] for row in rows][:5] == ["", "", "", "shuffled beyond 4", ""]
    assert "place_losses" not in rows[0]
    assert validate(folder) == ([], [])
    assert (
        summarise(results_of([kept]), [])[0]["loss"] == f"{kept.rows[2].loss:.3g}"
    )  # of the longest context, in order
    assert [row.whole("context") for row in read_run(folder).rows["quality"]][:4] == [4, 16, 64, 0]
    for wrong, message in (
        (kept.place_losses[:3], "its place_losses do not have one list for each row"),
        ([[1.0] * 5, *kept.place_losses[1:]], "n_sequences is 32, but there are 5 place_losses"),
        ([[9.0] * 32, *kept.place_losses[1:]], "the mean of its place_losses 9"),
        ([[None] * 32, *kept.place_losses[1:]], "loss must be blank if"),
        ([["a"] * 32, *kept.place_losses[1:]], "field window_losses[0][0]: Expected `float | null`, got `str`"),
    ):
        (folder / "journal.jsonl").write_bytes(line_of(changed(kept, place_losses=wrong)))
        assert any(message in each for each in validate(folder)[0]), message
    (folder / "journal.jsonl").write_bytes(line_of(changed(kept, place_losses=None)))
    assert validate(folder) == ([], [])


def test_a_csv_without_controls_is_as_it_was():
    one = record_of_places("mamba", "code", [(64, None, 2.0, 0.0)])
    assert "control" not in csv_of([one]).splitlines()[0].split(",")
    control = record_of_places("mamba", "code", [(64, "shuffled beyond 4", 2.0, 0.0)])
    assert "control" in csv_of([one, control]).splitlines()[0].split(",")


def test_losses_that_are_not_finite_are_none():
    found = of_places(np.array([1.0, np.inf, np.nan, 2.123456789]), None)
    assert found.place_losses == (1.0, None, None, 2.123457)
    assert not np.isfinite(found.columns["loss"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--contexts 4,64 --shuffle-beyond 64", "at which all targets are read, 64, got 64"),
        (
            "--contexts 4,64 --context-tokens 100 --shuffle-beyond 4",
            "at which all targets are read, 4, got 4",
        ),
        ("--shuffle-beyond near", "length 'near' is not"),
        ("--context-tokens 0", "--context-tokens: expected a positive whole number, got '0'"),
        ("--targets 0", "--targets: expected a positive whole number, got '0'"),
    ],
)
def test_wrong_options_are_named(options, message):
    with pytest.raises(RequestError, match=message):
        make_request(from_arguments(OPTIONS, ["--suite", "quick", *options.split()]))
