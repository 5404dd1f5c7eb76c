"""Finds the verdicts on the article's claims: the folder's own, or those of the device's newest run of `claims`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lengthscale.bench.results import verdicts
from lengthscale.bench.results.environment import device_slug
from lengthscale.bench.results.errors import JournalError

COMMAND = "./run_bench.sh claims"


@dataclass(frozen=True)
class Verdicts:
    """The verdicts of a claims.csv, and where it was found."""

    rows: list[dict]  # the rows of claims.csv; empty if no file was found
    folder: Path | None  # the folder of that file

    @property
    def overall(self) -> list[dict]:
        """For each claim, the row with its overall verdict."""
        return verdicts.overall(self.rows)


def find(folder: Path, facts: dict) -> Verdicts:
    """The verdicts for a run's folder; without rows if there are none. Verdicts of other devices are not used.

    facts: the run's environment.json. Raises JournalError if a claims.csv is not a file of this project.
    """
    device = device_slug(facts)
    siblings = sorted(folder.resolve().parent.glob("claims-*"), key=lambda path: path.name, reverse=True)
    for home in (folder, *siblings):
        rows = verdicts.read(home)
        if not rows:
            continue
        if missing := [name for name in verdicts.COLUMNS if rows[0].get(name) is None]:
            raise JournalError(f"{home / verdicts.FILE} has no column {', '.join(missing)}")
        try:
            for row in rows:
                verdicts.estimate_text(row)
        except (TypeError, ValueError) as error:
            raise JournalError(f"{home / verdicts.FILE}: a value that is not a number: {error}") from None
        if home == folder or rows[0]["device"] == device:
            return Verdicts(rows, home)
    return Verdicts([], None)
