"""Where the time of a run's cells went: the median seconds of each stage, by measure and replicate.

The stages are a child's own (bench/device/worker.py): compiling is in the first replicate alone, and on an accelerator
in none, where a run's programs are compiled before (bench/host/preparation.py). Runs before that recorded none.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable

from lengthscale.bench.analysis import text
from lengthscale.bench.results.result import Result


def table(results: Iterable[Result]) -> str:
    """The table in Markdown; "" where no stage was recorded."""
    found: dict[tuple[str, str], list[dict[str, float]]] = {}
    for result in results:
        for number, record in enumerate(result.replicates):
            which = "first" if number == 0 else "later"
            if record.stages_s:
                found.setdefault((result.cell.measure, which), []).append(record.stages_s)
    stages = list(dict.fromkeys(name for each in found.values() for record in each for name in record))
    rows = [
        [measure, which, str(len(each)), *(_median(record.get(name, 0.0) for record in each) for name in stages)]
        for (measure, which), each in found.items()
    ]
    return text.table(["stages, median s", "replicate", "cells", *stages], rows) if rows else ""


def _median(seconds: Iterable[float]) -> str:
    return f"{statistics.median(seconds):.2f}"
