"""The GPU itself: nothing falls back to the CPU, kernels are compiled, the meter agrees with the device's own clock."""

import statistics

import jax
import jax.numpy as jnp
import pytest

from lengthscale.bench.device import timing, trace, worker
from lengthscale.bench.device.power import EnergyMeter
from lengthscale.bench.plan.cell import Cell
from lengthscale.bench.plan.settings import Settings
from lengthscale.models.ops.attention import attention
from lengthscale.models.ops.selective_scan import Inputs, selective_scan
from tests.helpers.platforms import ON_GPU

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not ON_GPU, reason="needs a GPU: ./run_tests.sh --gpu -m gpu")]


def test_jax_runs_on_the_gpu():
    assert jax.default_backend() == "gpu"
    assert jnp.ones(2).devices().pop().platform == "gpu"


def test_kernels_are_compiled_and_not_interpreted():
    q = jnp.ones((1, 256, 2, 64), jnp.bfloat16)
    text = jax.jit(lambda q: attention(q, q, q)).lower(q).compile().as_text() or ""
    assert "__cudnn" in text
    u, A, B = jnp.ones((1, 256, 64)), -jnp.ones((64, 16)), jnp.ones((1, 256, 16))
    text = jax.jit(lambda u: selective_scan(Inputs(u, u, B, B), A)[0]).lower(u).compile().as_text() or ""
    assert "triton" in text or "mosaic" in text


def test_the_meter_agrees_with_the_device_s_own_clock():
    """Of a product that takes milliseconds: what the kernel takes, and at most 0.2 ms for the call."""
    a = jnp.ones((8192, 8192), jnp.bfloat16)
    product = jax.jit(lambda a: a @ a).lower(a).compile()
    for _ in range(3):
        timing.timed(lambda: product(a))
    measured = statistics.median(timing.timed(lambda: product(a))[0] for _ in range(20))
    traced = trace.traced(lambda: jax.block_until_ready(product(a)), 10)
    kernel = sum(span.end_ns - span.start_ns for span in traced.operators) / len(traced.steps) / 1e9
    assert kernel <= measured <= 1.1 * kernel + 2e-4


def test_the_energy_of_the_gpu_is_read():
    meter = EnergyMeter.of_device()
    assert meter.source, meter.missing


@pytest.mark.parametrize("measure", ["forward", "train", "decode"])
def test_a_cell_of_each_kind_is_measured(measure):
    for model in ("lstm", "transformer", "mamba"):
        cell = Cell(measure, model, "tiny", "auto", 1024, 1, "bfloat16", 0, "text", 0)
        done = worker.run("measure", cell, Settings(min_seconds=0.05, max_seconds=0.2), lambda stage: None)
        assert done.status == "ok", done.message
        (row,) = done.content.rows  # pyright: ignore[reportAttributeAccessIssue, reportOptionalMemberAccess]
        assert row.flops
        assert row.precision.startswith("bfloat16")
        assert row.mem_source in (None, "device")  # in one process only what raises the peak is seen
