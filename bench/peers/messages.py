"""The messages between a contender's process and its parent. A failure is a `Done` (bench/results/messages.py)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lengthscale.bench.peers.case import Case


@dataclass(frozen=True)
class Prepare:
    """Build the contender for a case, run it once and compare its outputs with ours; the answer is Ready or Done."""

    case: Case
    reference: Path  # the file of our outputs; while there is none, the contender is ours and writes it
    work: float | None  # of one call of ours, for a limit that is a rate
    device: str = "cpu"  # of its arrays: "cpu" or "cuda"


@dataclass(frozen=True)
class Sample:
    """Time one sample of the prepared contender; the answer is Sampled or Done."""


@dataclass(frozen=True)
class Ready:
    """A contender is prepared: what preparing it has measured."""

    prepare_s: float
    first_s: float  # seconds of one call while it was prepared
    calls: int  # in one sample
    work: float | None  # bytes, FLOPs or tokens of one call, where a rate counts
    temp_bytes: int | None  # temporaries that the compiler planned
    peak_bytes: int | None  # the peak memory of the process
    differences: dict[str, float]  # the relative difference of each output from ours; empty without outputs to compare


@dataclass(frozen=True)
class Sampled:
    """One sample."""

    seconds: float  # of one call, by the row's meter: the mean over the sample's calls
    device_s: float | None = None  # of one call by the device's own clock: the median over as many calls
