"""The order in which the replicates of a run's cells are measured.

All cells of a measure are interleaved, models and lengths alike, so that a drift of the machine does not change one
curve more than another. The first replicate of every cell comes first: there is an early picture. In it the lengths of
a series come in ascending order, since short cells predict which long ones would take too long; the order is random
otherwise, and the same in each run.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from lengthscale.bench.plan.cell import Cell
from lengthscale.bench.plan.measures import MEASURES
from lengthscale.bench.plan.series import SeriesKey


class Turn(NamedTuple):
    """One replicate of a cell, counted from 0."""

    cell: Cell
    replicate: int


def schedule(cells: Iterable[Cell], replicates: int) -> list[Turn]:
    """All turns of these cells, in the order of measurement. A measure that is not replicated has one replicate."""
    by_measure: dict[str, list[Cell]] = {}
    for cell in cells:
        by_measure.setdefault(cell.measure, []).append(cell)
    turns: list[Turn] = []
    for replicate in range(replicates):
        for measure, mine in by_measure.items():
            if replicate and not MEASURES[measure].replicated:
                continue
            order = random.Random(f"{measure} {replicate}")
            shuffled = list(_merged(mine, order)) if replicate == 0 else order.sample(mine, len(mine))
            turns += (Turn(cell, replicate) for cell in shuffled)
    return turns


def _merged(cells: list[Cell], order: random.Random) -> Iterator[Cell]:
    """The cells in a random order, in which those of one series stay in the given order."""
    waiting: dict[SeriesKey, list[Cell]] = {}
    for cell in reversed(cells):
        waiting.setdefault(cell.series(), []).append(cell)
    for cell in order.sample(cells, len(cells)):
        yield waiting[cell.series()].pop()
