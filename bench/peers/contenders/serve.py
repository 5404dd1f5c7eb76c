"""A contender's process: it answers each message of its parent (peers/messages.py), and is idle in between."""

from __future__ import annotations

import ctypes
import gc
import importlib
import time
import traceback
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from lengthscale.bench.peers.case import Case
from lengthscale.bench.peers.contenders import CONTENDERS, inputs
from lengthscale.bench.peers.contenders.meter import METERS
from lengthscale.bench.peers.contenders.prepared import Arrays, Given, Prepared
from lengthscale.bench.peers.contenders.settings import building, set_up
from lengthscale.bench.peers.messages import Prepare, Ready, Sample, Sampled
from lengthscale.bench.peers.rows import find
from lengthscale.bench.plan.status import Status
from lengthscale.bench.results.messages import Done

SAMPLE_S = 0.05  # shorter calls are repeated until a sample takes about this long
MOST_CALLS = 1000


def serve(connection: Connection, name: str, cores: int) -> None:
    """Answer messages until the parent ends or sends None. name: of the contender. cores: threads of each package.

    The parent has set the environment and the affinity of this process.
    """
    contender = None
    while (message := _next(connection)) is not None:
        try:
            if isinstance(message, Prepare):
                contender = None  # its memory must be free before the next one allocates its own
                contender = _Serving(name, cores, message)
                answer = contender.ready
            else:
                assert contender is not None
                answer = contender.sample()
        except NotImplementedError as reason:
            answer = Done(Status.UNSUPPORTED, _first_line(reason))
        except Exception as error:  # any error becomes a row with its message
            traceback.print_exc()
            status = Status.OOM if _is_out_of_memory(error) else Status.ERROR
            answer = Done(status, f"{type(error).__name__}: {_first_line(error)}")
        connection.send(answer)


def _next(connection: Connection) -> Prepare | Sample | None:
    try:
        return connection.recv()
    except EOFError:
        return None


class _Serving:
    """A contender that is ready to be sampled. ready: the answer to its parent."""

    def __init__(self, name: str, cores: int, message: Prepare):
        case, row = message.case, find(message.case)
        self._meter = METERS[row.meter]
        set_up(name, cores)
        started = time.perf_counter()
        self._prepared = build(name, case, message.work, message.device)
        prepare_s = time.perf_counter() - started
        first_s, results = self._timed()
        peak_bytes = self._prepared.peak_bytes()
        outputs = self._prepared.outputs(results)
        differences = compare(outputs, message.reference)
        del results, outputs
        # On a GPU a first call loads libraries and compiles kernels, for seconds.
        is_long = first_s > 1 and row.platform == "cpu"
        again_s = first_s if is_long else self._timed()[0]
        self._calls = max(1, min(MOST_CALLS, round(SAMPLE_S / again_s)))
        _give_back_memory()
        self.ready = Ready(
            prepare_s=round(prepare_s, 3),
            first_s=min(first_s, again_s),
            calls=self._calls,
            work=self._prepared.work,
            temp_bytes=self._prepared.temp_bytes,
            peak_bytes=peak_bytes,
            differences=differences,
        )

    def sample(self) -> Sampled:
        """One sample, by the meter of the row and by the device's own clock."""
        seconds = self._meter(self._prepared, self._calls)
        device_s = self._prepared.device_s(self._calls) if self._prepared.device_s else None
        _give_back_memory()
        return Sampled(seconds, device_s)

    def _timed(self):
        start = time.perf_counter()
        results = self._prepared.call()
        self._prepared.wait(results)
        return time.perf_counter() - start, results


def build(name: str, case: Case, work: float | None, device: str) -> Prepared:
    """The contender of a case, as it is built for its row on a device: "cpu" or "cuda". work: as Given's.

    Raises NotImplementedError where the contender does not have the op or the measure.
    """
    row = find(case)
    module = importlib.import_module(f"lengthscale.bench.peers.contenders.{CONTENDERS[name].module}")
    op = replace(case, row=row.op)
    builder = builder_of(module.BUILDERS[name], op)
    given = Given(*inputs.make(op, row.d_model, row.dtype), work, summed=row.platform == "cpu")
    with building(name, row, device):
        return builder(op, given)


def builder_of(builders: dict, case: Case):
    """The builder for a case. builders: of one contender. Raises NotImplementedError where it has none."""
    for key in ((case.row, case.measure), case.row):
        with suppress(KeyError):
            return builders[key]
    raise NotImplementedError(f"no builder for {case.row} {case.measure}")


def compare(outputs: Arrays, reference: Path) -> dict[str, float]:
    """The relative difference of each output from ours.

    For values it is the largest error over the largest magnitude, for gradients ("d ...") the ratio of norms.
    reference: the .npz file of our outputs; where there is none, these are ours and it is written. Raises ValueError
    where a shape differs.
    """
    if not outputs:
        return {}
    if not reference.exists():
        np.savez(reference, **outputs)  # pyright: ignore[reportArgumentType]
        return dict.fromkeys(outputs, 0.0)
    differences = {}
    with np.load(reference) as ours:
        for name, mine in outputs.items():
            theirs = ours[name]
            if mine.shape != theirs.shape:
                raise ValueError(f"{name} has shape {mine.shape}, ours {theirs.shape}")
            size = np.linalg.norm if name.startswith("d ") else lambda x: np.abs(x).max(initial=0)
            differences[name] = float(size((mine - theirs).ravel()) / max(float(size(theirs.ravel())), 1e-6))
    return differences


def _give_back_memory() -> None:
    """Release unused memory before other contenders run."""
    gc.collect()
    with suppress(OSError, AttributeError):  # not glibc
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def _is_out_of_memory(error: Exception) -> bool:
    text = str(error)
    return (
        isinstance(error, MemoryError)
        or "RESOURCE_EXHAUSTED" in text
        or "can't allocate memory" in text
        or "out of memory" in text
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [""])[0][:300]
