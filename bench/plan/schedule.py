"""The order in which the replicates of a run's cells are measured.

A group is what the request lists together: cells of one measure in a row. All cells of a group are interleaved, models
and lengths alike, so that a drift of the machine does not change one curve more than another. The first replicate of
every cell comes first: there is an early picture. In it the lengths of a series come in ascending order, since short
cells predict which long ones would take too long; the order is random otherwise, and the same in each run. A cell of
short calls has one replicate in the first round and two in each later one: 5 where others have 3.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from lengthscale.bench.plan.cell import Cell
from lengthscale.bench.plan.measures import MEASURES, Measure
from lengthscale.bench.plan.series import SeriesKey


class Turn(NamedTuple):
    """One replicate of a cell, counted from 0."""

    cell: Cell
    replicate: int


def groups_of(cells: Iterable[Cell]) -> list[list[Cell]]:
    """The groups of a request's cells, in the order in which they are measured."""
    return [list(group) for _, group in itertools.groupby(cells, key=lambda cell: cell.measure)]


def schedule(cells: Iterable[Cell], replicates: int) -> list[Turn]:
    """All turns of these cells, in the order of measurement. A measure that is not replicated has one replicate."""
    groups = groups_of(cells)
    turns: list[Turn] = []
    for number in range(replicates):
        for group in groups:
            measure = group[0].measure
            for replicate in _in_round(number, MEASURES[measure]):
                order = random.Random(f"{measure} {replicate}")
                shuffled = list(_merged(group, order)) if replicate == 0 else order.sample(group, len(group))
                turns += (Turn(cell, replicate) for cell in shuffled)
    return turns


def _in_round(number: int, measure: Measure) -> range:
    """The replicates of a measure's cells that come in a round, both counted from 0."""
    if number == 0:
        return range(1)
    if not measure.replicated:
        return range(0)
    return range(2 * number - 1, 2 * number + 1) if measure.short else range(number, number + 1)


def _merged(cells: list[Cell], order: random.Random) -> Iterator[Cell]:
    """The cells in a random order, in which those of one series stay in the given order."""
    waiting: dict[SeriesKey, list[Cell]] = {}
    for cell in reversed(cells):
        waiting.setdefault(cell.series(), []).append(cell)
    for cell in order.sample(cells, len(cells)):
        yield waiting[cell.series()].pop()
