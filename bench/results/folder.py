"""The folder of a run: the only owner of its file names, and of the rule whose files it may touch."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lengthscale.bench.plan.measures import MEASURES
from lengthscale.bench.results.codec import read_journal
from lengthscale.bench.results.errors import JournalError
from lengthscale.bench.results.files import keep_aside
from lengthscale.bench.results.record import Record

LOCK = ".lock"
IGNORED = (LOCK, ".DS_Store")  # a folder that holds nothing else is empty


@dataclass(frozen=True)
class RunFolder:
    """Where a run's files are. Nothing is read or written before it is asked for."""

    path: Path

    @property
    def journal(self) -> Path:
        return self.path / "journal.jsonl"

    @property
    def suite(self) -> Path:
        """What was asked for: settings, data versions, arguments, cells."""
        return self.path / "suite.json"

    @property
    def environment(self) -> Path:
        """What it was measured on."""
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
    def summary(self) -> Path:
        return self.path / "summary.md"

    @property
    def plots(self) -> Path:
        return self.path / "plots"

    @property
    def report(self) -> Path:
        return self.path / "report.html"

    def records(self) -> list[Record]:
        """Raises JournalError where there is no journal, or one that cannot be read."""
        if not self.journal.exists():
            raise JournalError(f"{self.path} holds no {self.journal.name}")
        return read_journal(self.journal)

    def read_suite(self) -> dict[str, Any] | None:
        """suite.json; None where there is none. Raises JournalError where it cannot be read."""
        return read_object(self.suite)

    def read_environment(self) -> dict[str, Any] | None:
        """environment.json; as `read_suite`."""
        return read_object(self.environment)

    def mistakes(self) -> list[str]:
        """Why nothing may be written here: the folder holds something, and no run of ours."""
        return foreign(self.path, self._is_ours())

    def _is_ours(self) -> bool:
        """Whether a run has begun here: its suite.json says which cells it has, or its journal has a record."""
        try:
            suite = self.read_suite()
            return (suite is not None and isinstance(suite.get("cells"), list)) or bool(read_journal(self.journal))
        except (JournalError, OSError):
            return self.suite.exists() and self.journal.exists()

    def set_aside(self) -> list[Path]:
        """Rename the files of the run that is here, so that another can begin: where they are now."""
        names = [self.journal, self.suite, self.environment, self.fits, self.crossovers, self.summary, self.plots]
        names += [self.csv(measure) for measure in MEASURES] + [self.report, *sorted(self.path.glob("report-*.html"))]
        return [keep_aside(path) for path in names if path.exists()]


def foreign(folder: Path, is_ours: bool) -> list[str]:
    """Why a command that writes runs may not write to a folder: it holds something, and no run of that command's.

    is_ours: whether such a run has begun there. Empty where the folder may be used.
    """
    if is_ours or not folder.is_dir():
        return []
    held = sorted(path.name for path in folder.iterdir() if path.name not in IGNORED and not _is_begun(path))
    if not held:
        return []
    more = f" and {len(held) - 1} more" if len(held) > 1 else ""
    return [
        f"--out {str(folder)!r} is not empty and holds no run of ours (it has {held[0]}{more}); choose another "
        "folder, or a new one"
    ]


def _is_begun(path: Path) -> bool:
    """Whether a file is a journal without a record, as a run leaves it that ended before its first cell."""
    return path.name == "journal.jsonl" and path.stat().st_size == 0


def read_object(path: Path) -> dict[str, Any] | None:
    """A JSON object; None where there is no file. Raises JournalError where it is something else."""
    if not path.exists():
        return None
    try:
        held = json.loads(path.read_text())
    except (ValueError, RecursionError) as error:
        raise JournalError(f"{path}: {error}") from None
    if not isinstance(held, dict):
        raise JournalError(f"{path}: not an object")
    return held
