"""The meters: a known sleep, a known allocation, a spy on the wait, a compilation that is caught."""

import os
import subprocess
import sys
import time
from dataclasses import replace
from unittest.mock import Mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lengthscale.bench.device import memory, peaks, program, timing
from lengthscale.bench.device.disturbance import Totals, Watch
from lengthscale.bench.plan.cell import Cell
from lengthscale.bench.plan.settings import Settings
from lengthscale.bench.results import rates
from lengthscale.bench.results.messages import Measured, Samples
from lengthscale.bench.results.record import Row
from tests.helpers.runs import made

SETTINGS = Settings(min_samples=5, min_seconds=0.0)


def sampled(step_s, settings, waits_ms=(), name="waited_ms"):
    """How often a step of so many seconds is sampled. waits_ms: of the first samples, in the column of this name."""
    samples, waits = Samples(), iter(waits_ms)
    while timing.wants_more(samples, settings):
        waited = (*getattr(samples, name), next(waits, type(waits_ms[0])() if waits_ms else 0.0))
        samples = replace(samples, samples_ms=(*samples.samples_ms, step_s * 1e3), **{name: waited})
    return len(samples.samples_ms)


def test_a_known_sleep():
    columns = timing.columns(timing.sample(lambda: time.sleep(0.02), SETTINGS), tokens=10)
    assert columns["n_samples"] >= 5  # more if other tests disturb some
    assert 20 <= columns["time_median_ms"] < 60
    assert columns["tokens_per_s"] == pytest.approx(10 / columns["time_median_ms"] * 1e3)


def test_short_calls_follow_each_other_in_bursts_and_what_disturbed_them_is_read_after_each(monkeypatch):
    reads = []
    monkeypatch.setattr(Watch, "_now", lambda self: reads.append(0) or Totals(len(reads) * 2_000_000, 0.0, 0.0, 3))
    samples = timing.sample(lambda: time.sleep(0.002), replace(SETTINGS, min_samples=8))
    bursts = len(reads) - 1  # one reading is at the start
    assert bursts < len(samples.samples_ms) <= 5 * bursts  # a call takes 2 ms or more, a burst 10 or little more
    if samples.waited_ms:  # Linux
        assert sum(samples.waited_ms) == pytest.approx(2 * bursts, abs=0.01)  # each call has its share
        longest = samples.samples_ms.index(max(samples.samples_ms))
        assert samples.waited_ms[longest] == pytest.approx(max(samples.waited_ms), abs=0.005)
    assert len(timing.burst(lambda: None, 400)) == timing.BURST_CALLS
    assert len(timing.burst(lambda: None, 3)) == 3
    assert len(timing.burst(lambda: time.sleep(0.02), 400)) == 1


def test_the_warm_up_is_not_a_sample():
    naps = iter([0.3, 0.2, *[0.02] * 50])
    samples = timing.sample(lambda: time.sleep(next(naps)), SETTINGS)
    assert max(samples.samples_ms) < 150


def test_a_short_call_is_warmed_up_twice_and_a_long_one_once(monkeypatch):
    calls = []
    monkeypatch.setattr(timing, "wants_more", lambda samples, settings: len(samples.samples_ms) < 2)
    two = replace(SETTINGS, max_samples=2)
    timing.sample(lambda: calls.append("call"), two, lambda call: calls.append("again"))
    assert calls == ["call", "again", "call", "call"]
    calls.clear()
    monkeypatch.setattr(timing, "SHORT_S", -1.0)
    timing.sample(lambda: calls.append("call"), two, lambda call: calls.append("again"))
    assert calls == ["call", "call", "call"]


@pytest.mark.parametrize(
    ("step_s", "expected"),
    [
        (0.001, 200),  # at most max_samples
        (0.01, 40),  # until min_seconds have passed
        (0.2, 5),  # at least min_samples
        (1.0, 4),  # which would take longer than max_seconds
        (3.0, 1),
        (9.0, 1),  # one in any case
    ],
)
def test_how_often_a_quiet_call_is_sampled(step_s, expected):
    settings = Settings(min_samples=5, min_seconds=0.4, max_seconds=4.0, max_samples=200)
    assert sampled(step_s, settings) == expected == settings.samples(step_s)


def test_a_disturbed_call_is_sampled_until_enough_samples_are_undisturbed_or_twice_the_time_is_spent():
    settings = Settings(min_samples=5, min_seconds=0.0, max_seconds=4.0, max_samples=200)
    assert sampled(0.1, settings, [30.0] * 7) == 12
    assert sampled(0.1, settings, [30.0] * 99, "stolen_ms") == 80
    assert sampled(0.1, settings, ["sw_thermal_slowdown"] * 7, "throttled") == 12


@pytest.mark.skipif(not os.path.exists("/proc/self/schedstat"), reason="needs Linux's /proc")
@pytest.mark.parametrize("others", [0, 1])
def test_what_a_loop_on_one_core_does_not_compute_it_waits(others):
    """others: busy processes on the same core. Whatever else the machine does, the loop computes or waits."""
    result = subprocess.run([sys.executable, "-c", LOOP, str(others)], capture_output=True, text=True, check=True)
    waited, computed, elapsed = map(float, result.stdout.split())
    assert waited + computed == pytest.approx(elapsed, rel=0.1)
    assert waited > 0.3 * elapsed * others


