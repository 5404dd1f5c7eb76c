"""What can be done for many cells at once before they are measured on an accelerator: checks, and compiling.

Both wait for one core at a time, for seconds, while the device does nothing; so several processes do them side by side.
The process that measures is ended before, since it holds the device's memory, and nothing is measured meanwhile: what
compiles also tries kernels on the device. On a CPU nothing is prepared: a cell's preparation would run beside samples,
or its samples be warmed by it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue

from lengthscale.bench.host.server import Server
from lengthscale.bench.plan.cell import Cell
from lengthscale.bench.plan.settings import Settings
from lengthscale.bench.results.messages import Done

MOST_SERVERS = 8  # each has a context of CUDA, of half a gigabyte
BATCH = 48  # cells that are prepared at once: some minutes of results are never far away

Task = tuple[str, Cell]  # "check" or "compile", and its cell


def side_by_side(tasks: Sequence[Task], make_server: Callable[[], Server], settings: Settings) -> list[Done]:
    """The Done of each task, run by several servers at once, each on a core of its own."""
    servers = [make_server() for _ in range(min(len(tasks), MOST_SERVERS, max(1, (os.cpu_count() or 2) - 1)))]
    free: SimpleQueue[Server] = SimpleQueue()
    for server in servers:
        free.put(server)

    def run(task: Task) -> Done:
        server = free.get()
        try:
            _, cell = task
            return server.run(*task, settings.of(cell.measure, cell.size), lambda stage: None, time.monotonic())
        finally:
            free.put(server)

    with ThreadPoolExecutor(max(1, len(servers))) as pool:
        try:
            return list(pool.map(run, tasks))
        finally:  # also when interrupted: what still runs ends with its server
            pool.shutdown(wait=False, cancel_futures=True)
            for server in servers:
                server.end()


def next_batch(cell: Cell, cells: Iterable[Cell], prepared: set[Cell]) -> list[Cell]:
    """The cells to prepare when this one comes: it, and those after it that are not prepared, up to BATCH."""
    ahead = [each for each in cells if each not in prepared]
    return ahead[ahead.index(cell) :][:BATCH]
