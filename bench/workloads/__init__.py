"""How each kind of model is fed and run on each kind of data; every measure works through this. No jax here.

Adding a kind: one file with a Workload, one line here.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from bench import checkpoint, tasks
from bench.cell import Cell
from bench.tasks import Images, Stream
from bench.tasks.synthetic import Task
from models import MODELS

if TYPE_CHECKING:
    from bench.workloads.base import Workload

Data = Stream | Images | Task

# (kind of model, kind of data) -> the module that holds a class Workload
WORKLOADS = {
    ("sequence", Stream): "bench.workloads.text",
    ("sequence", Task): "bench.workloads.scored",
    ("sequence", Images): "bench.workloads.pixels",
    ("pairs", Stream): "bench.workloads.pairs",
    ("images", Images): "bench.workloads.pictures",
}
DEFAULT_DATA = {"sequence": "text", "pairs": "text", "images": "mnist"}


def make_workload(cell: Cell) -> Workload:
    data = tasks.load(cell.data)
    if opened := checkpoint.of_cell(cell):
        data = checkpoint.fold(opened, data)
    module = WORKLOADS[MODELS[cell.model].kind, _kind(data)]
    return importlib.import_module(module).Workload(cell, data)


def unsupported(model: str, data: Data) -> str | None:
    """Why the model cannot read the data, or None."""
    kind = MODELS[model].kind
    if (kind, _kind(data)) in WORKLOADS:
        return None
    known = " or ".join(_NAMES[of_data] for of_model, of_data in WORKLOADS if of_model == kind)
    return f"{model} reads {known}, not {_NAMES[_kind(data)]}"


def version(data: Data) -> str:
    """What figures on the data may be compared by: a hash of its content, or the task's parameters."""
    return str(data) if isinstance(data, Task) else data.version


def _kind(data: Data) -> type:
    return next(kind for kind in _NAMES if isinstance(data, kind))


_NAMES = {Stream: "a stream of tokens", Images: "images", Task: "a synthetic task"}
