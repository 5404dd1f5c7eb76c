"""A contender's process: it answers one line of JSON with one line of JSON, and does nothing in between.

    {"prepare": case, "reference": path, "work": number}  ->  {"ready": {...}} or {"failed": status, "reason": text}
    {"sample": true}                                      ->  {"seconds": of one call, the mean over `calls`}

Ours comes first: where there is no file at `reference`, its outputs go there; the others are compared with them.
What the packages print goes to standard error.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import sys
import time
import traceback
from contextlib import suppress
from pathlib import Path

SAMPLE_S = 0.05  # shorter calls are repeated until a sample takes about so long
MOST_CALLS = 1000


def main(name: str, cores: int) -> None:
    """Serve until standard input ends."""
    if hasattr(os, "sched_setaffinity"):  # before any package starts its threads
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
    channel = _take_standard_output()
    contender = None
    for line in sys.stdin:
        message = json.loads(line)
        try:
            if "prepare" in message:
                contender = None  # what it held is free before the next takes its own
                contender = Serving(name, cores, message)
                answer = {"ready": contender.facts}
            else:
                assert contender is not None
                answer = {"seconds": contender.sample()}
        except NotImplementedError as reason:
            answer = {"failed": "unsupported", "reason": _reason(reason)}
        except Exception as error:  # whatever it was, it becomes a row that says so
            traceback.print_exc()
            status = "oom" if _no_memory(error) else "error"
            answer = {"failed": status, "reason": f"{type(error).__name__}: {_reason(error)}"}
        channel.write(json.dumps(answer) + "\n")
        channel.flush()


def _take_standard_output():
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return channel


class Serving:
    """A contender that is ready to be sampled."""

    def __init__(self, name: str, cores: int, message: dict):
        from lengthscale.bench.peers.case import Case
        from lengthscale.bench.peers.contenders import CONTENDERS, inputs, prepared

        if "torch" in CONTENDERS[name].packages:
            import torch

            torch.set_num_threads(cores)
        case = Case(**message["prepare"])
        module = importlib.import_module(f"lengthscale.bench.peers.contenders.{CONTENDERS[name].module}")
        builder = builder_of(module.BUILDERS[name], case)
        started = time.perf_counter()
        given = prepared.Given(*inputs.make(case), message["work"])
        self._prepared = builder(case, given)
        prepare_s = time.perf_counter() - started
        first_s, results = self._timed()
        peak_bytes = self._prepared.peak_bytes()
        outputs = self._prepared.outputs(results)
        differences = compare(outputs, Path(message["reference"]))
        del results, outputs
        again_s = first_s if first_s > 1 else self._timed()[0]
        self.calls = max(1, min(MOST_CALLS, round(SAMPLE_S / again_s)))
        self._short = again_s < 0.5
        _give_back_memory()
        self.facts = {
            "prepare_s": round(prepare_s, 3),
            "first_s": min(first_s, again_s),
            "calls": self.calls,
            "work": self._prepared.work,
            "temp_bytes": self._prepared.temp_bytes,
            "peak_bytes": peak_bytes,
            "differences": differences,
        }

    def sample(self) -> float:
        """Seconds of a call. A short one is called once before: another process had the core and its caches."""
        if self._short:
            self._prepared.call()
        start = time.perf_counter()
        for _ in range(self.calls):
            self._prepared.call()
        seconds = (time.perf_counter() - start) / self.calls
        _give_back_memory()
        return seconds

    def _timed(self):
        start = time.perf_counter()
        results = self._prepared.call()
        return time.perf_counter() - start, results


def builder_of(builders: dict, case):
    for key in ((case.row, case.measure), case.row):
        with suppress(KeyError):
            return builders[key]
    raise NotImplementedError(f"no builder for {case.row} {case.measure}")


def compare(outputs: dict, reference: Path) -> dict[str, float]:
    """By how much each output is off: a value by its largest error over the largest magnitude, a gradient by norms."""
    import numpy as np

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
    """While others run, only what is needed is held."""
    gc.collect()
    with suppress(OSError, AttributeError):  # not glibc
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def _no_memory(error: Exception) -> bool:
    text = str(error)
    return isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in text or "can't allocate memory" in text


def _reason(error: Exception) -> str:
    return (str(error).strip().splitlines() or [""])[0][:300]


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
