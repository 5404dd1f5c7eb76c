"""The cores that this process may use, changed while its threads run.

Linux keeps a set of cores for each thread (sched_setaffinity(2)), and a thread that starts inherits that of the one
that has started it. XLA starts its threads once, so all that there are must be moved.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_TASKS = Path("/proc/self/task")


def cores() -> frozenset[int]:
    """The numbers of the cores that this process may use. Raises NotImplementedError where it cannot choose them."""
    if not hasattr(os, "sched_setaffinity") or not _TASKS.exists():
        raise NotImplementedError("a process cannot choose the cores of its threads on this system, as it can on Linux")
    return frozenset(os.sched_getaffinity(0))


@contextmanager
def only(chosen: Collection[int]) -> Iterator[None]:
    """Within this context all threads of this process run on these cores, and afterwards on those of before."""
    before = cores()
    try:
        _move(chosen)
        yield
    finally:
        _move(before)


def _move(chosen: Collection[int]) -> None:
    for task in _TASKS.iterdir():
        with suppress(ProcessLookupError):  # the thread has ended
            os.sched_setaffinity(int(task.name), chosen)
