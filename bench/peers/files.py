"""The folder of a run of `peers`, its tables, and how they are added to those of the device."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lengthscale.bench.peers.record import PeerRecord
from lengthscale.bench.peers.rows import ROWS
from lengthscale.bench.peers.tables import (
    ALL_COLUMNS,
    COLUMNS,
    GPU_COLUMNS,
    IDENTITY,
    columns_of,
    line_of,
    lines_of_all,
)
from lengthscale.bench.results.codec import read_lines
from lengthscale.bench.results.csv_table import read_table, table_of
from lengthscale.bench.results.errors import JournalError
from lengthscale.bench.results.files import replace_file
from lengthscale.bench.results.folder import foreign, read_object

TABLE, ALL, FACTS = "peers.csv", "peers_all.csv", "peers.json"
SAME = ("git_sha", "peers", "samples", "cases")  # keys of peers.json that must be equal for all rows of a folder


@dataclass(frozen=True)
class PeersFolder:
    """The paths of a run's files. Nothing is read or written until a method asks for it."""

    path: Path

    @property
    def journal(self) -> Path:
        """The file with a record of each finished case."""
        return self.path / "journal.jsonl"

    @property
    def facts(self) -> Path:
        """The file that says what was measured, with which packages and on which machine."""
        return self.path / FACTS

    def mistakes(self, facts: Mapping[str, Any]) -> list[str]:
        """Why a run with these facts may not be written here: the folder holds something else, or another run.

        Raises JournalError where its peers.json cannot be read.
        """
        if mistakes := foreign(self.path, self._is_ours()):
            return mistakes
        recorded = read_object(self.facts)
        differing = [] if recorded is None else [key for key in SAME if recorded.get(key) != facts[key]]
        if not differing:
            return []
        differ = ", ".join(differing)
        return [f"--out {str(self.path)!r} holds another run (it differs in: {differ}); choose another"]

    def _is_ours(self) -> bool:
        """Whether a run of `peers` has begun here: its peers.json says which cases it has, or its journal a record."""
        try:
            facts = read_object(self.facts)
            has_cases = facts is not None and isinstance(facts.get("cases"), list)
            return has_cases or bool(read_lines(self.journal, PeerRecord))
        except (JournalError, OSError):
            return self.facts.exists() and self.journal.exists()


def write_tables(folder: Path, records: Iterable[PeerRecord]) -> None:
    """Replace both tables with those of the records. Raises OSError where they cannot be written; the old ones stay."""
    records = list(records)
    _write(folder / TABLE, COLUMNS, [columns_of(line_of(record)) for record in records])
    _write(folder / ALL, ALL_COLUMNS, [columns_of(line) for record in records for line in lines_of_all(record)])


def _write(path: Path, columns: tuple[str, ...], rows: Iterable[Mapping[str, Any]]) -> None:
    """Replace a table. It has GPU_COLUMNS only if a row has a value in them."""
    rows = list(rows)
    if not any(row.get(name) for row in rows for name in GPU_COLUMNS):
        columns = tuple(name for name in columns if name not in GPU_COLUMNS)
    rows = [{name: row.get(name) for name in columns} for row in rows]
    replace_file(path, table_of(columns, rows, digits=5).text)


def publish(folder: Path, home: Path) -> None:
    """Put a run's rows into the tables of the folder `home`, in place of rows of the same cases."""
    home.mkdir(parents=True, exist_ok=True)
    for name, columns in ((TABLE, COLUMNS), (ALL, ALL_COLUMNS)):
        new = read_table(folder / name).dicts()
        again = {_identity(row) for row in new}
        held = read_table(home / name).dicts() if (home / name).exists() else []
        kept = [row for row in held if _identity(row) not in again]
        _write(home / name, columns, sorted(kept + new, key=_place))
    shutil.copyfile(folder / FACTS, home / FACTS)


def _identity(row: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(row[name] for name in IDENTITY)


def _place(row: Mapping[str, str]) -> tuple[int, int, int, int]:
    """The sort key of a row: its place in rows.py; rows that are no longer there come last."""
    name, measure, *numbers = _identity(row)
    places = [place for place, known in enumerate(ROWS) if (known.name, known.measure) == (name, measure)]
    length, batch, cores = map(int, numbers)
    return (places or [len(ROWS)])[0], cores, batch, length
