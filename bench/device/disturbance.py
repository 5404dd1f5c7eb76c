"""The samples of a process, with what disturbed them: waiting for a core, other processes, a GPU that is slowed down.

Linux tells, for each thread, for how long it could have run and had no core (Documentation/scheduler/sched-stats.rst),
and for each core what it was used for in hundredths of a second (Documentation/filesystems/proc.rst). A process that
uses more threads than it has cores waits for its own threads, too.
"""

from __future__ import annotations

import os
import resource
import statistics
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from lengthscale.bench.device.power import EnergyMeter, Gpu, GpuState
from lengthscale.bench.results.messages import Samples

_TASKS, _STAT = Path("/proc/self/task"), Path("/proc/stat")
_TICK_S = 1 / os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 0.01
_IDLE, _IOWAIT, _STEAL = 3, 4, 7  # fields of a core's line in /proc/stat, of which 8 are disjoint times


NO_DISTURBANCE = ("sw_power_cap",)  # of a GPU's reasons to slow down: under load it is always at its power limit


class Totals(NamedTuple):
    """What has added up since the process, or the machine, began."""

    waited_ns: int
    busy_s: float
    stolen_s: float
    switches: int


class Watch:
    """Watches this process while it is sampled. Make it, or `begin` again, when all threads have been started."""

    def __init__(self):
        self._threads: list[int] = []
        self._meter, self._gpu = EnergyMeter.of_device(), Gpu.of_device()
        self.begin()

    def begin(self) -> None:
        """Begin again: what was sampled so far is forgotten."""
        self.close()
        with suppress(OSError):
            self._threads = [os.open(task / "schedstat", os.O_RDONLY) for task in _TASKS.iterdir()]
        self.samples = Samples()
        self._states: list[GpuState] = []
        self._began, self._cpu_s = time.monotonic(), time.process_time()
        self._before = self._now()
        self._busy_s = self._before.busy_s
        self._meter.joules()

    def read(self, seconds: Sequence[float]) -> None:
        """Add samples that have just ended, with what disturbed them since the last ones: each has its share of it."""
        state = self._gpu.state() if self._gpu else None
        before, now = self._before, self._now()
        self._before = now
        self._meter.update()
        mine = self.samples
        if self._threads:
            shares = [each / sum(seconds) for each in seconds]
            waited_ms, stolen_ms = (now.waited_ns - before.waited_ns) * 1e-6, (now.stolen_s - before.stolen_s) * 1e3
            mine = replace(
                mine,
                waited_ms=(*mine.waited_ms, *(round(share * waited_ms, 3) for share in shares)),
                stolen_ms=(*mine.stolen_ms, *(round(share * stolen_ms, 3) for share in shares)),
                switches=(*mine.switches, *(0 for _ in shares[1:]), now.switches - before.switches),
                other_cores=self._other_cores(now.busy_s),
            )
        if state:
            self._states.append(state)
            reasons = " ".join(each for each in state.throttling if each not in NO_DISTURBANCE)
            mine = replace(mine, throttled=(*mine.throttled, *[reasons] * len(seconds)))
        self.samples = replace(mine, samples_ms=(*mine.samples_ms, *(round(each * 1e3, 6) for each in seconds)))

    def end(self) -> Samples:
        """All samples since the beginning, with the energy of a call and what other processes used meanwhile."""
        energy = self._meter.columns(len(self.samples.samples_ms))
        columns = {"energy_source": energy["energy_source"]}
        if self._states:
            columns["sm_clock_mhz"] = statistics.median(state.sm_clock_mhz for state in self._states)
            reasons = dict.fromkeys(reason for state in self._states for reason in state.throttling)
            columns["throttle_reasons"] = " ".join(reasons) or None
        return replace(self.samples, joules=energy["joules_per_token"], columns=columns)

    def close(self) -> None:
        """Close the files."""
        while self._threads:
            os.close(self._threads.pop())

    def _other_cores(self, busy_s: float) -> float:
        """The cores that other processes used since the beginning. busy_s: of all cores, until now."""
        others = busy_s - self._busy_s - (time.process_time() - self._cpu_s)
        return round(max(0.0, others) / (time.monotonic() - self._began), 3)

    def _now(self) -> Totals:
        waited = 0
        for thread in self._threads:
            with suppress(OSError):  # the thread has ended
                waited += int(os.pread(thread, 100, 0).split()[1])
        return Totals(waited, *_cores(), resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw)


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
