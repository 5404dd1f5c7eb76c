"""`compare`: compare two runs, cell by cell."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lengthscale.bench.commands.arguments import command, folder
from lengthscale.bench.commands.console import Console
from lengthscale.bench.plan import parse
from lengthscale.bench.plan.options import Option, values_of

ABOUT = "Compare two runs, cell by cell: what became slower or faster."
EXAMPLES = ("compare results/DEVICE/BEFORE results/DEVICE/AFTER --fail-on-regression",)


def _least_effect_help() -> str:
    from lengthscale.bench.analysis.compare import LEAST_EFFECT

    return f"the smallest difference that counts, as a share (default: {LEAST_EFFECT})"


OPTIONS = (
    Option("--least-effect", _least_effect_help, parse=parse.positive_number, metavar="SHARE"),
    Option("--across-devices", "compare runs of different devices", is_switch=True),
    Option("--fail-on-regression", "exit with 1 where a cell is slower or broken", is_switch=True),
)


def main(a: Path, b: Path, **given: Any) -> int:
    """Run the command. Returns the exit code: 1 for a regression with --fail-on-regression, else 0."""
    values = values_of(OPTIONS, given)
    from lengthscale.bench.analysis.compare import LEAST_EFFECT, run_compare

    least_effect = values["least_effect"] or LEAST_EFFECT
    is_worse = run_compare(a, b, Console(), least_effect, values["across_devices"])
    return 1 if is_worse and values["fail_on_regression"] else 0


COMMAND = command(
    "compare",
    main,
    ABOUT,
    folder("a", "the results folder to compare with"),
    folder("b", "the one that may have changed"),
    options=OPTIONS,
    examples=EXAMPLES,
)
