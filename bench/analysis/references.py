"""references.csv: what n-grams and LZMA lose on the targets of a run (bench/data/references.py), for its pictures."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from lengthscale.bench.data import Stream, load
from lengthscale.bench.data.references import reference_lines
from lengthscale.bench.data.targets import make_targets
from lengthscale.bench.results import intervals
from lengthscale.bench.results.csv_table import read_table, table_of
from lengthscale.bench.results.files import replace_file
from lengthscale.bench.results.folder import RunFolder
from lengthscale.bench.results.result import Result

COLUMNS = ("data", "version", "name", "context", "loss", "loss_low", "loss_high", "n_targets")


class Point(NamedTuple):
    """The loss of one reference, given this many tokens."""

    data: str
    name: str  # "3-gram", "LZMA"
    context: int
    loss: float


def write_references(folder: Path, results: Iterable[Result]) -> None:
    """Write references.csv for the streams on which these results have contexts. A file that is there is kept.

    Raises DataError where the data cannot be read any more.
    """
    run = RunFolder(folder)
    settings = (run.read_suite() or {}).get("settings", {})
    names = {
        result.cell.data
        for result in results
        if result.cell.measure == "quality" and any(row.n_targets for row in result.rows)
    }
    if not names or run.references.exists() or "targets" not in settings:
        return
    lines = [line for name in sorted(names) for line in _lines(name, settings["targets"], settings["contexts"])]
    replace_file(run.references, table_of(COLUMNS, lines).text)


def _lines(name: str, count: int, contexts: list[int]) -> Iterable[dict]:
    stream = load(name)
    if not isinstance(stream, Stream) or stream.scored is not None:  # LZMA reads many targets in a row
        return
    targets = make_targets(stream.held_out, count, max(contexts))
    for reference, context, losses in reference_lines(stream.train, targets, stream.vocab, contexts):
        mean = intervals.mean(losses)
        known = {"loss": mean.value, "loss_low": mean.low, "loss_high": mean.high, "n_targets": len(targets.each())}
        yield {"data": name, "version": stream.version, "name": reference, "context": context, **known}


def read_references(folder: Path) -> list[Point]:
    """The points in a folder's references.csv; none where there is no file. Raises JournalError."""
    path = RunFolder(folder).references
    rows = read_table(path).text_rows() if path.exists() else []
    return [Point(row.text("data"), row.text("name"), row.whole("context"), row.number("loss")) for row in rows]
