"""Verdicts on the article's claims: the folder's own, or those of the device's newest run of `claims`. No jax here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bench import environment
from bench.claims import table
from bench.journal import JournalError

COMMAND = "./run_bench.sh claims"


@dataclass(frozen=True)
class Verdicts:
    rows: list[dict]  # of claims.csv; none where none were found
    folder: Path | None  # where they are from

    @property
    def overall(self) -> list[dict]:
        return table.overall(self.rows)


def find(folder: Path, facts: dict) -> Verdicts:
    """facts: the run's environment.json; verdicts of another device are not its. Raises JournalError where the chosen
    file is none of ours.
    """
    device = environment.device_slug(facts)
    siblings = sorted(folder.resolve().parent.glob("claims-*"), key=lambda path: path.name, reverse=True)
    for home in (folder, *siblings):
        rows = table.read(home)
        if not rows:
            continue
        if missing := [name for name in table.COLUMNS if rows[0].get(name) is None]:
            raise JournalError(f"{home / table.FILE} has no column {', '.join(missing)}")
        try:
            for row in rows:
                table.figure_text(row)
        except (TypeError, ValueError) as error:
            raise JournalError(f"{home / table.FILE}: a figure that is no number: {error}") from None
        if home == folder or rows[0]["device"] == device:
            return Verdicts(rows, home)
    return Verdicts([], None)
