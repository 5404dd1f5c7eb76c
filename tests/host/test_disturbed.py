"""A real cell with a busy process on one of its cores: its medians are those of a quiet run, or it is flagged."""

import math
import os
import subprocess
import sys

import pytest

from lengthscale.bench.host.runner import Runner
from lengthscale.bench.plan.cell import Cell
from lengthscale.bench.plan.settings import Settings

CELL = Cell("forward", "mamba", "tiny", "auto", 1024, 1, "float32", 0, "text", 0)
SETTINGS = Settings(timeout_s=60, min_seconds=0.1, max_seconds=1.0)
BUSY = "import os; os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})\nwhile True: pass"


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/schedstat"), reason="needs Linux's /proc")
def test_a_busy_process_on_one_core_is_seen():
    quiet = Runner(SETTINGS).measure(CELL)
    busy = subprocess.Popen([sys.executable, "-c", BUSY])
    try:
        crowded = Runner(SETTINGS).measure(CELL, replicate=1)
    finally:
        busy.kill()
        busy.wait()
    assert (quiet.status, crowded.status) == ("ok", "ok")
    assert len(crowded.waited_ms) == len(crowded.samples_ms) == crowded.row.n_samples
    assert crowded.other_cores is not None
    assert crowded.other_cores > 0.3
    if quiet.is_disturbed:  # by other tests: then there is nothing to compare with
        return
    ratio = (crowded.median_ms() or 0) / (quiet.median_ms() or 1)
    assert crowded.is_disturbed or abs(math.log(ratio)) < 0.3  # wide: the machine itself is noisy
