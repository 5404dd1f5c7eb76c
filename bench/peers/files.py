"""A run's tables, peers.csv and peers_all.csv, and their way into those of the device."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

from lengthscale.bench.peers.figures import ALL_COLUMNS, COLUMNS, IDENTITY, row_of, rows_of_all
from lengthscale.bench.peers.record import PeerRecord
from lengthscale.bench.peers.rows import ROWS
from lengthscale.bench.results.codec import table_text
from lengthscale.bench.results.files import replace_file

TABLE, ALL, FACTS = "peers.csv", "peers_all.csv", "peers.json"


def write_tables(folder: Path, records: list[PeerRecord]) -> None:
    """Both tables, each replaced whole."""
    _write(folder / TABLE, COLUMNS, [row_of(record) for record in records])
    _write(folder / ALL, ALL_COLUMNS, [row for record in records for row in rows_of_all(record)])


def _write(path: Path, columns: tuple[str, ...], rows: list[dict]) -> None:
    replace_file(path, table_text(columns, rows, digits=5))


def publish(folder: Path, home: Path) -> None:
    """A run's rows into the tables of `home`, in place of those of the same cases; a row tells its commit."""
    home.mkdir(parents=True, exist_ok=True)
    for name, columns in ((TABLE, COLUMNS), (ALL, ALL_COLUMNS)):
        new = _read(folder / name)
        again = {_identity(row) for row in new}
        kept = [row for row in _read(home / name) if _identity(row) not in again] if (home / name).exists() else []
        _write(home / name, columns, sorted(kept + new, key=_place))
    shutil.copyfile(folder / FACTS, home / FACTS)


def _read(path: Path) -> list[dict]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def _identity(row: dict) -> tuple:
    return tuple(row[name] for name in IDENTITY)


def _place(row: dict) -> tuple:
    """Rows as in rows.py; rows that are no longer there last."""
    name, measure, *numbers = _identity(row)
    places = [place for place, known in enumerate(ROWS) if (known.name, known.measure) == (name, measure)]
    length, batch, cores = map(int, numbers)
    return (places or [len(ROWS)])[0], cores, batch, length
