"""`tune`: the search of recipes, by ordinary runs of one learning rate each.

    <out>/trials/<budget>/  a run as `run` makes it
    <out>/trials.csv        the loss of every trial
    <out>/recipes.csv       the best of each model; with --publish, they go into bench/plan/recipes.csv, too

A search on a stream trains on the first 80% and chooses by the next 10%: the last 10%, on which all other commands
score, take no part. Nor do the held-out images: a search on images chooses by an eighth of the others, by the share
that is wrong, since on few images the loss of the best classifier may be large. In each round every model makes its
next trials; what did not begin in the time given is left out, and its recipe says that its search has not ended.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

from lengthscale.bench.data import Images
from lengthscale.bench.host import machine
from lengthscale.bench.host.request import make_request
from lengthscale.bench.host.runner import Runner
from lengthscale.bench.host.sweep import Known, new_folder, run_sweep
from lengthscale.bench.plan import recipes
from lengthscale.bench.plan.errors import RequestError
from lengthscale.bench.plan.options import from_arguments
from lengthscale.bench.plan.recipes import Recipe
from lengthscale.bench.plan.request import Request
from lengthscale.bench.plan.run_options import OPTIONS
from lengthscale.bench.plan.settings import Settings
from lengthscale.bench.plan.status import Status
from lengthscale.bench.results.csv_table import table_of
from lengthscale.bench.results.files import replace_file
from lengthscale.bench.results.folder import foreign
from lengthscale.bench.results.result import Result
from lengthscale.bench.search.ladder import FIRST, Trial, next_trials
from lengthscale.bench.search.targets import Budget, merged, recipe_of, text_of

TRIALS = "trials"  # the folder of the runs; where it is, a search has begun


@dataclass(frozen=True)
class Wanted:
    """What `tune` is asked for."""

    budgets: Mapping[Budget, list[str]]  # -> models
    kinds: Mapping[str, type]  # of the data: Stream, Images or Task
    minutes: float
    rates: tuple[float, ...] = FIRST  # with which each search begins
    out: Path | None = None  # None: a new folder below results/
    publish: bool = False


@dataclass
class Search:
    """The trials of one model on one budget."""

    budget: Budget
    model: str
    rates: tuple[float, ...] = FIRST
    losses: dict[Trial, float] = field(default_factory=dict)

    @property
    def next(self) -> list[Trial]:
        """What it tries next; empty where it has ended."""
        return next_trials(self.losses, self.rates)


def run_search(wanted: Wanted, console: Console) -> tuple[Path, list[Recipe], bool]:
    """(the folder, the recipes found, whether it was interrupted). Raises as make_request and run_sweep do.

    Raises RequestError, too, where the folder holds something that is no search of ours.
    """
    if wanted.out and (mistakes := foreign(wanted.out, is_ours=(wanted.out / TRIALS).is_dir())):
        raise RequestError(mistakes)
    end = time.monotonic() + 60 * wanted.minutes
    out = wanted.out or new_folder("tune", machine.describe(Runner(Settings()).probe()))
    searches = [Search(budget, model, wanted.rates) for budget, models in wanted.budgets.items() for model in models]
    known, interrupted = Known(), False
    while time.monotonic() < end and not interrupted and any(search.next for search in searches):
        for (budget, trial), mine in _round(searches).items():
            if time.monotonic() >= end or interrupted:
                break
            request = _request(budget, trial, mine, wanted, out)
            _, results, interrupted = run_sweep(request, console, end, known)
            _learn(mine, trial, results, wanted.kinds[budget.data] is Images)
            _write(out, searches)
    found = _write(out, searches)
    if wanted.publish:
        publish(found)
    return out, found, interrupted


def _round(searches: list[Search]) -> dict[tuple[Budget, Trial], list[Search]]:
    """The searches that make the same trial on the same budget next."""
    found: dict[tuple[Budget, Trial], list[Search]] = {}
    for search in searches:
        for trial in search.next:
            found.setdefault((search.budget, trial), []).append(search)
    return found


def _request(budget: Budget, trial: Trial, searches: list[Search], wanted: Wanted, out: Path) -> Request:
    models = [search.model for search in searches]
    base = out / TRIALS / budget.name(trial)
    folders = (base, *(base.with_name(f"{base.name}-{number}") for number in range(2, 100)))
    for folder in folders:  # a folder that holds the trial of other models is left alone
        arguments = budget.arguments(models, trial, wanted.kinds[budget.data])
        try:
            return make_request(from_arguments(OPTIONS, [*arguments, "--out", str(folder)]))
        except RequestError:
            if not folder.exists():
                raise
    raise RequestError([f"{base} and 98 more folders hold other runs"])


def _learn(searches: list[Search], trial: Trial, results: list[Result], by_error: bool) -> None:
    """Store the losses of a trial, or the shares that are wrong. A training without a finite loss has diverged."""
    for search in searches:
        mine = [each for each in results if each.cell.model == search.model]
        if not mine:
            continue  # not measured: out of time
        rows = [row for row in mine[0].rows if row.eval_length == search.budget.length and row.n_items is None]
        good = mine[0].status == Status.OK and rows and rows[0].loss is not None
        scored = (1 - rows[0].number("accuracy") if by_error else rows[0].number("loss")) if good else math.nan
        search.losses[trial] = scored


def _write(out: Path, searches: list[Search]) -> list[Recipe]:
    """Write both tables. Returns the recipes."""
    columns = ("measure", "data", "size", "length", "step_tokens", "train_tokens", "model", "rate", "warmup", "loss")
    lines = [
        {**vars(search.budget), "model": search.model, **trial._asdict(), "loss": loss if loss == loss else None}
        for search in searches
        for trial, loss in sorted(search.losses.items())
    ]
    out.mkdir(parents=True, exist_ok=True)
    replace_file(out / "trials.csv", table_of(columns, lines).text)
    run = "/".join(out.resolve().parts[-2:])
    found = [recipe for each in searches if (recipe := recipe_of(each.budget, each.model, each.losses, run))]
    replace_file(out / "recipes.csv", text_of(found))
    return found


def publish(found: list[Recipe]) -> None:
    """Put the recipes into those that ship with the program, in place of those of the same budget."""
    replace_file(recipes.FILE, text_of(merged(recipes.recipes(), found)))


def print_recipes(found: list[Recipe], console: Console) -> None:
    """Print a line for each recipe."""
    table = Table(title="recipes", title_justify="left", box=None)
    for name in ("model", "size", "data", "L", "tokens", "rate", "warm-up", "loss", ""):
        table.add_column(name, justify="left" if name in ("model", "size", "data", "") else "right")
    for each in found:
        numbers = (str(each.length), f"{each.train_tokens:,}", f"{each.learning_rate:g}", f"{each.warmup:g}")
        open_end = "at the edge of what was tried: give more minutes" if each.at_edge else ""
        table.add_row(each.model, each.size, each.data, *numbers, f"{each.loss:.4f}", open_end)
    console.print(table)
