"""The CSVs of a run, rebuilt from its journal. While the run goes on, the newest cells may be missing in them."""

from __future__ import annotations

import csv
import time
from pathlib import Path

from lengthscale.bench.plan.cell import IDENTITY
from lengthscale.bench.results.codec import csv_of
from lengthscale.bench.results.csv_table import read_table
from lengthscale.bench.results.files import replace_file, set_aside
from lengthscale.bench.results.folder import RunFolder
from lengthscale.bench.results.record import Record
from lengthscale.bench.results.result import results_of

MOST_FAILED = 20  # replicates after the first one, for which a CSV is recognised


class Tables:
    """The CSVs of a run, each rewritten whole from the journal, in at most SHARE of the run's time."""

    SHARE = 0.02

    def __init__(self, folder: RunFolder):
        self._folder = folder
        self._records: dict[str, list[Record]] = {}
        self._stale: set[str] = set()
        self._next = 0.0

    def start_from(self, records: list[Record]) -> list[Path]:
        """Start with the records of a resumed run. Returns the new paths of CSVs that were set aside.

        A CSV is set aside if it is not what some first lines of its journal give: somebody edited it, or it is damaged.
        """
        for record in records:
            self._records.setdefault(record.cell.measure, []).append(record)
        aside = []
        for name, mine in self._records.items():
            path = self._folder.csv(name)
            if path.exists() and not _is_made_of(path, mine):
                aside.append(set_aside(path))
        self._stale |= self._records.keys()
        return aside

    def add(self, record: Record) -> None:
        """Add a record, and write the CSVs if there is time. Raises OSError as `write`."""
        name = record.cell.measure
        self._records.setdefault(name, []).append(record)
        self._stale.add(name)
        if time.monotonic() >= self._next:
            self.write()

    def write(self) -> None:
        """Bring all CSVs up to date. Raises OSError where one cannot be written; the old file then stays whole."""
        started = time.monotonic()
        for name in sorted(self._stale):
            replace_file(self._folder.csv(name), csv_of(results_of(self._records[name])))
        self._stale.clear()
        self._next = time.monotonic() + (time.monotonic() - started) / self.SHARE


def _is_made_of(path: Path, records: list[Record]) -> bool:
    """Whether a CSV is what these records give, or what the first of them gave before the others were there."""
    try:
        text = path.read_text()
        lines = read_table(path).text_rows()
    except (UnicodeDecodeError, csv.Error):
        return False
    cells = {tuple(line.text(name) for name in IDENTITY[1:]): line for line in lines}
    timed = sum(line.whole("n_replicates") or 1 for line in cells.values())
    most = min(timed + MOST_FAILED, len(records))  # there are more records if later replicates failed
    return any(csv_of(results_of(records[:count])) == text for count in range(timed, most + 1) if count)
