"""What disturbs a process while it is sampled: the cores that it waited for, and what other processes used meanwhile.

Linux tells, for each thread, for how long it could have run and had no core (Documentation/scheduler/sched-stats.rst),
and for each core what it was used for in hundredths of a second (Documentation/filesystems/proc.rst). A process that
uses more threads than it has cores waits for its own threads, too.
"""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from lengthscale.bench.results.messages import Samples

_TASKS, _STAT = Path("/proc/self/task"), Path("/proc/stat")
_TICK_S = 1 / os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 0.01
_IDLE, _IOWAIT, _STEAL = 3, 4, 7  # fields of a core's line in /proc/stat, of which 8 are disjoint times


class Watch:
    """Watches this process. Make it, or `begin` again, when all threads have been started; and close it."""

    def __init__(self):
        self._threads: list[int] = []
        self.begin()

    def begin(self) -> None:
        """Begin again: what was read so far is forgotten."""
        self.close()
        with suppress(OSError):
            self._threads = [os.open(task / "schedstat", os.O_RDONLY) for task in _TASKS.iterdir()]
        self._began, self._cpu_s = time.monotonic(), time.process_time()
        self._busy_s, _ = _cores()
        self._before = self._now()
        self._read: list[tuple[float, float, int]] = []

    def read(self) -> tuple[float, float]:
        """(waited, stolen) milliseconds since the last call; also kept, as one sample's, with the switches."""
        now = self._now()
        waited, stolen, switches = (after - before for after, before in zip(now, self._before, strict=True))
        self._before = now
        self._read.append((waited * 1e-6, stolen * 1e3, int(switches)))
        return self._read[-1][:2]

    def samples(self, seconds: Iterable[float]) -> Samples:
        """The samples, with what was read after each of them. seconds: of each sample."""
        ms = tuple(round(second * 1e3, 6) for second in seconds)
        if not self._threads:
            return Samples(ms)
        waited, stolen, switches = zip(*self._read, strict=True)
        elapsed = time.monotonic() - self._began
        busy_s, _ = _cores()
        others = max(0.0, busy_s - self._busy_s - (time.process_time() - self._cpu_s)) / elapsed
        waited, stolen = (tuple(round(value, 3) for value in values) for values in (waited, stolen))
        return Samples(ms, waited, stolen, switches, round(others, 3))

    def close(self) -> None:
        """Close the files."""
        while self._threads:
            os.close(self._threads.pop())

    def _now(self) -> tuple[float, float, int]:
        """(nanoseconds waited, seconds stolen, switches) since the process, or the machine, began."""
        waited = 0
        for thread in self._threads:
            with suppress(OSError):  # the thread has ended
                waited += int(os.pread(thread, 100, 0).split()[1])
        return waited, _cores()[1], resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw


def _cores() -> tuple[float, float]:
    """(busy seconds, stolen seconds) of the cores that this process may use, since the machine began; 0 if unknown."""
    try:
        lines = _STAT.read_text().splitlines()
        mine = {f"cpu{number}" for number in os.sched_getaffinity(0)}
    except (OSError, AttributeError):
        return 0.0, 0.0
    cores = [list(map(int, line.split()[1:9])) for line in lines if line.split()[0] in mine]
    idle = sum(core[_IDLE] + core[_IOWAIT] + core[_STEAL] for core in cores)
    return (sum(map(sum, cores)) - idle) * _TICK_S, sum(core[_STEAL] for core in cores) * _TICK_S
