"""Recipes: the learning rate and warm-up with which a model trains best, as searches (`tune`) have found them.

recipes.csv has a row for each model, size, kind of data and budget that was searched, with the run that found it. A
cell takes the recipe that is closest to it. Where no search was near enough, its row says so, and so do tables and
pictures.
"""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path

from lengthscale.bench.plan.cell import Cell
from lengthscale.bench.plan.settings import Settings

FILE = Path(__file__).parent / "recipes.csv"
RATE, WARMUP = 1e-2, 0.1  # where no search has been made
NEAR = 4.5  # lengths, tokens of a step and budgets within this factor are those of a search
TUNED, NEAREST, UNTUNED, GIVEN = "tuned", "nearest", "untuned", "given"


@dataclass(frozen=True)
class Recipe:
    """What a search has found; a row of recipes.csv."""

    model: str
    size: str
    data: str
    length: int
    step_tokens: int
    train_tokens: int
    learning_rate: float
    warmup: float
    loss: float  # nats a target, or of images the share that is wrong, on data that take no part in any result
    rates: str  # all that were tried, with their losses
    at_edge: int  # 1: the best rate is the smallest or largest that was tried
    run: str  # the folder below results/ that holds the search


@dataclass(frozen=True)
class Chosen:
    """How a cell trains, and where that comes from."""

    learning_rate: float
    warmup: float
    source: str  # TUNED, NEAREST, UNTUNED or GIVEN


@cache
def recipes() -> tuple[Recipe, ...]:
    """All recipes that ship with the program."""
    return read(FILE) if FILE.exists() else ()


def read(path: Path) -> tuple[Recipe, ...]:
    """The recipes of a file. Raises ValueError where a row is not one."""
    with open(path, newline="") as file:
        return tuple(_recipe(row) for row in csv.DictReader(file))


def _recipe(row: dict[str, str]) -> Recipe:
    kinds = {"int": int, "float": float, "str": str}
    return Recipe(**{field.name: kinds[str(field.type)](row[field.name]) for field in fields(Recipe)})


def choose(cell: Cell, settings: Settings) -> Chosen:
    """How a cell trains: as given, else by the closest recipe of its model on its data, else by the defaults."""
    best, distance = None, math.inf
    for each in recipes():
        if each.model == cell.model and each.data == cell.data and _distance(each, cell, settings) < distance:
            best, distance = each, _distance(each, cell, settings)
    rate, warmup = (best.learning_rate, best.warmup) if best else (RATE, WARMUP)
    source = UNTUNED if best is None else TUNED if _is_near(best, cell, settings) else NEAREST
    if settings.learning_rate is not None:
        source = GIVEN
    return Chosen(settings.learning_rate or rate, settings.warmup or warmup, source)


def _ratios(recipe: Recipe, cell: Cell, settings: Settings) -> list[float]:
    """How many times larger or smaller the recipe's lengths and budgets are, each at least 1."""
    found = (recipe.length, recipe.step_tokens, recipe.train_tokens)
    wanted = (cell.length, cell.batch * cell.length, settings.train_tokens)
    return [max(a / b, b / a) for a, b in zip(found, wanted, strict=True)]


def _distance(recipe: Recipe, cell: Cell, settings: Settings) -> float:
    """Another size counts as much as a hundredfold budget."""
    return sum(map(math.log, _ratios(recipe, cell, settings))) + (math.log(100) if recipe.size != cell.size else 0.0)


def _is_near(recipe: Recipe, cell: Cell, settings: Settings) -> bool:
    return recipe.size == cell.size and not recipe.at_edge and max(_ratios(recipe, cell, settings)) <= NEAR
