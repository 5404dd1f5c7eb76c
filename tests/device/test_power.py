"""Energy and clocks, of a kernel's folder, an NVML and a CUDA library that the tests make."""

import ctypes
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import jax
import pytest

from lengthscale.bench.device import power
from lengthscale.bench.device.power import EnergyMeter, Gpu, GpuState, UnavailableError

RANGE_UJ = 65_532_610_987  # an AMD package's: at most 65 s of it are certain
BLANK = {"joules_per_token": None, "energy_source": None}


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test sets."""
    now = SimpleNamespace(s=0.0)
    monkeypatch.setattr(power, "time", SimpleNamespace(monotonic=lambda: now.s))
    return now


class Zones:
    """A folder of RAPL's zones: `zones["intel-rapl:0"] = 5` sets a counter, in uJ."""

    def __init__(self, root):
        self.root = root

    def add(self, zone, name, uj=0):
        (self.root / zone).mkdir()
        (self.root / zone / "name").write_text(f"{name}\n")
        (self.root / zone / "max_energy_range_uj").write_text(f"{RANGE_UJ}\n")
        self[zone] = uj

    def __setitem__(self, zone, uj):
        (self.root / zone / "energy_uj").write_text(f"{uj}\n")


@pytest.fixture
def zones(tmp_path):
    """Two packages, their parts, the whole machine, and the first package again by another interface."""
    made = Zones(tmp_path)
    (tmp_path / "intel-rapl").mkdir()
    made.add("intel-rapl:0", "package-0", 1_000_000)
    made.add("intel-rapl:0:0", "core")
    made.add("intel-rapl:0:1", "dram")
    made.add("intel-rapl:1", "package-1", 2_000_000)
    made.add("intel-rapl:2", "psys")
    made.add("intel-rapl-mmio:0", "package-0")
    return made


def test_the_energy_of_all_packages_and_of_nothing_twice(zones):
    meter = EnergyMeter.of_device(zones.root)
    assert (meter.source, meter.missing) == ("RAPL", None)
    for zone in ("intel-rapl:0:0", "intel-rapl:0:1", "intel-rapl:2", "intel-rapl-mmio:0"):
        zones[zone] = 50_000_000
    assert meter.joules() == 0
    zones["intel-rapl:0"] = 4_000_000
    zones["intel-rapl:1"] = 2_500_000
    assert meter.joules() == 3.5
    assert meter.joules() == 0


def test_a_counter_wraps_around(zones):
    zones["intel-rapl:1"] = RANGE_UJ - 1_000_000
    meter = EnergyMeter.of_device(zones.root)
    zones["intel-rapl:0"] = 3_000_000
    zones["intel-rapl:1"] = 500_000
    assert meter.joules() == 2 + 1.5


def test_a_counter_that_may_have_wrapped_around_unseen_gives_nothing(zones, clock):
    meter = EnergyMeter.of_device(zones.root)
    clock.s, zones["intel-rapl:0"] = 60, 61_000_000
    meter.update()
    clock.s, zones["intel-rapl:0"] = 120, 121_000_000
    assert meter.joules() == 120
    clock.s = 190
    assert meter.joules() is None
    meter = EnergyMeter.of_device(zones.root)
    clock.s = 260
    meter.update()
    clock.s = 261
    assert meter.joules() is None
    clock.s, zones["intel-rapl:0"] = 262, 122_000_000
    assert meter.joules() == 1


def test_joules_a_token(zones, clock):
    meter = EnergyMeter.of_device(zones.root)
    clock.s, zones["intel-rapl:0"] = 0.3, 16_000_000
    assert meter.columns(tokens=30) == {"joules_per_token": 0.5, "energy_source": "RAPL"}
    clock.s, zones["intel-rapl:0"] = 0.5, 31_000_000
    assert meter.columns(tokens=30) == BLANK  # too short
    clock.s = 0.9
    assert meter.columns(tokens=30) == BLANK  # a counter that stands still


def test_no_counters(tmp_path):
    (tmp_path / "intel-rapl").mkdir()
    for root in (tmp_path, tmp_path / "none"):
        meter = EnergyMeter.of_device(root)
        assert (meter.source, meter.missing) == (None, "no RAPL counters")
        meter.update()
        assert meter.joules() is None
        assert meter.columns(tokens=1) == BLANK


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (PermissionError(13, "Permission denied"), "only root can read the RAPL counters"),
        (OSError(61, "No data available"), "RAPL: No data available"),
    ],
)
def test_counters_that_cannot_be_read(zones, monkeypatch, error, reason):
    meter = EnergyMeter.of_device(zones.root)
    read_text = Path.read_text

    def refuse(path):
        if path == zones.root / "intel-rapl:1" / "energy_uj":
            raise error
        return read_text(path)

    monkeypatch.setattr(Path, "read_text", refuse)
    assert EnergyMeter.of_device(zones.root).missing == reason
    assert meter.joules() is None  # and not the energy of the other package


class NVMLError(Exception):
    pass


