"""`fit`: fit exponents and terms of a run, and find its crossings."""

from __future__ import annotations

from pathlib import Path

from lengthscale.bench.commands.arguments import command
from lengthscale.bench.commands.arguments import folder as folder_argument
from lengthscale.bench.commands.console import Console

ABOUT = "Fit a run's exponents, terms and crossings: fits.csv, crossovers.csv."


def main(folder: Path) -> int:
    """Run the command. Returns the exit code 0. Raises JournalError where the folder has no journal."""
    from lengthscale.bench.analysis import answer, fit, frontier, learned, summary
    from lengthscale.bench.results.environment import facts_of
    from lengthscale.bench.results.folder import RunFolder

    console = Console()
    fits, crossovers = fit.fit_folder(folder)
    summary.print_fits(fits, crossovers, console)
    answers = answer.sentences(fits, crossovers, facts_of(folder))
    results = RunFolder(folder).results()
    answers += [*learned.sentences_of(results), *frontier.sentences_of(results)]
    console.print("\n".join(answers), highlight=False, markup=False)
    for path in (RunFolder(folder).fits, RunFolder(folder).crossovers):
        console.print(str(path), highlight=False, markup=False, soft_wrap=True)
    return 0


COMMAND = command(
    "fit", main, ABOUT, folder_argument("folder", "a results folder"), examples=("fit results/DEVICE/RUN",)
)
