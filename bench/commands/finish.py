"""The end of a run: its summary, fits, plots and report, each a step that the others do not depend on.

By now everything that was measured is on disk. Whatever fails here costs its own output: it is printed as one line with
the command that tries it again, the other steps go on, and the exit code stays that of the measurements.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from lengthscale.bench.results.record import Record


@dataclass(frozen=True)
class Step:
    what: str
    again: str  # the sub-command that makes it again, of a results folder
    do: Callable[[Path, list[Record], Console], None]


def finish(folder: Path, records: list[Record], console: Console) -> None:
    """Do all steps, and print what failed."""
    for step in STEPS:
        try:
            step.do(folder, records, console)
        except Exception as error:  # whatever it is: the measurements are worth more than its traceback
            _say(
                f"no {step.what}: {type(error).__name__}: {error} "
                f"(lengthscale {step.again} {shlex.quote(str(folder))} tries again)",
                console,
            )


def _summary(folder: Path, records: list[Record], console: Console) -> None:
    from lengthscale.bench.analysis import summary

    rows = summary.summarise(records)
    summary.print_summary(rows, console)
    summary.write_summary(rows, folder)


def _fits(folder: Path, records: list[Record], console: Console) -> None:
    from lengthscale.bench.analysis import answer, fit
    from lengthscale.bench.results.environment import facts_of

    _say("\n".join(answer.sentences(*fit.fit_folder(folder), facts_of(folder))), console)


def _plots(folder: Path, records: list[Record], console: Console) -> None:
    from lengthscale.bench.figures import mpl

    mpl.plot_folder(folder)


def _report(folder: Path, records: list[Record], console: Console) -> None:
    from lengthscale.bench.figures import html

    _say(f"results: {folder}", console)
    _say(f"report: {html.write_report(folder)}", console)


def _say(line: str, console: Console) -> None:
    console.print(line, highlight=False, markup=False, soft_wrap=True)


STEPS = (
    Step("summary", "run --resume", _summary),
    Step("fits", "fit", _fits),
    Step("plots", "plot", _plots),
    Step("report", "report", _report),
)
