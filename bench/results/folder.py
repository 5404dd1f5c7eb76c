"""The folder of a run: the only owner of its file names, and of the rule which files a run may change."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lengthscale.bench.plan.measures import MEASURES
from lengthscale.bench.results.codec import read_journal
from lengthscale.bench.results.errors import JournalError
from lengthscale.bench.results.files import set_aside
from lengthscale.bench.results.result import Result, results_of

LOCK = ".lock"
IGNORED = (LOCK, ".DS_Store")  # a folder that holds nothing else is empty


@dataclass(frozen=True)
class RunFolder:
    """The paths of a run's files. Nothing is read or written until a method asks for it."""

    path: Path

    @property
    def journal(self) -> Path:
        return self.path / "journal.jsonl"

    @property
    def suite(self) -> Path:
        """The file with the request: settings, data versions, arguments, cells."""
        return self.path / "suite.json"

    @property
    def environment(self) -> Path:
        """The file that says what the run was measured on."""
        return self.path / "environment.json"

    def csv(self, measure: str) -> Path:
        return self.path / f"{measure}.csv"

    @property
    def fits(self) -> Path:
        return self.path / "fits.csv"

    @property
    def crossovers(self) -> Path:
        return self.path / "crossovers.csv"

    @property
    def references(self) -> Path:
        """The losses of n-grams and LZMA on the targets of the run."""
        return self.path / "references.csv"

    @property
    def summary(self) -> Path:
        return self.path / "summary.md"

    @property
    def plots(self) -> Path:
        return self.path / "plots"

    @property
    def report(self) -> Path:
        return self.path / "report.html"

    def results(self) -> list[Result]:
        """The results of all cells. Raises JournalError where there is no journal, or it cannot be read."""
        if not self.journal.exists():
            raise JournalError(f"{self.path} holds no {self.journal.name}")
        return results_of(read_journal(self.journal))

    def read_suite(self) -> dict[str, Any] | None:
        """The content of suite.json; None where there is none. Raises JournalError where it cannot be read."""
        return read_object(self.suite)

    def read_environment(self) -> dict[str, Any] | None:
        """The content of environment.json; None and errors as for `read_suite`."""
        return read_object(self.environment)

    def mistakes(self) -> list[str]:
        """Why nothing may be written here: the folder holds something that is not a run of ours."""
        return foreign(self.path, self._is_ours())

    def _is_ours(self) -> bool:
        """Whether a run has begun here: its suite.json says which cells it has, or its journal has a record."""
        try:
            suite = self.read_suite()
            return (suite is not None and isinstance(suite.get("cells"), list)) or bool(read_journal(self.journal))
        except (JournalError, OSError):
            return self.suite.exists() and self.journal.exists()

    def set_aside(self) -> list[Path]:
        """Rename the files of the run that is here, so that another can begin. Returns their new paths."""
        names = [self.journal, self.suite, self.environment, self.fits, self.crossovers, self.summary, self.plots]
        names += [self.csv(measure) for measure in MEASURES] + [self.report, *sorted(self.path.glob("report-*.html"))]
        return [set_aside(path) for path in names if path.exists()]


def foreign(folder: Path, is_ours: bool) -> list[str]:
    """Why a command may not write its run to a folder: the folder holds something else. Empty where it may.

    is_ours: whether a run of that command has begun there.
    """
    if is_ours or not folder.is_dir():
        return []
    names = sorted(path.name for path in folder.iterdir() if path.name not in IGNORED and not _is_begun(path))
    if not names:
        return []
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return [
        f"--out {str(folder)!r} is not empty and holds no run of ours (it has {names[0]}{more}); choose another "
        "folder, or a new one"
    ]


def _is_begun(path: Path) -> bool:
    """Whether a file is an empty journal: a run that ends before its first cell leaves one."""
    return path.name == "journal.jsonl" and path.stat().st_size == 0


def read_object(path: Path) -> dict[str, Any] | None:
    """The JSON object in a file; None where there is no file. Raises JournalError where it holds anything else."""
    if not path.exists():
        return None
    try:
        content = json.loads(path.read_text())
    except (ValueError, RecursionError) as error:
        raise JournalError(f"{path}: {error}") from None
    if not isinstance(content, dict):
        raise JournalError(f"{path}: not an object")
    return content
