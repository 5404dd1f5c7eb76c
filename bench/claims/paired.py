"""Losses of the same windows of a stream, compared window by window.

Windows differ far more from each other than two contexts, or two models, do on one window: of the differences the
interval is many times narrower. The raw losses are a record's `window_losses` (bench/results/journal.py); those of a
longer context may be of the first windows alone (bench/device/workloads/text.py).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lengthscale.bench.claims import learning_rates
from lengthscale.bench.claims.claim import Records, is_of
from lengthscale.bench.plan.status import Status
from lengthscale.bench.results import intervals
from lengthscale.bench.results.record import Record

FEW = 12  # windows: below it Student's t, since a bootstrap of few values is too sure


class Difference(NamedTuple):
    """Of a mean loss to another one on the same windows, nats a token, with its 95% interval.

    No figure where one of them is missing or not finite.
    """

    figure: float | None = None
    low: float | None = None
    high: float | None = None
    windows: int = 0


def records_of(part: list[Record], **cell) -> list[Record]:
    """Those that are ok and have raw losses, and whose cell has these values."""
    good = [record for record in part if record.status == Status.OK and record.window_losses]
    return [record for record in good if is_of(record, **cell)]


def losses(record: Record, context: int, control: str | None = None) -> np.ndarray:
    """(windows,) at a context, nan where a loss is not finite; (0,) where the record has no such row."""
    for row, mine in zip(record.rows, record.window_losses or (), strict=True):
        if (row.context, row.control) == (context, control):
            return np.array([np.nan if value is None else value for value in mine])
    return np.zeros(0)


def mean_losses(records: list[Record], context: int, control: str | None = None) -> np.ndarray:
    """(windows,) means over records, such as those of several seeds, each on the same windows."""
    found = [losses(record, context, control) for record in records]
    return np.mean(found, axis=0) if found and len({len(each) for each in found}) == 1 else np.zeros(0)


def difference(of: np.ndarray, to: np.ndarray) -> Difference:
    """of less to, (windows,) each, over the windows that both have."""
    windows = min(len(of), len(to))
    apart = of[:windows] - to[:windows]
    if not windows or not np.isfinite(apart).all():
        return Difference(windows=windows)
    low, high = intervals.of_few(apart) if windows < FEW else intervals.of_mean(apart)
    return Difference(float(apart.mean()), low, high, windows)


def best_rate(parts: Records, **cell) -> tuple[list[Record], str]:
    """(the records of these cells at their best learning rate, one for each seed; a note on that rate).

    The best has the lowest mean training loss, of tokens drawn from so many that hardly any came twice: the held-out
    windows have no say in it.
    """
    rates: dict[float, list[Record]] = {}
    for record in records_of(parts.together(), **cell):
        rates.setdefault(record.row.number("learning_rate"), []).append(record)
    if not rates:
        return [], "no trained model"
    losses = {rate: [record.row.number("train_loss") for record in mine] for rate, mine in rates.items()}
    best = learning_rates.best_of(losses)
    return sorted(rates[best], key=lambda record: record.cell.seed), learning_rates.told(best, rates)
