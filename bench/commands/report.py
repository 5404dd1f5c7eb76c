"""`report`: write a run, or the comparison of two, as one page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lengthscale.bench.commands.arguments import command, folder
from lengthscale.bench.commands.console import Console
from lengthscale.bench.plan import parse
from lengthscale.bench.plan.options import Option, values_of

ABOUT = "Write a run, or the comparison of two, as one page that opens offline: report.html."
EXAMPLES = ("report results/DEVICE/RUN", "report results/DEVICE/BEFORE results/DEVICE/AFTER --out comparison.html")
OPTIONS = (
    Option(
        "--out",
        "the page (default: DIR/report.html; of two, A/report-<B's name>.html)",
        parse=parse.path,
        metavar="FILE",
    ),
)


def main(folders: list[Path], **given: Any) -> int:
    """Run the command. Returns the exit code 0. Raises RequestError where one or two folders cannot be shown."""
    values = values_of(OPTIONS, given)
    from lengthscale.bench.figures.html.command import run_report

    return run_report(folders, values["out"], Console())


FOLDERS = folder("folders", "a results folder, or two to compare", many=True)
COMMAND = command("report", main, ABOUT, FOLDERS, options=OPTIONS, examples=EXAMPLES)
