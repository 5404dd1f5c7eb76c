"""Energy and clocks of the device: RAPL's counters of the CPU packages on Linux, NVML's counters of an NVIDIA GPU.

joules a token = (counter after the samples - counter before them) / tokens of all samples

What is counted is the whole package or board, idle power and other processes included, from the first sample to the
last. RAPL gives the sum of all package domains: the cores and the uncore are part of them, memory (`dram`) is not. NVML
gives the board with its memory, and the CPU that drives it is not included.

Why a block and not a sample: RAPL's counters change about once a millisecond, in units of 61 uJ (15 uJ on AMD), so a
sample of 2 ms may be wrong by half, a block of 0.3 s by 1/300. NVML's change every 20 to 100 ms (Yang et al.
2023, arXiv 2312.02741, who also find that an A100 or H100 senses its power in a quarter of the time only), so a block
takes a second at least. The energy of a shorter block is blank.

Where nothing can be read (no counters, no permission, a virtual machine, no NVML), all values are None.
"""

from __future__ import annotations

import ctypes
import importlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import jax

from lengthscale.models.ops.platform import is_here

POWERCAP = Path("/sys/class/powercap")
MOST_WATTS = 1000  # of a package: no faster does a counter advance
# The bits of nvmlClocksEventReasons, from the lowest; the last two have names in newer drivers only.
REASONS = """gpu_idle applications_clocks_setting sw_power_cap hw_slowdown sync_boost sw_thermal_slowdown
hw_thermal_slowdown hw_power_brake_slowdown display_clock_setting board_limit reliability""".split()
NOT_THROTTLING = ("gpu_idle", "applications_clocks_setting")  # nothing to do, or as the user has set it


class UnavailableError(Exception):
    """A counter cannot be read here, or now; the message says why."""


class Counter(Protocol):
    """A counter of energy."""

    source: str  # its name in the column energy_source
    shortest_s: float  # a block of samples that it can measure

    def total(self) -> float:
        """Joules since some moment. Raises UnavailableError."""
        ...


class EnergyMeter:
    """Measures the energy of a block of samples.

    Make it, or call `joules`, when the program is warm; read it after the samples. source: "RAPL" or "NVML"; None where
    nothing can be read, and then `missing` says why.
    """

    def __init__(self, counter: Counter | None, missing: str | None = None):
        self.source = counter.source if counter else None
        self.missing = missing
        self._counter = counter
        self._start = self._total()
        self._started_s = time.monotonic()

    @classmethod
    def of_device(cls, root: Path = POWERCAP) -> EnergyMeter:
        """The meter of jax's first device: of its board on CUDA, of all packages on a CPU. root: of RAPL's files."""
        try:
            counter = _counter(root)
            counter.total()
        except UnavailableError as reason:
            return cls(None, str(reason))
        return cls(counter)

    def update(self) -> None:
        """Read the counter between two samples, or it may wrap around unseen: RAPL's at least once a minute."""
        if self._total() is None:
            self._start = None

    def joules(self) -> float | None:
        """The energy since the last call, or since the meter was made. None where it could not be read throughout."""
        before, self._start = self._start, self._total()
        self._started_s = time.monotonic()
        return None if before is None or self._start is None else self._start - before

    def columns(self, tokens: int) -> dict:
        """The columns joules_per_token and energy_source, blank where the block was too short to be measured.

        tokens: handled since the last call of `joules`, or since the meter was made.
        """
        seconds = time.monotonic() - self._started_s
        joules = self.joules()
        # Some virtual machines have a counter that stands still: it has measured nothing.
        if not joules or self._counter is None or seconds < self._counter.shortest_s:
            return {"joules_per_token": None, "energy_source": None}
        return {"joules_per_token": joules / tokens, "energy_source": self.source}

    def _total(self) -> float | None:
        if self._counter is None:
            return None
        try:
            return self._counter.total()
        except UnavailableError:
            return None


def _counter(root: Path) -> Counter:
    """The counter of jax's first device. Raises UnavailableError."""
    if is_here("cpu"):
        return Rapl(root)
    if is_here("cuda"):
        return Gpu()
    raise UnavailableError(f"there is no energy counter for {jax.default_backend()}")


