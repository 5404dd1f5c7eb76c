"""`doctor`: each check on a machine that is as it should be, and on one that is not."""

from types import SimpleNamespace

import pytest

from lengthscale.bench.__main__ import main
from lengthscale.bench.host import doctor, machine
from lengthscale.bench.host.runner import Runner

FACTS = {"backend": "cpu", "device_kind": "cpu", "n_devices": 1, "native_kernels": "compiled"}


def fail(*_args):
    raise RuntimeError("no device: error: a driver is missing")


@pytest.fixture
def files(monkeypatch):
    """What the kernel's small files say, by their path."""
    held = {}
    monkeypatch.setattr(machine, "read", held.get)
    return held


def test_the_device(monkeypatch):
    monkeypatch.setattr(Runner, "probe", lambda self: FACTS)
    assert doctor.device() == doctor.Finding("device", "1 x cpu (cpu), C++ kernels: compiled", doctor.GOOD)
    monkeypatch.setattr(Runner, "probe", lambda self: FACTS | {"native_kernels": "no C++ compiler"})
    assert doctor.device().verdict == doctor.WARNING
    monkeypatch.setattr(Runner, "probe", fail)
    assert doctor.device().verdict == doctor.ERROR


def test_settings_of_the_kernel(files):
    assert doctor.huge_pages() is None
    assert doctor.governor() is None
    for setting, verdict in (("always [madvise] never", doctor.GOOD), ("always madvise [never]", doctor.WARNING)):
        files["/sys/kernel/mm/transparent_hugepage/enabled"] = setting
        assert getattr(doctor.huge_pages(), "verdict", None) == verdict
    for setting, verdict in (("performance", doctor.GOOD), ("powersave", doctor.WARNING)):
        files["/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"] = setting
        assert getattr(doctor.governor(), "verdict", None) == verdict


def test_memory_and_swap(monkeypatch):
    for free, used, verdict in ((2**33, 0, doctor.GOOD), (2**30, 2**30, doctor.WARNING)):
        monkeypatch.setattr(
            doctor.psutil, "virtual_memory", lambda free=free: SimpleNamespace(available=free, total=2**34)
        )
        monkeypatch.setattr(doctor.psutil, "swap_memory", lambda used=used: SimpleNamespace(used=used))
        assert doctor.memory().verdict == doctor.swap().verdict == verdict


def test_one_core(monkeypatch):
    monkeypatch.setattr(doctor.os, "sched_getaffinity", lambda pid: {0}, raising=False)
    assert doctor.cores().verdict == doctor.WARNING


def test_a_busy_process_is_named(monkeypatch):
    class Busy:
        pid = -1
        name = staticmethod(lambda: "compiler")
        cpu_percent = staticmethod(lambda: 95.0)

    monkeypatch.setattr(doctor.psutil, "process_iter", lambda: [Busy()])
    assert doctor.load() == doctor.Finding("load", "0.95 cores busy (compiler 95%)", doctor.WARNING, "end it, or wait")
    monkeypatch.setattr(doctor.psutil, "process_iter", list)
    assert doctor.load().verdict == doctor.GOOD


@pytest.mark.parametrize(
    ("facts", "found", "verdict", "advised"),
    [
        ({"energy_source": "RAPL", "energy_missing": None}, "RAPL", doctor.GOOD, ""),
        (
            {"energy_source": None, "energy_missing": "only root can read the RAPL counters"},
            "only root can read the RAPL counters",
            doctor.WARNING,
            "joules a token stay blank; sudo chmod",
        ),
        (
            {"energy_source": None, "energy_missing": "no RAPL counters"},
            "no RAPL counters",
            doctor.WARNING,
            "joules a token stay blank",
        ),
    ],
)
def test_energy(monkeypatch, facts, found, verdict, advised):
    monkeypatch.setattr(Runner, "probe", lambda self: FACTS | facts)
    finding = doctor.energy()
    assert (finding.found, finding.verdict) == (found, verdict)
    assert finding.advice.startswith(advised)
    assert ("sudo" in finding.advice) == ("root" in found)
    monkeypatch.setattr(Runner, "probe", fail)
    assert doctor.energy() is None  # `device` has the error


def test_settings_for_debugging(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "")
    assert doctor.debugging().verdict == doctor.GOOD
    monkeypatch.setenv("XLA_FLAGS", "--xla_dump_to=/tmp/x")
    monkeypatch.setenv("JAX_DEBUG_NANS", "True")
    assert doctor.debugging().found == "JAX_DEBUG_NANS, XLA_FLAGS=--xla_dump_to=/tmp/x"
    assert doctor.debugging().verdict == doctor.WARNING


def test_uncommitted_code(monkeypatch):
    for dirty, verdict in ((False, doctor.GOOD), (True, doctor.WARNING)):
        monkeypatch.setattr(machine, "commit", lambda dirty=dirty: {"git_sha": "abc", "git_dirty": dirty})
        assert doctor.code().verdict == verdict
    monkeypatch.setattr(machine, "commit", lambda: {"git_sha": None, "git_dirty": None})
    assert doctor.code().verdict == doctor.WARNING


def test_the_command_shows_every_check_and_fails_where_nothing_can_be_measured(monkeypatch, capsys):
    no_energy = {"energy_source": None, "energy_missing": "no RAPL counters"}
    monkeypatch.setattr(Runner, "probe", lambda self: FACTS | no_energy)
    assert main(["doctor"]) == 0
    said = capsys.readouterr().out
    for what in (
        "device",
        "cores",
        "load",
        "memory",
        "swap",
        "energy",
        "clock",
        "steadiness",
        "debugging",
        "disk",
        "code",
    ):
        assert what in said
    monkeypatch.setattr(Runner, "probe", fail)
    assert main(["doctor"]) == 1
