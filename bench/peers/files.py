"""A run's files: peers.csv, peers_all.csv, peers.json, the plot; and their way to the device's folder. No jax here."""

from __future__ import annotations

import csv
import io
import os
import shutil
from pathlib import Path

from bench.journal import replace_file
from bench.peers.figures import ALL_COLUMNS, COLUMNS, row_of, rows_of_all

TABLE, ALL, FACTS = "peers.csv", "peers_all.csv", "peers.json"
PUBLISHED = (FACTS, ALL, "peers.svg", "peers.png", TABLE)


def write_tables(folder: Path, records: list[dict]) -> None:
    """Both tables, each replaced whole."""
    _write(folder / TABLE, COLUMNS, [row_of(record) for record in records])
    _write(folder / ALL, ALL_COLUMNS, [row for record in records for row in rows_of_all(record)])


def _write(path: Path, columns: tuple[str, ...], rows: list[dict]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({name: f"{value:.5g}" if isinstance(value, float) else value for name, value in row.items()})
    replace_file(path, text.getvalue())


def publish(folder: Path, target: Path) -> None:
    """A whole run's files in place of the last whole run's."""
    for name in PUBLISHED:
        beside = target / f".{name}.new"
        shutil.copyfile(folder / name, beside)
        os.replace(beside, target / name)
