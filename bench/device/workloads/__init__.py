"""How each kind of model is fed and run on each kind of data; every measure works through this."""

from __future__ import annotations

import importlib

from lengthscale.bench.data import load
from lengthscale.bench.device.workloads.base import Workload
from lengthscale.bench.plan import checkpoint
from lengthscale.bench.plan.cell import Cell
from lengthscale.bench.plan.workloads import WORKLOADS, kind_of
from lengthscale.models import spec_of


def make_workload(cell: Cell) -> Workload:
    data = load(cell.data)
    if opened := checkpoint.of_cell(cell):
        data = checkpoint.fold(opened, data)
    module = WORKLOADS[spec_of(cell.model).kind, kind_of(data)]
    return importlib.import_module(module).Workload(cell, data)
