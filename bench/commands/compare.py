"""`compare`: compare two runs, cell by cell."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lengthscale.bench.commands.arguments import command, folders
from lengthscale.bench.commands.console import Console
from lengthscale.bench.plan import parse
from lengthscale.bench.plan.options import Option, values_of

ABOUT = "Compare two runs, or several runs before and after, cell by cell: what became slower or faster."
EXAMPLES = (
    "compare results/DEVICE/BEFORE results/DEVICE/AFTER --fail-on-regression",
    "compare results/DEVICE/OLD1,results/DEVICE/OLD2 results/DEVICE/NEW1,results/DEVICE/NEW2",
)


def _least_effect_help() -> str:
    from lengthscale.bench.analysis.compare import LEAST_EFFECT

    return f"the smallest difference that counts, as a share (default: {LEAST_EFFECT})"


OPTIONS = (
    Option("--least-effect", _least_effect_help, parse=parse.positive_number, metavar="SHARE"),
    Option("--across-devices", "compare runs of different devices", is_switch=True),
    Option("--fail-on-regression", "exit with 1 where a cell is slower or broken", is_switch=True),
)


def main(a: list[Path], b: list[Path], **given: Any) -> int:
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
    folders("a", "the results folder to compare with, or several with commas"),
    folders("b", "the one that may have changed, or several with commas"),
    options=OPTIONS,
    examples=EXAMPLES,
)
