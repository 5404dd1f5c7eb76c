"""What a search is for: a model of one size that trains on one kind of data, at one length, on one budget."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields

from lengthscale.bench.data import Stream
from lengthscale.bench.data.options import OPTIONS
from lengthscale.bench.plan.cell import Cell
from lengthscale.bench.plan.recipes import Recipe
from lengthscale.bench.plan.settings import Settings
from lengthscale.bench.results.csv_table import table_of
from lengthscale.bench.search.ladder import Losses, Trial, at_edge, best_of

# An option of streams and images: neither trained on nor, of a stream, scored by any other command.
VALIDATION = "part=validation"


@dataclass(frozen=True)
class Budget:
    """What the models of one search have in common."""

    measure: str
    size: str
    data: str
    length: int
    step_tokens: int
    train_tokens: int

    def arguments(self, models: Iterable[str], trial: Trial, kind: type) -> list[str]:
        """The arguments of `run` that train these models so. Only the loss at the training length is measured.

        kind: the data's class.
        """
        data = self.data
        if kind in OPTIONS:
            data += f"{',' if ':' in data else ':'}{VALIDATION}"
        scored = ["--contexts", "1", "--targets", "32", "--windows", "256"] if kind is Stream else []
        return [
            *("--suite", "quick", "--measures", self.measure, "--models", ",".join(models)),
            *("--size", self.size, "--data", data, "--lengths", str(self.length)),
            *("--step-tokens", str(self.step_tokens), "--train-tokens", str(self.train_tokens)),
            *("--learning-rate", f"{trial.rate:g}", "--warmup", f"{trial.warmup:g}", "--timeout", "3600"),
            *scored,
        ]

    def name(self, trial: Trial) -> str:
        """The name of a folder for a run of this trial."""
        data = "".join(letter if letter.isalnum() else "-" for letter in self.data)
        return f"{self.measure}-{data}-{self.size}-{self.length}-{trial.rate:g}-{trial.warmup:g}"


def budgets_of(cells: Iterable[Cell], settings: Settings) -> dict[Budget, list[str]]:
    """The models of each budget in these cells."""
    found: dict[Budget, list[str]] = {}
    for cell in cells:
        tokens = settings.of(cell.measure, cell.size).train_tokens
        budget = Budget(cell.measure, cell.size, cell.data, cell.length, cell.batch * cell.length, tokens)
        models = found.setdefault(budget, [])
        if cell.model not in models:
            models.append(cell.model)
    return found


def recipe_of(budget: Budget, model: str, losses: Losses, run: str) -> Recipe | None:
    """The recipe that a search has found; None where every trial diverged."""
    best = best_of(losses)
    if best is None:
        return None
    tried = sorted(losses.items())
    return Recipe(
        model=model,
        size=budget.size,
        data=budget.data,
        length=budget.length,
        step_tokens=budget.step_tokens,
        train_tokens=budget.train_tokens,
        learning_rate=best.rate,
        warmup=best.warmup,
        loss=round(losses[best], 4),
        rates=" ".join(f"{trial.rate:g}/{trial.warmup:g}:{loss:.4g}" for trial, loss in tried),
        at_edge=int(at_edge(losses)),
        run=run,
    )


def text_of(found: Iterable[Recipe]) -> str:
    """Recipes as the text of recipes.csv."""
    names = tuple(field.name for field in fields(Recipe))
    return table_of(names, [asdict(each) for each in sorted(found, key=_place)]).text


def merged(old: Iterable[Recipe], new: Iterable[Recipe]) -> list[Recipe]:
    """The old recipes, with the new ones in place of those of the same model, size, data and budget."""
    return list({_place(each): each for each in (*old, *new)}.values())


def _place(recipe: Recipe) -> tuple:
    return recipe.data, recipe.size, recipe.model, recipe.length, recipe.step_tokens, recipe.train_tokens