class Nvml(ModuleType):
    """NVML with one GPU. A function whose name is in `failing` raises NVMLError."""

    NVMLError, NVML_CLOCK_SM = NVMLError, 1

    def __init__(self):
        super().__init__("pynvml")
        self.failing, self.address = set(), None
        self.millijoules, self.reasons = 7_000_000, 0
        self.nvmlInit = lambda: self.given("init", None)
        self.nvmlDeviceGetHandleByPciBusId = self.handle_at
        self.nvmlDeviceGetTotalEnergyConsumption = lambda handle: self.given("energy", self.millijoules)
        self.nvmlDeviceGetClockInfo = lambda handle, kind: self.given("clock", 1410)
        self.nvmlDeviceGetMaxClockInfo = lambda handle, kind: self.given("clock", 1980)
        self.nvmlDeviceGetCurrentClocksEventReasons = lambda handle: self.given("reasons", self.reasons)

    def given(self, name, value):
        if name in self.failing:
            raise NVMLError("Not Supported")
        return value

    def handle_at(self, address):
        self.address = address
        return self.given("handle", "the GPU")


def cuda(name):
    """CUDA's library, whose only device of this process is its device 7, in the PCI slot 3b."""
    assert name == "libcuda.so.1"

    def device_get(device, ordinal):
        device._obj.value = 7
        return 0 if ordinal == 0 else 101

    def pci_bus_id(address, size, device):
        assert (device.value, size) == (7, len(address))
        address.value = b"0000:3b:00.0"
        return 0

    return SimpleNamespace(cuInit=lambda flags: 0, cuDeviceGet=device_get, cuDeviceGetPCIBusId=pci_bus_id)


@pytest.fixture
def nvml(monkeypatch):
    """NVML on a machine whose jax has a CUDA device."""
    made = Nvml()
    monkeypatch.setitem(sys.modules, "pynvml", made)
    monkeypatch.setattr(power, "is_here", lambda platform: platform == "cuda")
    monkeypatch.setattr(ctypes, "CDLL", cuda)
    return made


def test_the_energy_of_a_gpu(nvml, clock):
    meter = EnergyMeter.of_device()
    assert (meter.source, nvml.address) == ("NVML", "0000:3b:00.0")
    nvml.millijoules += 2500
    assert meter.joules() == 2.5
    clock.s, nvml.millijoules = 0.9, nvml.millijoules + 1000
    assert meter.columns(tokens=4) == BLANK  # NVML's counter changes ten times a second
    clock.s, nvml.millijoules = 2.0, nvml.millijoules + 1000
    assert meter.columns(tokens=4) == {"joules_per_token": 0.25, "energy_source": "NVML"}
    nvml.failing = {"energy"}
    assert meter.joules() is None
    assert EnergyMeter.of_device().missing == "NVML: Not Supported"


def test_the_state_of_a_gpu(nvml):
    gpu = Gpu()
    assert gpu.state() == GpuState(1410, 1980, ())
    nvml.reasons = 0x4 | 0x40
    assert gpu.state() == GpuState(1410, 1980, ("sw_power_cap", "hw_thermal_slowdown"))
    for failing in ("clock", "reasons"):
        nvml.failing = {failing}
        assert gpu.state() is None


@pytest.mark.parametrize(
    ("bits", "reasons", "throttled"),
    [
        (0x0, (), False),
        (0x1, ("gpu_idle",), False),
        (0x2, ("applications_clocks_setting",), False),
        (0x3, ("gpu_idle", "applications_clocks_setting"), False),
        (0x4, ("sw_power_cap",), True),
        (0x8, ("hw_slowdown",), True),
        (0x10, ("sync_boost",), True),
        (0x20, ("sw_thermal_slowdown",), True),
        (0x82, ("applications_clocks_setting", "hw_power_brake_slowdown"), True),
        (0x100, ("display_clock_setting",), True),
        (0x800, ("0x800",), True),
    ],
)
def test_the_reasons_of_a_clock(bits, reasons, throttled):
    assert power.reasons_of(bits) == reasons
    assert bool(GpuState(1410, 1980, reasons).throttling) == throttled


@pytest.mark.parametrize("failing", ["init", "handle"])
def test_an_nvml_that_does_not_work(nvml, failing):
    nvml.failing = {failing}
    assert Gpu.of_device() is None
    meter = EnergyMeter.of_device()
    assert (meter.joules(), meter.missing) == (None, "NVML: Not Supported")


def test_no_package_for_nvml(nvml, monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert Gpu.of_device() is None
    assert EnergyMeter.of_device().missing == "the package nvidia-ml-py is not installed"


def test_a_device_without_an_address(nvml, monkeypatch):
    with pytest.raises(UnavailableError, match="PCI address of device 1"):
        power.pci_address(1)

    def missing(name):
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", missing)
    assert Gpu.of_device() is None
    assert EnergyMeter.of_device().missing == "CUDA's library libcuda.so.1 was not found"


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="of a machine without CUDA")
def test_a_cpu_has_no_gpu():
    assert Gpu.of_device() is None


def test_another_device_has_no_counter(monkeypatch):
    monkeypatch.setattr(power, "is_here", lambda platform: False)
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    assert EnergyMeter.of_device().missing == "there is no energy counter for tpu"