LOOP = """
import os, subprocess, sys, time
from lengthscale.bench.device.disturbance import Watch
os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(int(sys.argv[1]))]
time.sleep(0.3 * len(others))
watch, started, computed = Watch(), time.perf_counter(), time.process_time()
while time.perf_counter() < started + 1: pass
watch.read([time.perf_counter() - started])
print(watch.samples.waited_ms[0] / 1e3, time.process_time() - computed, time.perf_counter() - started)
for other in others: other.kill()
"""


def test_rates_are_work_over_time_and_shares_of_what_was_measured():
    step = program.Compiled(Mock(tokens=1), None, {"flops": 10**9, "mem_planned_bytes": 0}, moved_bytes=10**7)
    columns = step.timed(Samples((2.0, 2.0, 2.0)))
    assert (columns["flops_per_s"], columns["bytes_per_s"]) == (5e11, 5e9)
    rows = (Row(flops_per_s=5e11), Row(loss=1.0))
    cell = Cell("train", "rnn", "tiny", "auto", 16, 1, "float32", 0, "text", 0)
    first, second = rates.with_shares(made(cell, rows=rows), {"gemm_flops_per_s": {"float32": 1e12}}).rows
    assert first.gemm_share == 0.5
    assert second == Row(loss=1.0)
    assert rates.with_shares(made(cell, rows=rows), {}).row.gemm_share is None


def test_the_machine_s_peaks_hold_for_a_product_of_our_own(monkeypatch):
    monkeypatch.setattr(peaks, "SIDE", 512)
    monkeypatch.setattr(peaks, "COPIED_BYTES", 1 << 22)
    found = peaks.measure_peaks()
    assert set(found["gemm_flops_per_s"]) == {"float32", "bfloat16"}
    a = jnp.ones((512, 512))
    product = jax.jit(lambda a: a @ a).lower(a).compile()
    best = min(timing.timed(lambda: product(a))[0] for _ in range(20))
    # wide bounds: the tests' processes share the cores
    assert 0.2 < 2 * 512**3 / best / found["gemm_flops_per_s"]["float32"] < 5
    assert 1e8 < found["copy_bytes_per_s"] < 1e13


def test_all_outputs_are_waited_for(monkeypatch):
    waited = []
    monkeypatch.setattr(jax, "block_until_ready", lambda results: waited.append(results) or results)
    outputs = {"a": jnp.ones(2), "b": (jnp.ones(3),)}
    timing.timed(lambda: outputs)
    assert waited == [outputs]


def test_a_compilation_in_the_timed_region_is_an_error():
    sizes = iter(range(1000, 2000))
    fresh = jax.jit(lambda x: x * 3.5)
    with pytest.raises(timing.CompiledInTimedRegionError, match="compilations while timing"):
        timing.sample(lambda: fresh(np.ones(next(sizes))), SETTINGS)


PEAK = """
import jax, jax.numpy as jnp
from lengthscale.bench.device import memory
x = jnp.ones((3072, 3072))  # 36 MiB
f = jax.jit(lambda x: jnp.tanh(x @ x) @ x).lower(x).compile()
meter = memory.PeakMeter()
big = bytearray(b"x") * (500 << 20); del big
print(meter.columns(x)["mem_peak_bytes"])
meter = memory.PeakMeter()
y = f(x).block_until_ready()
print(meter.columns((x, y))["mem_peak_bytes"], memory.planned_bytes(f))
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/clear_refs"), reason="needs Linux's /proc")
def test_a_known_allocation_and_a_program_against_its_plan():
    result = subprocess.run([sys.executable, "-c", PEAK], capture_output=True, text=True, check=True)
    allocation, program = result.stdout.splitlines()
    assert int(allocation) == pytest.approx((500 + 36) << 20, rel=0.05)  # the argument counts as well
    observed, planned = map(int, program.split())
    assert observed == pytest.approx(planned, rel=0.15)  # and the earlier 500 MiB are forgotten


def test_the_meter_of_memory_does_not_lengthen_the_first_call(monkeypatch):
    """Or a short program would be taken for a long one, which is warmed up once."""
    monkeypatch.setattr(memory, "reset_peak", lambda: time.sleep(0.2))
    calls = []
    short = program.Program(
        step=jax.jit(lambda x: x + 1),
        make_state=lambda key: (jnp.ones(4),),
        inputs=(),
        seed=0,
        tokens=1,
        columns=lambda results: {},
        advance=lambda args, results: calls.append(results) or args,
    )
    result = program.measure(short, SETTINGS, Mock())
    assert isinstance(result.content, Measured)
    assert len(calls) == len(result.content.samples.samples_ms) + 2


def test_planned_memory_counts_temporaries():
    x = jax.ShapeDtypeStruct((1024, 1024), jnp.float32)
    compiled = jax.jit(lambda x: (x @ x) @ x).lower(x).compile()
    assert (memory.planned_bytes(compiled) or 0) >= 3 * 4 * 1024**2  # argument, product, output
