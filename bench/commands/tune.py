"""`tune`: search the learning rates with which models train best."""

from __future__ import annotations

from typing import Any

from lengthscale.bench.commands.arguments import command
from lengthscale.bench.commands.console import Console
from lengthscale.bench.plan import parse
from lengthscale.bench.plan.options import OUT, Option
from lengthscale.bench.plan.run_options import OPTIONS as RUN_OPTIONS

ABOUT = "\n\n".join(
    (
        "Search the learning rate and warm-up of each model, for the budgets of a suite or for those given.",
        "Rates lie half a decade apart; a search whose best rate is at the edge of what was tried goes on beyond it. "
        "Trials are scored on a part of the data that no other command trains on or scores.",
    )
)
EXAMPLES = (
    "tune --suite default --minutes 30",
    "tune --models mamba,transformer --size mini --data text --lengths 64 --step-tokens 768 --minutes 20",
)


def _rates(text: str) -> tuple[float, ...]:
    from lengthscale.bench.search.ladder import RATES

    found = tuple(parse.positive_number(part) for part in text.split(","))
    if wrong := [f"{rate:g}" for rate in found if rate not in RATES]:
        raise ValueError(f"expected some of {', '.join(f'{rate:g}' for rate in RATES)}, got {', '.join(wrong)}")
    return found


_SHARED = ("suite", "models", "measures", "lengths", "size", "data", "train_tokens", "step_tokens")
OPTIONS = (
    *(option for option in RUN_OPTIONS if option.name in _SHARED),
    Option(
        "--minutes",
        "for all searches together (default: 20)",
        parse=parse.positive_number,
        default=20.0,
        metavar="MINUTES",
    ),
    Option(
        "--rates",
        "learning rates with which each search begins, from 1e-6,3e-6,1e-5 ... 1 (default: 3e-3,1e-2); more of them "
        "where the best one may be far from another good one",
        parse=_rates,
        metavar="RATES",
    ),
    OUT,
    Option("--publish", "put what is found into the recipes that ship with the program", is_switch=True),
)


def main(**given: Any) -> int:
    """Run the command. Returns the exit code: 0, 3 where a model has no recipe, 130 where it was interrupted."""
    from lengthscale.bench.plan.options import values_of
    from lengthscale.bench.search.command import Wanted, print_recipes, run_search
    from lengthscale.bench.search.ladder import FIRST
    from lengthscale.bench.search.request import searched

    values = values_of(OPTIONS, given)
    budgets, kinds = searched({name: given.get(name) for name in _SHARED})
    console = Console()
    wanted = Wanted(
        budgets, kinds, values["minutes"], values["rates"] or FIRST, out=values["out"], publish=values["publish"]
    )
    folder, found, interrupted = run_search(wanted, console)
    print_recipes(found, console)
    console.print(f"recipes: {folder / 'recipes.csv'}", highlight=False, soft_wrap=True)
    if interrupted:
        return 130
    return 0 if len(found) == sum(map(len, budgets.values())) else 3


COMMAND = command("tune", main, ABOUT, options=OPTIONS, examples=EXAMPLES)
