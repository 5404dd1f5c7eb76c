"""Timing: warm up, then sample until both a minimum time and a minimum number are reached; every sample is kept.

Only compiled programs are timed, and the timed region waits for all outputs. A compilation in it is an error, since the
time would be wrong and not only long.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from lengthscale.bench.plan.settings import Settings
from lengthscale.bench.results import intervals
from lengthscale.bench.results.estimate import Estimate

FEW, NOISY, COARSE_TICKS = 5, 0.05, 1000
_COMPILE_EVENT = "/jax/core/compile/backend_compile_duration"
_compilations = 0


def _count_compilations(event: str, *_args: Any, **_metadata: Any) -> None:
    global _compilations
    _compilations += event == _COMPILE_EVENT


jax.monitoring.register_event_duration_secs_listener(_count_compilations)


class CompiledInTimedRegionError(RuntimeError):
    """Something was compiled while a program was timed, so its times are wrong."""


def columns(seconds: tuple[float, ...], tokens: int) -> dict:
    """The TIME columns. seconds: of each call. tokens: that one call handles."""
    ms = np.array(seconds) * 1e3
    median = intervals.median(ms)
    return {
        "time_median_ms": median.value,
        "time_p10_ms": float(np.quantile(ms, 0.1)),
        "time_p90_ms": float(np.quantile(ms, 0.9)),
        "time_low_ms": median.low,
        "time_high_ms": median.high,
        "n_samples": len(ms),
        "tokens_per_s": tokens / median.value * 1e3,
        "flags": " ".join(_flags(len(ms), median.times(1e-3))) or None,
    }


def _flags(n_samples: int, median: Estimate) -> list[str]:
    """The flags that warn a reader of these samples. median: in seconds."""
    flags = ["few"] if n_samples < FEW else []
    if median.interval and median.interval[1] - median.interval[0] > 2 * NOISY * median.value:
        flags.append("noisy")
    if median.value < COARSE_TICKS * time.get_clock_info("perf_counter").resolution:
        flags.append("coarse")
    return flags


def wants_more(seconds: tuple[float, ...], settings: Settings) -> bool:
    """Whether another round of samples is needed, since the median is not yet precise enough. seconds: so far.

    This uses the median's 95% interval from order statistics (Conover 1999, section 3.2), which needs no memory while
    the process's peak is measured.
    """
    n = len(seconds)
    if sum(seconds) >= settings.precision_s or n >= settings.max_samples:
        return False
    low, high = math.floor((n - 1.96 * n**0.5) / 2), math.ceil((n + 1.96 * n**0.5) / 2)
    if low < 0 or high >= n:
        return True
    ordered = sorted(seconds)
    return ordered[high] - ordered[low] > 2 * settings.precision * statistics.median(ordered)


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    """(seconds of one call until all of its outputs are there, the outputs)."""
    start = time.perf_counter()
    results = jax.block_until_ready(call())
    return time.perf_counter() - start, results


def sample(
    call: Callable[[], Any], settings: Settings, rounds: int = 1, before: tuple[float, ...] = ()
) -> tuple[float, ...]:
    """Warm up, then time `call` until the settings are met. Returns the seconds of each call, in order.

    rounds: how often the caller samples in all; the number of samples is shared among the rounds. before: the samples
    of earlier rounds. The first call is not a sample: on a virtual machine, new memory pages can double its time. A
    short call is warmed up twice, a call over `slow_step_s` only in the first round. A slow call is sampled
    `min_samples_slow` times, or twice if those took `max_seconds`. Raises CompiledInTimedRegionError if anything was
    compiled meanwhile.
    """
    compilations = _compilations
    step_s = float(np.median(before)) if before else timed(call)[0]
    slow = settings.is_slow(step_s)
    if not slow and (before or step_s < 0.1):
        timed(call)
    # The first call is slower than a sample, so only the samples of a slow step decide when they are enough.
    wanted = -(-(settings.min_samples_slow if slow else settings.min_samples) // rounds)
    seconds: list[float] = []
    while len(seconds) < wanted or (sum(seconds) < settings.min_seconds and len(seconds) < settings.max_samples):
        if slow and settings.is_enough(len(before) + len(seconds), sum(before) + sum(seconds)):
            break
        seconds.append(timed(call)[0])
    if _compilations != compilations:
        raise CompiledInTimedRegionError(f"{_compilations - compilations} compilations while timing")
    return tuple(seconds)
