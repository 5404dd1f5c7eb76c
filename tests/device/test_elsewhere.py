"""Plans for a device that is not here. jax's packages for it are large, so this machine's CPU mostly plays it."""

from dataclasses import replace

import jax
import pytest

from lengthscale.bench.__main__ import main
from lengthscale.bench.device import elsewhere, worker
from lengthscale.bench.plan.cell import Cell
from lengthscale.bench.plan.devices import DEVICES, Device
from lengthscale.bench.plan.settings import Settings
from lengthscale.bench.plan.status import Status
from lengthscale.bench.results.messages import Planned

CELL = Cell("train", "rnn", "mini", "auto", 2048, 1, "float32", 0, "text", 0)
HERE = Device("cpu", "played", 10**9, 1e9, 1e9, 1e-6, "nowhere", matrix_flops_per_s={"float32": 1e9})


def play(monkeypatch, device):
    monkeypatch.setitem(DEVICES, "here", device)
    monkeypatch.setattr(elsewhere, "_target", lambda name: elsewhere._Target(device, jax.devices()[0]))


def plan(cell=CELL, **changes):
    done = worker.run("plan", cell, Settings(on="here", **changes), lambda stage: None)
    assert done.status == Status.OK, done.message
    assert isinstance(done.content, Planned)
    return done.content


def test_a_plan_has_memory_flops_and_a_time_from_below(monkeypatch):
    play(monkeypatch, HERE)
    planned = plan()
    assert planned.columns["remat"] == "none"
    assert planned.columns["precision"] == "float32"
    assert planned.step_s is not None
    assert planned.step_s >= planned.columns["flops"] / 1e9 / 2  # most of them are products
    faster = replace(HERE, matrix_flops_per_s={"float32": 1e12}, bytes_per_s=1e12)
    play(monkeypatch, faster)
    assert (plan().step_s or 0) < planned.step_s / 5


@pytest.mark.slow
def test_the_form_that_fits_into_the_device_s_memory_is_planned(monkeypatch):
    play(monkeypatch, HERE)
    whole = plan().columns["mem_planned_bytes"]
    play(monkeypatch, replace(HERE, memory_bytes=int(0.8 * whole)))
    planned = plan()
    assert planned.columns["remat"] == "block"
    assert planned.columns["mem_planned_bytes"] < 0.95 * 0.8 * whole
    play(monkeypatch, replace(HERE, memory_bytes=10**6))
    assert worker.run("plan", CELL, Settings(on="here"), lambda stage: None).status == Status.SKIPPED


@pytest.mark.parametrize(("name", "wanted"), [("h200", "jax[cuda12]"), ("v5e", "libtpu")])
def test_without_jax_s_package_for_it_a_plan_says_what_is_missing(name, wanted, monkeypatch):
    def missing(*args, **kwargs):
        raise NotImplementedError("topology not implemented")

    monkeypatch.setattr(elsewhere.topologies, "get_topology_desc", missing)
    elsewhere._target.cache_clear()
    done = worker.run("plan", replace(CELL, size="tiny", length=64), Settings(on=name), lambda stage: None)
    expected = f"to compile for {name}, jax needs pip install '{wanted}' (topology not implemented)"
    assert (done.status, done.message) == (Status.UNSUPPORTED, expected)


def test_a_dtype_must_be_the_device_s():
    done = worker.run("plan", replace(CELL, dtype="tf32"), Settings(on="v5e"), lambda stage: None)
    assert (done.status, done.message) == (Status.UNSUPPORTED, "tf32 is for cuda, not for tpu")


def test_only_a_dry_run_can_be_of_another_device(capsys):
    assert main(["run", "--list", "--on", "h200"]) == 2
    assert "--on h200 plans, and measures nothing: add --dry-run" in capsys.readouterr().err
    assert main(["run", "--dry-run", "--on", "h20"]) == 2
    assert "unknown device 'h20'; did you mean 'h200'?" in capsys.readouterr().err


@pytest.mark.parametrize("device", DEVICES.values(), ids=list(DEVICES))
def test_every_device_has_the_rates_that_are_asked_for(device):
    for precision in ("float32", "bfloat16", "bfloat16+float32", "tf32", "float64"):
        assert device.rate(precision) > 1e13
    assert device.platform in ("cuda", "tpu")
    assert device.source
