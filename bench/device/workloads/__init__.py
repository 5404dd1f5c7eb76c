"""The workloads: how each kind of model is fed and run on each kind of data. Every measure uses them."""

from __future__ import annotations

import importlib

from lengthscale.bench.data import load
from lengthscale.bench.device.workloads.base import Workload
from lengthscale.bench.plan import checkpoint
from lengthscale.bench.plan.cell import Cell
from lengthscale.bench.plan.workloads import WORKLOADS, kind_of
from lengthscale.models import spec_of


def make_workload(cell: Cell) -> Workload:
    """The workload of a cell's model on its data. Raises DataError and CheckpointError."""
    data = load(cell.data)
    if opened := checkpoint.of_cell(cell):
        data = checkpoint.fold(opened, data)
    module = WORKLOADS[spec_of(cell.model).kind, kind_of(data)]
    return importlib.import_module(module).Workload(cell, data)