class Rapl:
    """RAPL's counters of all CPU packages, Intel's and AMD's, as Linux shows them. Raises UnavailableError."""

    source = "RAPL"
    shortest_s = 0.3

    def __init__(self, root: Path = POWERCAP):
        # intel-rapl:0:1 is a zone of package 0, intel-rapl-mmio:0 the same counter again, psys the whole machine.
        zones = [zone for zone in sorted(root.glob("intel-rapl:*")) if zone.name.count(":") == 1]
        self._zones = [zone for zone in zones if _text(zone / "name").startswith("package")]
        if not self._zones:
            raise UnavailableError("no RAPL counters")
        self._ranges = [int(_text(zone / "max_energy_range_uj")) for zone in self._zones]
        self._wrap_s = min(self._ranges) / 1e6 / MOST_WATTS
        self._total_uj = 0
        self._last, self._last_s = self._read(), time.monotonic()

    def total(self) -> float:
        """Joules since it was made. Raises UnavailableError, also where a counter may have wrapped around unseen."""
        before, before_s = self._last, self._last_s
        self._last, self._last_s = self._read(), time.monotonic()
        for old, new, span in zip(before, self._last, self._ranges, strict=True):
            self._total_uj += new - old if new >= old else new - old + span
        if self._last_s - before_s > self._wrap_s:
            raise UnavailableError(f"RAPL was not read for {self._last_s - before_s:.0f} s")
        return self._total_uj / 1e6

    def _read(self) -> list[int]:
        return [int(_text(zone / "energy_uj")) for zone in self._zones]


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except PermissionError:  # since 2020, when an attack read keys from them (CVE-2020-8694)
        raise UnavailableError("only root can read the RAPL counters") from None
    except OSError as error:
        raise UnavailableError(f"RAPL: {error.strerror}") from None


@dataclass(frozen=True)
class GpuState:
    """The clocks of a GPU at one moment, and why they are not higher."""

    sm_clock_mhz: int
    max_sm_clock_mhz: int
    reasons: tuple[str, ...]  # of REASONS; one that is not among them by its bit, such as "0x800"

    @property
    def throttling(self) -> tuple[str, ...]:
        """What keeps the clocks down: heat, power or another GPU, but not idling and the user's setting."""
        return tuple(reason for reason in self.reasons if reason not in NOT_THROTTLING)


class Gpu:
    """Jax's first device as NVML sees it. Raises UnavailableError where there is none, or no NVML.

    A part of a GPU (MIG) has the clocks and the energy of the whole one.
    """

    source = "NVML"
    shortest_s = 1.0

    def __init__(self):
        if not is_here("cuda"):
            raise UnavailableError("no CUDA device")
        try:
            # By name, since only a CUDA environment has it.
            self._nvml: Any = importlib.import_module("pynvml")
        except ModuleNotFoundError:
            raise UnavailableError("the package nvidia-ml-py is not installed") from None
        address = pci_address(jax.devices()[0].local_hardware_id)
        try:
            self._nvml.nvmlInit()
            self._handle = self._nvml.nvmlDeviceGetHandleByPciBusId(address)
        except self._nvml.NVMLError as error:
            raise UnavailableError(f"NVML: {error}") from None

    @classmethod
    def of_device(cls) -> Gpu | None:
        """Jax's first device, or None where it is not an NVIDIA GPU that NVML can read."""
        try:
            return cls()
        except UnavailableError:
            return None

    def total(self) -> float:
        """Joules since the driver was loaded. Raises UnavailableError (GPUs before Volta, a lost device)."""
        try:
            return self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._handle) / 1e3
        except self._nvml.NVMLError as error:
            raise UnavailableError(f"NVML: {error}") from None

    def state(self) -> GpuState | None:
        """The clocks now, and what limits them; None where NVML does not say (drivers before 535).

        Read it as soon as a sample ends: an idle GPU lowers its clocks.
        """
        nvml = self._nvml
        try:
            clock = nvml.nvmlDeviceGetClockInfo(self._handle, nvml.NVML_CLOCK_SM)
            most = nvml.nvmlDeviceGetMaxClockInfo(self._handle, nvml.NVML_CLOCK_SM)
            bits = nvml.nvmlDeviceGetCurrentClocksEventReasons(self._handle)
        except nvml.NVMLError:
            return None
        return GpuState(clock, most, reasons_of(bits))


def reasons_of(bits: int) -> tuple[str, ...]:
    """The names of NVML's clocks event reasons, the lowest bit first."""
    names = dict(enumerate(REASONS))
    return tuple(names.get(n, hex(1 << n)) for n in range(bits.bit_length()) if bits >> n & 1)


def pci_address(ordinal: int) -> str:
    """The PCI address ("0000:3b:00.0") of a CUDA device of this process. Raises UnavailableError.

    ordinal: jax's local_hardware_id, which is CUDA's number of the device in this process. CUDA itself is asked, since
    its numbers depend on CUDA_VISIBLE_DEVICES and CUDA_DEVICE_ORDER, and NVML's on neither.
    """
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError:
        raise UnavailableError("CUDA's library libcuda.so.1 was not found") from None
    device, address = ctypes.c_int(), ctypes.create_string_buffer(32)
    if (
        cuda.cuInit(0)
        or cuda.cuDeviceGet(ctypes.byref(device), ordinal)
        or cuda.cuDeviceGetPCIBusId(address, len(address), device)
    ):
        raise UnavailableError(f"CUDA does not give the PCI address of device {ordinal}")
    return address.value.decode()
