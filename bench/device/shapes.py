"""Programs of a model at any length and batch, for planning: their inputs take the memory of one sequence."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np

from lengthscale.bench.data import Images
from lengthscale.bench.data.synthetic import Task
from lengthscale.bench.device.largest import Ladder
from lengthscale.bench.device.learner import make_learner
from lengthscale.bench.device.measures import decode, forward, train
from lengthscale.bench.device.program import Program
from lengthscale.bench.device.workloads import data_of, make_endless_workload
from lengthscale.bench.plan import checkpoint
from lengthscale.bench.plan.cell import Cell
from lengthscale.models.catalogue import REMATS

MODES = {"forward": forward, "train": train, "decode": decode}
GRAIN = 1024  # tokens; lengths are multiples of it, or of the chunk in which a model runs
SIDE = 8  # pixels or patches; the sides of images are multiples of it
LONGEST, LARGEST_BATCH = 1 << 24, 1 << 16  # where the search ends
BATCHES = Ladder(lambda n: n, LARGEST_BATCH)


def program_at(mode: str, cell: Cell, length: int, batch: int, remat: str = "none") -> Program:
    """The program of a mode at another length and batch. mode: one of MODES. remat: of training.

    All of its sequences are the same one, of data that are repeated where they are too short. Raises
    NotImplementedError where the model does not do this.
    """
    chunk = 0 if mode == "decode" else cell.chunk
    cell = replace(cell, measure=mode, length=length, batch=batch, chunk=chunk)
    one = make_endless_workload(replace(cell, batch=1))
    inputs = one.example() if mode == "train" else one.prompt()
    inputs = tuple(np.broadcast_to(x, (batch, *x.shape[1:])) for x in inputs)
    workload = make_endless_workload(cell)
    if mode == "train":
        return train.program_on(cell, workload, inputs, remat)
    return MODES[mode].program_on(cell, workload, inputs)


def leanest_remat(cell: Cell) -> str:
    """The rematerialisation by which the cell's model trains in the least memory."""
    return REMATS[-1] if make_learner(cell, make_endless_workload(cell)).offers_remat else REMATS[0]


def lengths_of(cell: Cell) -> Ladder:
    """The lengths among which the longest is searched: what data, model and chunk allow."""
    data, opened = data_of(cell), checkpoint.of_cell(cell)
    most = LONGEST
    if opened:
        architecture, config = opened.architecture, opened.config
        if only := architecture.only_length(config):
            return Ladder(lambda n: only, 1)
        most = architecture.longest(config) or most
    chunk = cell.chunk or 1
    if isinstance(data, Images):
        side = next(side for side in itertools.count(SIDE, SIDE) if side**2 % chunk == 0)
        return Ladder(lambda n: (side * n) ** 2, int(most**0.5) // side)
    grain = cell.chunk or min(GRAIN, most)
    if isinstance(data, Task):
        grain *= -(-data.min_length // grain)
    return Ladder(lambda n: grain * n, most // grain)
