"""Disturbance: which samples of a replicate other processes have disturbed, and which samples its median is of.

A disturbed sample is kept and marked. It is not averaged with undisturbed ones where there are enough of those; where
there are not, the replicate's median is of all samples, and the cell is flagged.
"""

from __future__ import annotations

from collections.abc import Sequence

# Of a sample's time: how long the process's threads together waited for a core, or the virtual machine's host took one
# away. On a quiet machine with 2 cores it is 0.01 to 0.12, and with a busy process on one of them 0.8.
LARGEST_WAIT = 0.25
OTHER_CORES = 0.3  # that other processes used while a replicate was sampled: caches and clock rates suffer unseen
ENOUGH = 5  # undisturbed samples; of fewer than 10 samples, half of them


def undisturbed(samples_ms: Sequence[float], *waits_ms: Sequence[float]) -> list[bool]:
    """Whether each sample is undisturbed. waits_ms: waited and stolen times, each empty where it is unknown."""
    known = [each for each in waits_ms if each]
    return [sum(each[i] for each in known) <= LARGEST_WAIT * ms for i, ms in enumerate(samples_ms)]


def usable(samples_ms: Sequence[float], *waits_ms: Sequence[float]) -> tuple[list[float], bool]:
    """(the samples that a replicate's median is of, whether they include disturbed ones); arguments as above."""
    good = [ms for ms, is_good in zip(samples_ms, undisturbed(samples_ms, *waits_ms), strict=True) if is_good]
    enough = len(good) >= min(ENOUGH, -(-len(samples_ms) // 2))
    return (good, False) if enough else (list(samples_ms), True)
