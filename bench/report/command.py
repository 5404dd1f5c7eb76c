"""`report DIR` and `report A B`: what they refuse, before anything is written. No jax here."""

from __future__ import annotations

import argparse
from pathlib import Path

from bench.claims.table import FILE
from bench.measures import MEASURES
from bench.request import RequestError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", metavar="DIR", help="a results folder")
    parser.add_argument("beside", metavar="B", nargs="?", help="another one, to be put beside it")
    parser.add_argument("--out", metavar="FILE", help="(default: DIR/report.html, or DIR/report-vs-B.html)")
    parser.add_argument("--claims", metavar="DIR2", help="where claims.csv is, if not in DIR")


def run_report(args: argparse.Namespace) -> Path:
    """The file written. Raises RequestError with all that is wrong, JournalError where a folder cannot be read."""
    folder, beside, out, claims = (
        None if text is None else Path(text).expanduser() for text in (args.folder, args.beside, args.out, args.claims)
    )
    assert folder is not None
    mistakes = [mistake for each in (folder, beside) if each and (mistake := _check_folder(each))]
    if beside and not mistakes and folder.resolve() == beside.resolve():
        mistakes.append(f"A and B are the same folder, {folder}")
    if claims and not (claims / FILE).exists():
        mistakes.append(f"--claims {str(claims)!r}: there is no {FILE}")
    if out and out.suffix != ".html":
        mistakes.append(f"--out must end in .html, got {args.out!r}")
    elif out and not out.parent.is_dir():
        mistakes.append(f"--out {args.out!r}: there is no folder {str(out.parent)!r}")
    if mistakes:
        raise RequestError(mistakes)
    from bench.report.page import write_report

    return write_report(folder, beside, out=out, claims=claims)


def _check_folder(folder: Path) -> str | None:
    if not folder.is_dir():
        return f"there is no folder {str(folder)!r}"
    if not any((folder / f"{name}.csv").exists() for name in MEASURES):
        return f"{str(folder)!r} is no results folder: it holds no CSV of {', '.join(MEASURES)}"
    return None
