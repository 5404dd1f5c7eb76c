"""The commands `report DIR` and `report A B`: they check their folders before they write a page."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from rich.console import Console

from lengthscale.bench.analysis import answer, fit, frontier, learned
from lengthscale.bench.figures import compared
from lengthscale.bench.figures.catalog import figures_of
from lengthscale.bench.figures.html import about, claims, comparison, rows
from lengthscale.bench.figures.html.page import Page, html_of, name_of_file
from lengthscale.bench.figures.html.sections import Part
from lengthscale.bench.figures.run import Run, read_rows
from lengthscale.bench.figures.spec import Figure
from lengthscale.bench.plan.errors import RequestError
from lengthscale.bench.results import verdicts
from lengthscale.bench.results.environment import facts_of
from lengthscale.bench.results.errors import JournalError
from lengthscale.bench.results.files import replace_file


def run_report(folders: list[Path], out: Path | None, console: Console) -> int:
    """Write the report of one folder or of two, and print its path. Returns the exit code 0.

    out: the file to write; None: its usual place. Raises RequestError, and what `read_folders` raises.
    """
    if len(folders) > 2:
        raise RequestError([f"report takes one folder or two, got {len(folders)}"])
    first, *others = folders
    if out is not None and not out.parent.is_dir():
        raise RequestError([f"--out {str(out)!r}: there is no folder {str(out.parent)!r}"])
    if out is not None and out.is_dir():
        raise RequestError([f"--out {str(out)!r} is a folder; name a file in it"])
    path = write_report(*read_folders(first, *others), out=out)
    console.print(str(path), highlight=False, markup=False, soft_wrap=True)
    return 0


def read_folders(folder: Path, other: Path | None = None) -> list[Run]:
    """The run of each folder, with new fits, which are also written to its files.

    Raises RequestError if a folder does not exist or both are the same, and JournalError if a folder holds no run with
    a row. In these cases no file is changed.
    """
    folders = [folder] if other is None else [folder, other]
    mistakes = [f"{str(each)!r}: there is no such folder" for each in folders if not each.is_dir()]
    if not mistakes and other is not None and folder.resolve() == other.resolve():
        mistakes = [f"A and B are both {str(folder)!r}"]
    if mistakes:
        raise RequestError(mistakes)
    runs = [_read_folder(each) for each in folders]
    fitted = [fit.fit_folder(each) for each in folders]
    return [replace(run, fits=fits, crossings=found) for run, (fits, found) in zip(runs, fitted, strict=True)]


def write_report(run: Run, other: Run | None = None, out: Path | None = None) -> Path:
    """Write the page of a run, or of a comparison of two runs. Returns the path of the file.

    out: the file to write; None: report.html or report-<other>.html in the run's folder. Raises JournalError if a run
    has no rows or no environment.
    """
    page = _page_of_one(run) if other is None else _page_of_two(run, other)
    path = out or run.folder / name_of_file(run.folder, other.folder if other else None)
    replace_file(path, html_of(page))
    return path


def _read_folder(folder: Path) -> Run:
    try:
        return reportable(read_rows(folder))
    except JournalError as error:
        hint = " (a folder of claims: its runs are below it)" if (folder / verdicts.FILE).exists() else ""
        raise JournalError(f"{error}{hint}") from None
    except ValueError as error:
        raise JournalError(f"{folder}: a CSV or environment.json that cannot be read: {error}") from None


def reportable(run: Run) -> Run:
    """The run without measures that have no rows. Raises JournalError if there is nothing to report."""
    facts_of(run.folder)
    kept = {name: mine for name, mine in run.rows.items() if mine}
    if not kept:
        raise JournalError(f"{run.folder}: its CSVs have no rows")
    return replace(run, rows=kept)


def _part(run: Run) -> Part:
    sentences = answer.sentences(run.fits, run.crossings, run.environment)
    sentences += [*learned.sentences(run.rows), *frontier.sentences(run.rows.get("frontier", ()))]
    found = claims.find(run.folder, run.environment)
    return Part(run, sentences, found, about.missing(run), about.reproduce(run))


def _on_page(run: Run) -> list[Figure]:
    return [figure for figure in figures_of(run) if figure.place.group]


def _page_of_one(run: Run) -> Page:
    run = reportable(run)
    return Page([_part(run)], _on_page(run), rows.measurements([run]), rows.fits_and_crossings([run]))


def _page_of_two(a: Run, b: Run) -> Page:
    a, b = reportable(a), reportable(b)
    measured = rows.measurements([a, b])
    both = comparison.read(a, b)
    figures = compared.merged(_on_page(a), _on_page(b))
    figures += compared.ratios(both.pairs, measured.first_rows(1))
    tables = [*rows.fits_and_crossings([a, b]), comparison.table(both.pairs)]
    return Page([_part(a), _part(b)], figures, measured, tables, both)
