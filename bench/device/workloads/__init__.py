"""The workloads: how each kind of model is fed and run on each kind of data. Every measure uses them."""

from __future__ import annotations

import importlib
from dataclasses import replace

import numpy as np

from lengthscale.bench.data import Images, Stream, images, load
from lengthscale.bench.device.workloads.base import Workload
from lengthscale.bench.plan import checkpoint
from lengthscale.bench.plan.cell import Cell
from lengthscale.bench.plan.workloads import WORKLOADS, Data, kind_of
from lengthscale.models import spec_of
from lengthscale.models.names import learns_positions


def make_workload(cell: Cell, room: int = 0) -> Workload:
    """The workload of a cell's model on its data. Raises DataError and CheckpointError.

    room: the positions that the model needs beyond the cell's length.
    """
    return workload_on(cell, data_of(cell), room)


def make_endless_workload(cell: Cell, room: int = 0) -> Workload:
    """As `make_workload`, for any length: a stream that is shorter than the cell needs is repeated.

    For programs whose cost is measured, and not what they learn.
    """
    data = data_of(cell)
    if isinstance(data, Stream) and len(data.tokens) <= cell.length:
        data = replace(data, tokens=np.resize(data.tokens, cell.length + 1))
    return workload_on(cell, data, room)


def data_of(cell: Cell) -> Data:
    """The cell's data, with the tokens or classes of its checkpoint. Raises DataError and CheckpointError.

    Where only some of the images are trained on, the cell's seed draws them, as it draws the batches.
    """
    data = load(cell.data)
    data = images.drawn(data, cell.seed) if isinstance(data, Images) else data
    opened = checkpoint.of_cell(cell)
    return checkpoint.fold(opened, data) if opened else data


def workload_on(cell: Cell, data: Data, room: int = 0) -> Workload:
    """The workload of a cell's model on these data. room: as for `make_workload`."""
    module = WORKLOADS[spec_of(cell.model).kind, kind_of(data)]
    workload = importlib.import_module(module).Workload(cell, data)
    if learns_positions(cell.model):  # only here, so that others have the same interface at all lengths
        workload.interface = replace(workload.interface, positions=cell.length + room)
    return workload
