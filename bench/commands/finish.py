"""The end of a run: fits, summary, plots and report, each a step that is independent of the others.

By now everything that was measured is on disk. A step that fails costs only its own output: one line with the error and
the command that tries it again is printed, the other steps run, and the exit code stays that of the measurements.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from lengthscale.bench.results.result import Result

if TYPE_CHECKING:
    from lengthscale.bench.analysis.crossover import Crossing
    from lengthscale.bench.analysis.fit import Fit
    from lengthscale.bench.figures.run import Run


@dataclass(frozen=True)
class End:
    """A finished run, as the steps need it: its results become rows once and are fitted once, for all steps."""

    folder: Path
    results: list[Result]
    console: Console

    @cached_property
    def fitted(self) -> tuple[list[Fit], list[Crossing]]:
        """The fits and crossings of the results. Raises what the fitting raises."""
        from lengthscale.bench.analysis.fit import fit_results

        return fit_results(self.results)

    @property
    def fitted_or_empty(self) -> tuple[list[Fit], list[Crossing]]:
        """The fits and crossings, or empty lists if the fitting fails: the step of the fits prints the error."""
        try:
            return self.fitted
        except Exception:
            return [], []

    @cached_property
    def run(self) -> Run:
        """The run, with its fits and crossings if it can be fitted."""
        from lengthscale.bench.analysis.references import read_references
        from lengthscale.bench.figures.run import run_of

        fits, crossings = self.fitted_or_empty
        references = read_references(self.folder)
        return replace(run_of(self.folder, self.results), fits=fits, crossings=crossings, references=references)

    def say(self, line: str) -> None:
        """Print a line as it is."""
        self.console.print(line, highlight=False, markup=False, soft_wrap=True)


@dataclass(frozen=True)
class Step:
    """A step of a run's end."""

    what: str  # that it makes, for messages
    again: str  # the sub-command that makes it again, of a results folder
    do: Callable[[End], None]


def finish(folder: Path, results: list[Result], console: Console) -> None:
    """Do all steps, and print which of them failed."""
    end = End(folder, results, console)
    for step in STEPS:
        try:
            step.do(end)
        except Exception as error:  # whatever it is: the measurements are worth more than its traceback
            end.say(
                f"no {step.what}: {type(error).__name__}: {error} "
                f"(lengthscale {step.again} {shlex.quote(str(folder))} tries again)"
            )


def first_picture(folder: Path, results: list[Result], console: Console) -> None:
    """Write the report while a run goes on: of the first replicates, so without intervals. A failure is one line.

    The files in plots/ would take ten times as long, so they are drawn at the end only.
    """
    from lengthscale.bench.figures import html

    end = End(folder, results, console)
    try:
        path = html.write_report(end.run)
        end.say(f"report of the first replicates: {path}; it is written again at the end, with intervals")
    except Exception as error:  # whatever it is: the run goes on
        end.say(f"no report of the first replicates: {type(error).__name__}: {error}")


def _summary(end: End) -> None:
    from lengthscale.bench.analysis import bought, frontier, learned, stages, summary

    rows = summary.summarise(end.results, end.fitted_or_empty[0])
    summary.print_summary(rows, end.console)
    learned_rows = learned.rows_of(end.results)
    below = [bought.table(learned_rows).rstrip(), *learned.sentences(learned_rows), *frontier.sentences_of(end.results)]
    summary.write_summary(rows, end.folder, filter(None, [*below, stages.table(end.results).rstrip()]))


def _fits(end: End) -> None:
    from lengthscale.bench.analysis import answer, fit, frontier, learned
    from lengthscale.bench.results.environment import facts_of

    fit.write_fits(end.folder, *end.fitted)
    answers = answer.sentences(*end.fitted, facts_of(end.folder))
    end.say("\n".join([*answers, *learned.sentences_of(end.results), *frontier.sentences_of(end.results)]))


def _references(end: End) -> None:
    from lengthscale.bench.analysis.references import write_references

    write_references(end.folder, end.results)


def _plots(end: End) -> None:
    from lengthscale.bench.figures import mpl

    mpl.plot_folder(end.run)


def _report(end: End) -> None:
    from lengthscale.bench.figures import html

    end.say(f"results: {end.folder}")
    end.say(f"report: {html.write_report(end.run)}")


STEPS = (
    Step("summary", "run --resume", _summary),
    Step("fits", "fit", _fits),
    Step("references", "run --resume", _references),
    Step("plots", "plot", _plots),
    Step("report", "report", _report),
)
