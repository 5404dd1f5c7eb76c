"""`report DIR` and `report A B`: what is written, and what is refused before anything is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from rich.console import Console

from lengthscale.bench.analysis import answer, fit
from lengthscale.bench.figures.html import about, beside, claims, costs, learned, rows
from lengthscale.bench.figures.html.figure import Figure
from lengthscale.bench.figures.html.figure import beside as in_one
from lengthscale.bench.figures.html.page import Page, html_of, name_of_file
from lengthscale.bench.figures.html.sections import Part
from lengthscale.bench.figures.mpl.data import Run, read_run
from lengthscale.bench.plan.errors import RequestError
from lengthscale.bench.results import verdicts
from lengthscale.bench.results.environment import facts_of
from lengthscale.bench.results.errors import JournalError
from lengthscale.bench.results.files import replace_file


def run_report(folders: list[Path], out: Path | None, console: Console) -> int:
    """The command: prints the path. Raises RequestError, and what `write_report` does."""
    if len(folders) > 2:
        raise RequestError([f"report takes one folder or two, got {len(folders)}"])
    first, *others = folders
    if out is not None and not out.parent.is_dir():
        raise RequestError([f"--out {str(out)!r}: there is no folder {str(out.parent)!r}"])
    if out is not None and out.is_dir():
        raise RequestError([f"--out {str(out)!r} is a folder; name a file in it"])
    path = write_report(first, *others, out=out)
    console.print(str(path), highlight=False, markup=False, soft_wrap=True)
    return 0


def write_report(folder: Path, other: Path | None = None, out: Path | None = None) -> Path:
    """Make the folder's fits anew and write its page, of two folders that of both beside each other: the file's path.

    out: folder/report.html where it is None, or folder/report-<other>.html. Raises RequestError where a folder is none
    or both are one, and JournalError where one holds no run with a row.
    """
    folders = [folder] if other is None else [folder, other]
    mistakes = [f"{str(each)!r}: there is no such folder" for each in folders if not each.is_dir()]
    if not mistakes and other is not None and folder.resolve() == other.resolve():
        mistakes = [f"A and B are both {str(folder)!r}"]
    if mistakes:
        raise RequestError(mistakes)
    for each in folders:  # before a file of either is touched
        read_folder(each)
    page = _page_of_one(folder) if other is None else _page_of_two(folder, other)
    path = out or folder / name_of_file(folder, other)
    replace_file(path, html_of(page))
    return path


def read_folder(folder: Path) -> Run:
    """Raises JournalError where there is nothing to report."""
    try:
        run = read_run(folder)
    except JournalError as error:
        hint = " (a folder of claims: its runs are below it)" if (folder / verdicts.FILE).exists() else ""
        raise JournalError(f"{error}{hint}") from None
    except ValueError as error:
        raise JournalError(f"{folder}: a CSV or environment.json that cannot be read: {error}") from None
    facts = facts_of(folder)
    frames = {name: frame for name, frame in run.frames.items() if len(frame)}
    if not frames:
        raise JournalError(f"{folder}: its CSVs have no rows")
    return replace(run, frames=frames, environment=facts)


def _part(folder: Path) -> Part:
    fits, crossings = fit.fit_folder(folder)
    run = read_folder(folder)
    facts = run.environment
    sentences = answer.sentences(fits, crossings, facts)
    again = about.reproduce(folder, facts)
    return Part(run, sentences, fits, claims.find(folder, facts), about.missing(run), again)


def _figures(run: Run, number: int, measured: rows.Measurements) -> list[Figure]:
    place = {measure: start for (of, measure), start in measured.place.items() if of == number}
    return costs.figures(run, place) + learned.figures(run, place)


def _page_of_one(folder: Path) -> Page:
    part = _part(folder)
    measured = rows.measurements([folder])
    figures = _figures(part.run, 0, measured)
    return Page([part], figures, [measured.table, *rows.others([folder])], measured.hovers)


def _page_of_two(a: Path, b: Path) -> Page:
    parts = [_part(a), _part(b)]
    measured = rows.measurements([a, b])
    both = beside.read(a, b, [part.run.environment for part in parts])
    figures = in_one(*(_figures(part.run, number, measured) for number, part in enumerate(parts)))
    figures += beside.figures(both.pairs, measured.first_rows(1))
    tables = [measured.table, *rows.others([a, b]), beside.table(both.pairs)]
    return Page(parts, figures, tables, measured.hovers, both)
