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
from lengthscale.bench.plan.cell import Cell
from lengthscale.bench.plan.settings import Settings
from lengthscale.bench.results import rates
from lengthscale.bench.results.messages import Measured
from lengthscale.bench.results.record import Row
from tests.helpers.runs import made

SETTINGS = Settings(min_samples=5, min_seconds=0.0)


def test_a_known_sleep():
    columns = timing.columns(timing.sample(lambda: time.sleep(0.02), SETTINGS), tokens=10)
    assert columns["n_samples"] == 5
    assert 20 <= columns["time_median_ms"] < 60
    assert columns["time_p10_ms"] <= columns["time_median_ms"] <= columns["time_p90_ms"]
    assert columns["time_low_ms"] <= columns["time_median_ms"] <= columns["time_high_ms"]
    assert columns["tokens_per_s"] == pytest.approx(10 / columns["time_median_ms"] * 1e3)


def test_both_the_minimum_time_and_the_minimum_count_are_met():
    seconds = timing.sample(lambda: time.sleep(0.01), replace(SETTINGS, min_seconds=0.2))
    assert sum(seconds) >= 0.2
    assert len(seconds) > 5


def test_the_warm_up_is_not_a_sample():
    naps = iter([0.3, 0.02, 0.02, 0.02])
    seconds = timing.sample(lambda: time.sleep(next(naps)), replace(SETTINGS, slow_step_s=0.1))
    assert len(seconds) == SETTINGS.min_samples_slow == 3
    assert max(seconds) < 0.2


def test_rounds_share_the_counts():
    assert len(timing.sample(lambda: time.sleep(0.001), SETTINGS, rounds=2)) == 3


def test_a_slow_call_is_warmed_up_once_and_two_long_samples_are_enough():
    calls = []
    settings = replace(SETTINGS, slow_step_s=0.02, max_seconds=0.05)
    before = timing.sample(lambda: calls.append(time.sleep(0.03)), settings, rounds=3)
    assert (len(before), len(calls)) == (1, 2)
    before += timing.sample(lambda: calls.append(time.sleep(0.03)), settings, rounds=3, before=before)
    assert (len(before), len(calls)) == (2, 3)
    assert timing.sample(lambda: calls.append(time.sleep(0.03)), settings, rounds=3, before=before) == ()


def test_more_is_sampled_until_the_median_is_known_or_the_time_is_spent():
    rng = np.random.default_rng(0)
    settings = replace(SETTINGS, precision=0.02, precision_s=3.0)

    def samples(spread, n, seconds=0.01):
        return tuple(seconds * rng.lognormal(0, spread, n))

    assert timing.wants_more(samples(0.0, 3), settings)  # too few to tell
    assert not timing.wants_more(samples(0.005, 20), settings)
    assert timing.wants_more(samples(0.2, 20), settings)
    assert not timing.wants_more(samples(0.2, 300), replace(settings, precision_s=2.0))  # the time is spent
    assert not timing.wants_more(samples(0.2, 1000, 1e-5), settings)  # and here the count


def test_the_stopping_rule_holds_what_it_promises():
    """Of 300 cells sampled round by round, the medians that it stops at are within +-2% in 95 of 100."""
    rng = np.random.default_rng(1)
    settings = replace(SETTINGS, precision=0.02, precision_s=1e9)
    off = []
    for _ in range(300):
        seconds = tuple(rng.lognormal(0, 0.05, 6))
        while timing.wants_more(seconds, settings):
            seconds += tuple(rng.lognormal(0, 0.05, 3))
        off.append(abs(np.median(seconds) - 1))
    assert np.mean(np.array(off) <= 0.02) >= 0.95


@pytest.mark.parametrize(
    ("seconds", "flags"),
    [
        ([0.01, 0.0101, 0.0099, 0.01, 0.01], None),
        ([0.01, 0.0101, 0.0099], "few"),
        ([0.01, 0.02, 0.005, 0.03, 0.015, 0.008], "noisy"),
        ([5e-7] * 9, "coarse"),
        ([1.0, 2.0, 0.5], "few noisy"),
    ],
)
def test_what_should_not_be_quoted_unseen_is_flagged(seconds, flags):
    assert timing.columns(tuple(seconds), 1)["flags"] == flags


def test_rates_are_work_over_time_and_shares_of_what_was_measured():
    step = program.Compiled(Mock(tokens=1), None, {"flops": 10**9, "mem_planned_bytes": 0}, moved_bytes=10**7)
    columns = step.timed((0.002, 0.002, 0.002))
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
        columns={},
        advance=lambda args, results: calls.append(results) or args,
    )
    result = program.measure(short, SETTINGS, Mock())
    assert isinstance(result.content, Measured)
    assert len(calls) == len(result.content.samples_ms) + 2


def test_planned_memory_counts_temporaries():
    x = jax.ShapeDtypeStruct((1024, 1024), jnp.float32)
    compiled = jax.jit(lambda x: (x @ x) @ x).lower(x).compile()
    assert (memory.planned_bytes(compiled) or 0) >= 3 * 4 * 1024**2  # argument, product, output
