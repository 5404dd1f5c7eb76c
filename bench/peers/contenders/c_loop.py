"""The selective scan as a C loop (selective_scan.c), compiled when it is needed: the time of vectorised arithmetic.

It uses one core, as a loop over time must. Raises NotImplementedError where there is no compiler.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from lengthscale.bench.peers.case import Case
from lengthscale.bench.peers.contenders.prepared import Given, Prepared

_SOURCE = Path(__file__).with_name("selective_scan.c")
# -ffast-math lets gcc take expf from libmvec, the C library's vector functions.
_FLAGS = ("-O3", "-march=native", "-ffast-math", "-shared", "-fPIC")


def _compile():
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise NotImplementedError("no C compiler on PATH (cc, gcc or clang)")
    with tempfile.TemporaryDirectory(prefix="lengthscale-c-") as folder:
        library = Path(folder) / "selective_scan.so"
        for more in (("-lmvec", "-lm"), ("-lm",)):  # only glibc has libmvec
            done = subprocess.run(
                [compiler, *_FLAGS, str(_SOURCE), "-o", str(library), *more], capture_output=True, text=True
            )
            if done.returncode == 0:
                return ctypes.CDLL(str(library)).selective_scan
    raise NotImplementedError(f"{compiler} failed: {done.stderr.strip()[-200:]}")


def _selective_scan(case: Case, given: Given) -> Prepared:
    if case.batch != 1:
        raise NotImplementedError("the C loop handles one sequence only")
    function = _compile()
    u, dt, B, C = (np.ascontiguousarray(given.arrays[name][0]) for name in ("u", "dt", "B", "C"))
    A = np.ascontiguousarray(given.arrays["A"].T)
    (length, width), states = u.shape, A.shape[0]
    h, y = np.zeros((states, width), np.float32), np.zeros_like(u)
    pointers = [array.ctypes.data_as(ctypes.c_void_p) for array in (u, dt, A, B, C, h, y)]

    def call():
        h[...] = 0
        function(length, width, states, *pointers)
        return y

    return Prepared(call, lambda y: {"y": y[None]})


BUILDERS = {"c-loop": {("selective-scan", "forward"): _selective_scan}}
