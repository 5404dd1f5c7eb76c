"""Which workload feeds and runs each kind of model on each kind of data. Every measure uses workloads.

Adding a kind: one file with a Workload, one line here.
"""

from __future__ import annotations

from lengthscale.bench.data import Images, Stream
from lengthscale.bench.data.synthetic import Task
from lengthscale.models import spec_of

Data = Stream | Images | Task

# (kind of model, kind of data) -> the module that holds a class Workload
WORKLOADS = {
    ("sequence", Stream): "lengthscale.bench.device.workloads.text",
    ("sequence", Task): "lengthscale.bench.device.workloads.scored",
    ("sequence", Images): "lengthscale.bench.device.workloads.pixels",
    ("pairs", Stream): "lengthscale.bench.device.workloads.pairs",
    ("images", Images): "lengthscale.bench.device.workloads.pictures",
}
DEFAULT_DATA = {"sequence": "text", "pairs": "text", "images": "mnist"}


def unsupported(model: str, data: Data) -> str | None:
    """Why the model cannot read the data, or None."""
    kind = spec_of(model).kind
    if (kind, kind_of(data)) in WORKLOADS:
        return None
    known = " or ".join(_NAMES[of_data] for of_model, of_data in WORKLOADS if of_model == kind)
    return f"{model} reads {known}, not {_NAMES[kind_of(data)]}"


def version(data: Data) -> str:
    """The version of the data: a hash of its content, or the task's parameters. Only equal versions are compared."""
    return str(data) if isinstance(data, Task) else data.version


def kind_of(data: Data) -> type:
    """The class of the data: Stream, Images or Task."""
    return next(kind for kind in _NAMES if isinstance(data, kind))


_NAMES = {Stream: "a stream of tokens", Images: "images", Task: "a synthetic task"}
