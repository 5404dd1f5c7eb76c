"""`claims`: test the article's claims."""

from __future__ import annotations

import math
from typing import Any

from lengthscale.bench.commands.arguments import command
from lengthscale.bench.commands.console import Console
from lengthscale.bench.plan import parse
from lengthscale.bench.plan.options import OUT, RERUN, Option, values_of
from lengthscale.bench.results.verdicts import ARTICLE

ABOUT = "\n\n".join(
    (
        "Test the article's claims: a verdict for each, with its interval.",
        f"The article is {ARTICLE}. A claim that the budget cannot decide is not begun.",
    )
)
EXAMPLES = (
    "claims --budget 20",
    "claims --only 3,8 --budget 10",
    "claims --budget 120 --minutes 30 --out results/claims-1",
)


def _only_help() -> str:
    from lengthscale.bench.claims import CLAIMS

    return f"some of them, by number or name: {', '.join(f'{n} {claim.name}' for n, claim in CLAIMS.items())}"


def _chosen(text: str | None) -> list[Any]:
    from lengthscale.bench.claims import command

    return command.chosen(text)


OPTIONS = (
    Option(
        "--budget",
        "for the chosen claims together; 120 decide all that 2 cores can (default: 20)",
        parse=parse.positive_number,
        default=20.0,
        metavar="MINUTES",
    ),
    Option(
        "--minutes",
        "begin nothing after so many minutes; the same command with the same --out goes on (default: no limit)",
        parse=parse.positive_number,
    ),
    Option("--only", _only_help, parse=_chosen, metavar="3,8"),
    OUT,
    RERUN,
)


def main(**given: Any) -> int:
    """Run the command. Returns the exit code: 0, 3 where some cells failed, 130 where it was interrupted."""
    values = values_of(OPTIONS, given)
    from lengthscale.bench.claims.command import Wanted, run_claims

    claims = values["only"] if values["only"] is not None else _chosen(None)
    minutes = values["minutes"] or math.inf
    wanted = Wanted(claims, values["budget"], minutes, out=values["out"], rerun=values["rerun"])
    failed, interrupted = run_claims(wanted, Console())
    if interrupted:
        return 130
    return 3 if failed else 0


COMMAND = command("claims", main, ABOUT, options=OPTIONS, examples=EXAMPLES)
