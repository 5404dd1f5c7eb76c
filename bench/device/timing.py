"""Timing: warm up, then sample until both a minimum time and a minimum number are reached; every sample is kept.

Only compiled programs are timed, and the timed region waits for all outputs. A compilation in it is an error, since the
time would be wrong and not only long.

Short calls follow each other in bursts, and what disturbed them is read after each burst. To read it takes half a
millisecond, in which threads fall asleep and caches are used for other things: after each call of 1.2 ms, it made the
next one 15% to 40% slower than a loop of such calls is.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from contextlib import closing
from typing import Any

import jax

from lengthscale.bench.device.disturbance import Watch
from lengthscale.bench.plan.settings import Settings
from lengthscale.bench.results.disturbance import undisturbed, usable
from lengthscale.bench.results.messages import Samples

SHORT_S = 1.0  # a call that is not longer is warmed up twice
BURST_S = 0.01  # a burst ends after so many seconds; the kernel counts stolen time in ticks of 10 ms, too
BURST_CALLS = 20  # ... or after so many calls
_COMPILE_EVENT = "/jax/core/compile/backend_compile_duration"
_compilations = 0


def _count_compilations(event: str, *_args: Any, **_metadata: Any) -> None:
    global _compilations
    _compilations += event == _COMPILE_EVENT


jax.monitoring.register_event_duration_secs_listener(_count_compilations)


class CompiledInTimedRegionError(RuntimeError):
    """Something was compiled while a program was timed, so its times are wrong."""


def columns(samples: Samples, tokens: int) -> dict:
    """The columns of the time of one replicate. tokens: that one call handles."""
    used, _ = usable(samples)
    median = statistics.median(used)
    return {
        "time_median_ms": median,
        "n_samples": len(samples.samples_ms),
        "tokens_per_s": tokens / median * 1e3,
        "joules_per_token": samples.joules / tokens if samples.joules else None,
        **samples.columns,
    }


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    """(seconds of one call until all of its outputs are there, the outputs)."""
    start = time.perf_counter()
    results = jax.block_until_ready(call())
    return time.perf_counter() - start, results


def sample(call: Callable[[], Any], settings: Settings, run_again: Callable[[Callable], Any] = timed) -> Samples:
    """Warm up, then time `call` until the settings are met.

    The first call is not a sample: its memory pages are new, and what another process left in the caches is still
    there. A short call is warmed up twice. run_again: it runs the call that it gets, for this second time; the meter of
    memory uses it.
    Raises CompiledInTimedRegionError if anything was compiled meanwhile.
    """
    compilations = _compilations
    if timed(call)[0] <= SHORT_S:
        run_again(call)
    with closing(Watch()) as watch:
        while wants_more(watch.samples, settings):
            watch.read(burst(call, settings.max_samples))
        samples = watch.end()
    if _compilations != compilations:
        raise CompiledInTimedRegionError(f"{_compilations - compilations} compilations while timing")
    return samples


def burst(call: Callable[[], Any], most: int) -> list[float]:
    """The seconds of calls that follow each other at once. most: calls, at least 1."""
    seconds: list[float] = []
    while not seconds or (sum(seconds) < BURST_S and len(seconds) < min(most, BURST_CALLS)):
        seconds.append(timed(call)[0])
    return seconds


def wants_more(samples: Samples, settings: Settings) -> bool:
    """Whether another sample is needed: there are too few undisturbed ones so far, and there is time for another.

    Where some samples are disturbed there is twice as much time, so that undisturbed ones can follow.
    """
    ms = samples.samples_ms
    if not ms:
        return True
    good = [each for each, is_good in zip(ms, undisturbed(samples), strict=True) if is_good]
    most = 1 if len(good) == len(ms) else 2
    if len(ms) >= most * settings.max_samples or sum(ms) + statistics.median(ms) > most * settings.max_seconds * 1e3:
        return False
    return len(good) < settings.min_samples or sum(good) < settings.min_seconds * 1e3
