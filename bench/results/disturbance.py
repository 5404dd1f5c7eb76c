"""Disturbance: which samples of a replicate were disturbed, and which samples its median is of.

A sample is disturbed if other processes took cores from it, or if heat or a power brake slowed the GPU down.

A disturbed sample is kept and marked. It is not averaged with undisturbed ones where there are enough of those; where
there are not, the replicate's median is of all samples, and the cell is flagged.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

# Of a sample's time: how long the process's threads together waited for a core, or the virtual machine's host took one
# away. On a quiet machine with 2 cores it is 0.01 to 0.12, and with a busy process on one of them 0.8.
LARGEST_WAIT = 0.25
# Where other processes used fewer cores than this, the threads waited for each other: those of the C++ kernels and of
# XLA are more than 2, and on a quiet machine an attention step waited for 0.9 of its time.
QUIET_CORES = 0.15
OTHER_CORES = 0.3  # that other processes used while a replicate was sampled: caches and clock rates suffer unseen
ENOUGH = 5  # undisturbed samples; of fewer than 10 samples, half of them


class Sampled(Protocol):
    """Raw samples, with what disturbed each; an empty tuple where the system does not tell (results/record.py)."""

    @property
    def samples_ms(self) -> Sequence[float]: ...
    @property
    def waited_ms(self) -> Sequence[float]: ...
    @property
    def stolen_ms(self) -> Sequence[float]: ...
    @property
    def throttled(self) -> Sequence[str]: ...
    @property
    def other_cores(self) -> float | None: ...


def undisturbed(samples: Sampled) -> list[bool]:
    """Whether each sample is undisturbed."""
    others = samples.other_cores is None or samples.other_cores >= QUIET_CORES
    waits = [each for each in (samples.waited_ms if others else (), samples.stolen_ms) if each]
    return [
        sum(each[i] for each in waits) <= LARGEST_WAIT * ms and not (samples.throttled and samples.throttled[i])
        for i, ms in enumerate(samples.samples_ms)
    ]


def usable(samples: Sampled) -> tuple[list[float], bool]:
    """(the times that a replicate's median is of, whether they include disturbed samples)."""
    good = [ms for ms, is_good in zip(samples.samples_ms, undisturbed(samples), strict=True) if is_good]
    enough = len(good) >= min(ENOUGH, -(-len(samples.samples_ms) // 2))
    return (good, False) if enough else (list(samples.samples_ms), True)
