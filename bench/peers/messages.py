"""What a contender's process and its parent say to each other; a failure is a `Done` (bench/results/messages.py)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lengthscale.bench.peers.case import Case


@dataclass(frozen=True)
class Prepare:
    """Build the contender for a case, run it once and compare its outputs with ours; the answer is Ready or Done."""

    case: Case
    reference: Path  # of our outputs; where there is no such file yet, the contender is ours and writes it
    work: float | None  # of a call of ours, for a limit that is a rate


@dataclass(frozen=True)
class Sample:
    """Time one sample of what was prepared; the answer is Sampled or Done."""


@dataclass(frozen=True)
class Ready:
    """What a contender is like once it is prepared."""

    prepare_s: float
    first_s: float  # seconds of a call, as preparing found it
    calls: int  # in a sample
    work: float | None  # bytes, FLOPs or tokens of a call, where a rate counts
    temp_bytes: int | None  # temporaries that the compiler planned
    peak_bytes: int | None  # the most that the process held
    differences: dict[str, float]  # from ours, of each output, relative; empty where there is nothing to compare


@dataclass(frozen=True)
class Sampled:
    """One sample."""

    seconds: float  # of one call, the mean over a sample's calls
