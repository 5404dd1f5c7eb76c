"""The command `tune`: what it runs, what it writes, and what a run takes from it."""

import csv
import json
from contextlib import closing
from dataclasses import replace
from math import log

import pytest
from rich.console import Console

from lengthscale.bench.__main__ import main
from lengthscale.bench.data import Stream
from lengthscale.bench.plan import recipes
from lengthscale.bench.plan.errors import RequestError
from lengthscale.bench.plan.recipes import GIVEN, NEAREST, TUNED, UNTUNED, Recipe, choose
from lengthscale.bench.plan.settings import Settings
from lengthscale.bench.results.codec import read_journal
from lengthscale.bench.results.folder import RunFolder
from lengthscale.bench.results.journal import Journal
from lengthscale.bench.results.record import Record, row_of
from lengthscale.bench.results.result import results_of
from lengthscale.bench.search import command
from lengthscale.bench.search.ladder import Trial
from lengthscale.bench.search.request import searched
from lengthscale.bench.search.targets import Budget, merged, text_of
from tests.helpers.runs import made
from tests.helpers.workloads import cell

BEST = {"rnn": 1e-2, "gru": 3e-2}


class Sweep:
    """In place of run_sweep: the loss follows from the learning rate, and a cell takes a minute of the clock."""

    def __init__(self, clock):
        self.clock, self.requests = clock, []

    def __call__(self, request, console, deadline, known):
        self.requests.append(request)
        request.out.mkdir(parents=True, exist_ok=True)
        (request.out / "suite.json").write_text(json.dumps(request.configuration()))
        rate = request.settings.learning_rate
        with closing(Journal(RunFolder(request.out).journal, Record)) as journal:
            for each in request.cells:
                if self.clock.now >= deadline:
                    break
                self.clock.now += 60.0
                loss = 2.0 + abs(log(rate / BEST[each.model]))
                rows = [{"context": 1, "loss": 9.0}, {"eval_length": each.length, "loss": loss}]
                rows.append({"seen_tokens": 1, "seen_loss": 5.0})
                journal.append(made(each, rows=tuple(map(row_of, rows)), samples_ms=(1.0,)))
            return request.out, results_of(journal.records), False


class Clock:
    now = 0.0

    def monotonic(self):
        return self.now


def tuned(tmp_path, monkeypatch, minutes=60.0, models=("rnn", "gru"), publish=False):
    clock = Clock()
    sweep = Sweep(clock)
    monkeypatch.setattr(command, "run_sweep", sweep)
    monkeypatch.setattr(command, "time", clock)
    budget = Budget("quality", "tiny", "text", 72, 1_152, 2**20)
    wanted = command.Wanted(
        {budget: list(models)}, {"text": Stream}, minutes, out=tmp_path / "dev" / "tune-1", publish=publish
    )
    folder, found, interrupted = command.run_search(wanted, Console(quiet=True))
    assert not interrupted
    return sweep.requests, folder, {each.model: each for each in found}


def test_images_are_chosen_by_what_is_right(tmp_path):
    """A classifier of few images may be right more often, and surer where it is wrong."""
    budget = Budget("quality", "tiny", "mnist", 16, 512, 512)
    search, trial = command.Search(budget, "vit"), Trial(1e-2, 0.1)
    row = row_of({"eval_length": 16, "loss": 5.2, "accuracy": 0.54})
    results = results_of([made(cell(16, model="vit", data="mnist"), rows=(row,), samples_ms=(1.0,))])
    command._learn([search], trial, results, by_error=True)
    assert search.losses == {trial: pytest.approx(0.46)}
    command._learn([search], trial, results, by_error=False)
    assert search.losses == {trial: 5.2}


def test_each_model_gets_its_own_rate(tmp_path, monkeypatch):
    requests, folder, found = tuned(tmp_path, monkeypatch)
    assert {name: each.learning_rate for name, each in found.items()} == BEST
    assert not any(each.at_edge for each in found.values())
    assert {each.run for each in found.values()} == {"dev/tune-1"}
    for request in requests:  # on the validation part, and with the rate of the trial
        assert {each.data for each in request.cells} == {"text:part=validation"}
        assert (request.settings.train_tokens, request.settings.step_tokens) == (2**20, 1_152)
        assert request.settings.learning_rate in (3e-3, 1e-2, 3e-2, 1e-1)
        assert read_journal(RunFolder(request.out).journal)
    both = [request for request in requests if len(request.cells) == 2]
    assert len(both) == 3  # what both models try runs in one sweep: 3e-3, 1e-2, 3e-2
    with open(folder / "trials.csv") as file:
        trials = list(csv.DictReader(file))
    assert len(trials) == sum(len(request.cells) for request in requests)
    assert all(float(row["loss"]) >= 2 for row in trials)
    assert recipes.read(folder / "recipes.csv") == tuple(sorted(found.values(), key=lambda each: each.model))


def test_what_does_not_fit_into_the_time_is_said(tmp_path, monkeypatch):
    _, _, found = tuned(tmp_path, monkeypatch, minutes=4.0)
    assert found["gru"].learning_rate == 1e-2
    assert found["gru"].at_edge == 1
    assert found["rnn"].at_edge == 1


