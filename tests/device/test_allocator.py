"""Memory on an accelerator, with an allocator that is played: jax's CPU has none."""

import os

import jax.numpy as jnp
import pytest

from lengthscale.bench.device import memory, timing, worker
from lengthscale.bench.device.memory_limit import memory_limit
from lengthscale.bench.host import machine, runner
from lengthscale.bench.plan.settings import Settings
from lengthscale.bench.plan.status import Status

GB = 10**9
ONCE = Settings(min_samples=1, max_samples=1, min_seconds=0.0)


class Allocator:
    """What a process has in use, and the most that it ever had."""

    def __init__(self, peak=0, in_use=0):
        self.peak, self.in_use = max(peak, in_use), in_use

    def take(self, n_bytes):
        """A program's temporary memory."""
        self.peak = max(self.peak, self.in_use + n_bytes)

    def stats(self):
        return {"peak_bytes_in_use": self.peak, "bytes_in_use": self.in_use, "bytes_limit": 95 * GB}


@pytest.fixture
def allocator(monkeypatch):
    played = Allocator()
    monkeypatch.setattr(memory, "device_stats", played.stats)
    return played


def observed(allocator, temporary, held):
    meter = memory.peak_meter()
    timing.sample(lambda: allocator.take(temporary), ONCE, meter.measure)
    return meter.columns(held)


def test_the_peak_is_that_of_the_program_and_its_arrays(allocator):
    held = [jnp.zeros(1000, jnp.float32)] * 2  # one array, twice
    allocator.peak, allocator.in_use = 5000, 4000 + 300  # 300 belong to nobody whom the program knows
    assert observed(allocator, 2000, held) == {"mem_peak_bytes": 6000, "mem_source": "device"}


def test_the_first_call_raises_the_peak_and_the_second_one_repeats_it(allocator):
    """The warm-up is the call that counts, since the allocator does not say again what it has said."""
    assert observed(allocator, 2000, [])["mem_peak_bytes"] == 2000


def test_a_call_that_is_too_long_to_be_repeated_has_a_peak_too(allocator, monkeypatch):
    monkeypatch.setattr(timing, "SHORT_S", -1.0)
    assert observed(allocator, 2000, [])["mem_peak_bytes"] == 2000


def test_where_something_before_took_more_the_peak_is_blank(allocator):
    allocator.peak = 10_000
    for temporary in (2000, 10_000):
        assert observed(allocator, temporary, []) == {"mem_peak_bytes": None, "mem_source": None}
    assert observed(allocator, 10_001, [])["mem_peak_bytes"] == 10_001


def test_what_comes_after_the_calls_does_not_count(allocator):
    meter = memory.peak_meter()
    meter.measure(lambda: allocator.take(2000))
    allocator.take(9000)
    assert meter.columns([])["mem_peak_bytes"] == 2000


def test_on_a_cpu_the_kernel_says_it():
    assert isinstance(memory.peak_meter(), memory.PeakMeter)


def test_the_limit_is_what_the_allocator_has_left(allocator):
    allocator.in_use = 5 * GB
    assert memory_limit(Settings()) == (90 * GB, "what the device's allocator has left")
    assert memory_limit(Settings(mem_limit_bytes=GB)) == (GB, "--mem-limit")


@pytest.fixture
def environment(monkeypatch):
    for name in ("XLA_PYTHON_CLIENT_PREALLOCATE", "XLA_PYTHON_CLIENT_MEM_FRACTION"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


@pytest.mark.parametrize(("task", "takes"), [("measure", "true"), ("plan", "false"), ("compile", "false")])
def test_only_what_measures_takes_the_memory_at_once(environment, task, takes):
    environment.setitem(worker.TASKS, task, lambda *_: worker.Done(Status.OK))
    cell = worker.Cell("train", "rnn", "tiny", "auto", 16, 1, "float32", 0, "text", 0)
    assert worker.run(task, cell, Settings(), lambda stage: None).status == Status.OK
    assert os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] == takes


def test_the_share_of_the_memory_and_the_user_s_own_settings_are_recorded(environment):
    runner.Runner(Settings())
    assert machine._device_allocator() == {"mem_fraction": "0.95", "preallocate": "true where it measures"}
    environment.setenv("XLA_PYTHON_CLIENT_MEM_FRACTION", "0.5")
    environment.setenv("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    runner.Runner(Settings())
    assert machine._device_allocator() == {"mem_fraction": "0.5", "preallocate": "false"}
