"""Energy of a device, from its own counter: NVML's on a GPU, RAPL's on a processor. Imports no torch.

NVML (nvmlDeviceGetTotalEnergyConsumption) counts the millijoules of the whole GPU since its driver was
loaded, and renews the count several times a second: the shorter a window, the less its energy is worth. RAPL
(Linux, /sys/class/powercap) counts the microjoules of a whole processor package and wraps around; since 2020
the kernel lets root alone read it. Neither tells one process from another: what else runs there is in it, and
so is what the device draws idle.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

import pynvml

from bench.limits_record import Energy
from bench.record_base import Mode

POWERCAP = Path("/sys/class/powercap")

# NVML's bits (nvml.h, nvmlClocksEventReason*) that mean the clocks were held back; idling and clocks that a
# user set are not among them.
THROTTLE_REASONS = {
    0x4: "power cap",
    0x8: "hardware slowdown",
    0x20: "software thermal slowdown",
    0x40: "hardware thermal slowdown",
    0x80: "hardware power brake",
}


@dataclass(frozen=True, kw_only=True)
class DeviceState:
    """Of a GPU, now. None stands for what it does not tell."""

    sm_clock_mhz: int | None = None
    memory_clock_mhz: int | None = None
    temperature_celsius: int | None = None
    throttled_by: tuple[str, ...] = ()


class Meter(Protocol):
    """A device's counter of energy."""

    source: Literal["nvml", "rapl"]

    def joules(self) -> float | None:
        """Since some moment in the past; None where the device has no counter or stopped answering."""

    def state(self) -> DeviceState: ...


class GpuMeter:
    """One GPU, through NVML."""

    source: Literal["nvml", "rapl"] = "nvml"

    def __init__(self, uuid: str | None = None) -> None:
        """`uuid` as NVML writes it, GPU-…; without one the first GPU. Raises pynvml.NVMLError where there is
        none."""
        pynvml.nvmlInit()
        if uuid is None:
            self._handle = pynvml.nvmlDeviceGetHandleByIndex(0)
        else:
            self._handle = pynvml.nvmlDeviceGetHandleByUUID(uuid)

    def joules(self) -> float | None:
        try:
            return float(pynvml.nvmlDeviceGetTotalEnergyConsumption(self._handle)) / 1e3
        except pynvml.NVMLError:
            return None

    def state(self) -> DeviceState:
        handle = self._handle
        clocks: dict[int, int] = {}
        temperature, reasons = None, 0
        for kind in (pynvml.NVML_CLOCK_SM, pynvml.NVML_CLOCK_MEM):
            with suppress(pynvml.NVMLError):
                clocks[kind] = int(pynvml.nvmlDeviceGetClockInfo(handle, kind))
        with suppress(pynvml.NVMLError):
            temperature = int(pynvml.nvmlDeviceGetTemperature(handle, pynvml.NVML_TEMPERATURE_GPU))
        with suppress(pynvml.NVMLError):
            reasons = int(pynvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle))
        return DeviceState(
            sm_clock_mhz=clocks.get(pynvml.NVML_CLOCK_SM),
            memory_clock_mhz=clocks.get(pynvml.NVML_CLOCK_MEM),
            temperature_celsius=temperature,
            throttled_by=tuple(name for bit, name in THROTTLE_REASONS.items() if reasons & bit),
        )


@dataclass
class _Package:
    counter: Path
    wraps_at_microjoules: int
    last: int
    total: int = 0

    def read(self) -> int:
        """Microjoules since this was made."""
        now = int(self.counter.read_text())
        self.total += (now - self.last) % self.wraps_at_microjoules
        self.last = now
        return self.total


@dataclass
class PackageMeter:
    """All packages of the processor, through RAPL. Read it at least once an hour: a counter wraps once or
    more a day at a few hundred watts, and one whole turn between two readings is lost."""

    folder: Path = POWERCAP
    source: Literal["nvml", "rapl"] = "rapl"
    _packages: list[_Package] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Raises OSError, with the file, where a counter cannot be read; FileNotFoundError without any."""
        for domain in sorted(self.folder.glob("intel-rapl:*")):
            # Cores and memory are parts of a package, and psys holds it: adding them would count twice.
            if not (domain / "name").read_text().startswith("package"):
                continue
            most = int((domain / "max_energy_range_uj").read_text())
            counter = domain / "energy_uj"
            self._packages.append(_Package(counter, most + 1, int(counter.read_text())))
        if not self._packages:
            raise FileNotFoundError(2, "No such file or directory", str(self.folder / "intel-rapl:0"))

    def joules(self) -> float | None:
        try:
            return sum(package.read() for package in self._packages) / 1e6
        except (OSError, ValueError):
            return None

    def state(self) -> DeviceState:
        return DeviceState()


def open_meter(
    device_type: str, uuid: str | None = None, *, powercap: Path = POWERCAP
) -> tuple[Meter | None, str]:
    """The meter of a `cuda` device (the first GPU unless its uuid is given) or of the processor, and in words
    what it reads or, where it is None, why there is none."""
    if device_type == "cuda":
        try:
            meter = GpuMeter(uuid)
        except pynvml.NVMLError as error:
            return None, f"not measured: NVML does not answer ({error})"
        if meter.joules() is None:
            return meter, "not measured: this GPU has no energy counter that NVML reads"
        return meter, "NVML's counter of the whole GPU"
    try:
        return PackageMeter(powercap), "RAPL's counter of the processor's packages, whatever runs on them"
    except PermissionError:
        return None, "not measured: RAPL's counters (/sys/class/powercap) can be read by root alone here"
    except (OSError, ValueError):
        return None, "not measured: this processor shows no RAPL counter (/sys/class/powercap)"


def energy_record(
    meter: Meter,
    *,
    scenario: str,
    mode: Mode,
    round: int,
    joules: Sequence[float | None],
    window_seconds: Sequence[float],
    pairs_per_window: int,
) -> Energy:
    """The record of a round: `joules` are its windows', and the device's state is that of now."""
    known = tuple(value for value in joules if value is not None)
    state = meter.state()
    return Energy(
        scenario=scenario,
        mode=mode,
        round=round,
        source=meter.source,
        joules=known if len(known) == len(joules) else (),
        window_seconds=tuple(window_seconds),
        pairs_per_window=pairs_per_window,
        sm_clock_mhz=state.sm_clock_mhz,
        memory_clock_mhz=state.memory_clock_mhz,
        temperature_celsius=state.temperature_celsius,
        throttled_by=state.throttled_by,
    )