def test_recipes_are_published_in_place_of_older_ones(tmp_path, monkeypatch):
    other = Recipe("gru", "mini", "text", 72, 1_152, 2**20, 1e-3, 0.1, 1.8, "", 0, "dev/old")
    older = replace(other, size="tiny")
    file = tmp_path / "recipes.csv"
    file.write_text(text_of([other, older]))
    monkeypatch.setattr(recipes, "FILE", file)
    recipes.recipes.cache_clear()
    try:
        _, _, found = tuned(tmp_path, monkeypatch, publish=True)
        assert set(recipes.read(file)) == {other, *found.values()}
    finally:
        recipes.recipes.cache_clear()
    assert merged([older], [replace(older, loss=1.0)]) == [replace(older, loss=1.0)]


SHIPPED = Recipe("gru", "tiny", "text", 72, 1_152, 2**20, 3e-2, 0.3, 1.8, "", 0, "dev/tune-1")


@pytest.mark.parametrize(
    ("changes", "settings", "expected"),
    [
        ({}, {}, (3e-2, 0.3, TUNED)),
        ({"length": 288, "batch": 4}, {}, (3e-2, 0.3, TUNED)),  # within a factor of 4
        ({"length": 1_152, "batch": 1}, {}, (3e-2, 0.3, NEAREST)),
        ({"size": "mini"}, {}, (3e-2, 0.3, NEAREST)),
        ({}, {"train_tokens": 2**24}, (3e-2, 0.3, NEAREST)),
        ({"model": "rnn"}, {}, (recipes.RATE, recipes.WARMUP, UNTUNED)),
        ({"data": "genome"}, {}, (recipes.RATE, recipes.WARMUP, UNTUNED)),
        ({}, {"learning_rate": 0.5}, (0.5, 0.3, GIVEN)),
        ({}, {"learning_rate": 0.5, "warmup": 0.2}, (0.5, 0.2, GIVEN)),
    ],
)
def test_a_cell_takes_the_closest_recipe(monkeypatch, changes, settings, expected):
    far = replace(SHIPPED, size="small", learning_rate=1e-4)
    monkeypatch.setattr(recipes, "recipes", lambda: (SHIPPED, far))
    mine = replace(cell(72, 16), **changes)
    found = choose(mine, Settings(**{"train_tokens": 2**20, **settings}))
    assert (found.learning_rate, found.warmup, found.source) == expected


def test_a_recipe_at_the_edge_of_its_search_is_not_tuned(monkeypatch):
    monkeypatch.setattr(recipes, "recipes", lambda: (replace(SHIPPED, at_edge=1),))
    assert choose(cell(72, 16), Settings(train_tokens=2**20)).source == NEAREST


def test_the_recipes_that_ship_can_be_read():
    assert len({(each.model, each.size, each.data, each.length) for each in recipes.recipes()}) >= 10
    assert all(1e-6 < each.learning_rate < 1 and 0 < each.warmup < 1 for each in recipes.recipes())


def test_what_is_searched_follows_from_the_suite():
    budgets, kinds = searched({"suite": "default", "models": "rnn,mamba"})
    assert {(budget.measure, budget.data, budget.length) for budget in budgets} == {
        ("quality", "text", 72),
        ("quality", "text", 1152),
        ("recall", "mqar:pairs=4,vocab=32", 32),
    }
    assert kinds["text"] is Stream
    _, kinds = searched({"models": "vit", "data": "mnist:images=100", "measures": "quality", "lengths": "16"})
    (arguments,) = (
        Budget("quality", "tiny", name, 16, 512, 512).arguments(["vit"], Trial(1e-3, 0.1), kind)
        for name, kind in kinds.items()
    )
    assert arguments[arguments.index("--data") + 1] == "mnist:images=100,part=validation"
    assert "--contexts" not in arguments
    assert all(models == ["rnn", "mamba"] for models in budgets.values())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"measures": "train"}, "--measures: train has no loss to choose by; expected quality, recall, tracking"),
        ({"models": "mamb"}, "did you mean 'mamba'"),
    ],
)
def test_wrong_requests_are_named(options, message):
    with pytest.raises(RequestError, match=message):
        searched(options)


def test_a_folder_of_the_users_own_files_is_refused(tmp_path, monkeypatch):
    mine = tmp_path / "dev" / "tune-1"
    mine.mkdir(parents=True)
    (mine / "recipes.csv").write_text("of my cake\n")
    with pytest.raises(RequestError, match=r"is not empty and holds no run of ours \(it has recipes.csv\)"):
        tuned(tmp_path, monkeypatch)
    assert [path.name for path in mine.iterdir()] == ["recipes.csv"]
    assert (mine / "recipes.csv").read_text() == "of my cake\n"


def test_a_search_goes_on_in_its_own_folder(tmp_path, monkeypatch):
    tuned(tmp_path, monkeypatch, minutes=4.0)
    _, _, found = tuned(tmp_path, monkeypatch)
    assert {name: each.learning_rate for name, each in found.items()} == BEST


def test_the_command_says_what_is_wrong(capsys):
    assert main(["tune", "--minutes", "none"]) == 2
    assert "--minutes: expected a positive number, got 'none'" in capsys.readouterr().err
