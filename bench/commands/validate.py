"""`validate`: check a results folder."""

from __future__ import annotations

from pathlib import Path

from lengthscale.bench.commands.arguments import command
from lengthscale.bench.commands.arguments import folder as folder_argument
from lengthscale.bench.commands.console import Console

ABOUT = "Check a results folder: is it complete, do its files agree, are its values possible?"


def main(folder: Path) -> int:
    """Run the command. Returns the exit code: 1 if anything is wrong, else 0."""
    from lengthscale.bench.results.validate import run_validate

    return run_validate(folder, Console())


COMMAND = command(
    "validate", main, ABOUT, folder_argument("folder", "a results folder"), examples=("validate results/DEVICE/RUN",)
)
