"""`validate`: check a results folder, and whether other runs confirm it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lengthscale.bench.commands.arguments import command
from lengthscale.bench.commands.arguments import folder as folder_argument
from lengthscale.bench.commands.console import Console
from lengthscale.bench.plan import parse
from lengthscale.bench.plan.options import Option, values_of

ABOUT = "Check a results folder: is it complete, do its files agree, are its values possible?"
OPTIONS = (
    Option(
        "--against",
        "the rerun test: how often the intervals of each run hold what the others gave; a run, or several with commas",
        parse=parse.paths,
        metavar="DIR[,DIR]",
    ),
)


def main(folder: Path, **given: Any) -> int:
    """Run the command. Returns the exit code: 1 if anything is wrong with a folder, else 0."""
    values = values_of(OPTIONS, given)
    from lengthscale.bench.results.validate import run_validate

    folders, console = [folder, *(values["against"] or ())], Console()
    code = max(run_validate(each, console) for each in folders)
    if code == 0 and len(folders) > 1:
        from lengthscale.bench.analysis.rerun import print_rerun

        print_rerun(folders, console)
    return code


COMMAND = command(
    "validate",
    main,
    ABOUT,
    folder_argument("folder", "a results folder"),
    options=OPTIONS,
    examples=("validate results/DEVICE/RUN", "validate results/DEVICE/RUN --against results/DEVICE/AGAIN"),
)
