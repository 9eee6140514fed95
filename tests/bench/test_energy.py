"""Joules of a device: from counters that wrap, that nobody may read, and that are not there."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pynvml
import pytest
import torch

from bench.energy import DeviceState, GpuMeter, PackageMeter, energy_record, open_meter
from bench.timing import StepTimer


class FakeNVML:
    """One GPU whose counter goes up by 2,500 mJ a reading."""

    def __init__(self, *, counts: bool = True, reasons: int = 0) -> None:
        self.counts, self.reasons, self.millijoules = counts, reasons, 0
        self.asked: list[str] = []

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in dir(self):
            if name.startswith("nvml"):
                monkeypatch.setattr(pynvml, name, getattr(self, name))

    def nvmlInit(self) -> None: ...  # noqa: N802 (NVML's names)

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:  # noqa: N802
        self.asked.append(uuid)
        return uuid

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802
        return index

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: Any) -> int:  # noqa: N802
        if not self.counts:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        self.millijoules += 2500
        return self.millijoules

    def nvmlDeviceGetClockInfo(self, handle: Any, kind: int) -> int:  # noqa: N802
        return {pynvml.NVML_CLOCK_SM: 1755, pynvml.NVML_CLOCK_MEM: 2619}[kind]

    def nvmlDeviceGetTemperature(self, handle: Any, sensor: int) -> int:  # noqa: N802
        raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, handle: Any) -> int:  # noqa: N802
        return self.reasons


def test_a_gpus_joules_and_state(monkeypatch: pytest.MonkeyPatch) -> None:
    nvml = FakeNVML(reasons=0x1 | 0x4 | 0x40)  # idle is no throttling
    nvml.install(monkeypatch)
    meter, words = open_meter("cuda", "GPU-abc")
    assert nvml.asked == ["GPU-abc"]
    assert meter is not None
    assert words.startswith("NVML's counter")
    before, after = meter.joules(), meter.joules()
    assert before is not None
    assert after == before + 2.5
    throttled = ("power cap", "hardware thermal slowdown")
    assert meter.state() == DeviceState(sm_clock_mhz=1755, memory_clock_mhz=2619, throttled_by=throttled)


def test_a_gpu_without_a_counter_still_tells_its_state(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeNVML(counts=False).install(monkeypatch)
    meter, words = open_meter("cuda")
    assert isinstance(meter, GpuMeter)
    assert words.startswith("not measured: this GPU has no energy counter")
    assert meter.joules() is None
    record = energy_record(
        meter,
        scenario="fast",
        mode="end-to-end",
        round=1,
        joules=(None, None),
        window_seconds=(1.0, 2.0),
        pairs_per_window=4,
    )
    assert (record.joules, record.sm_clock_mhz, record.temperature_celsius) == ((), 1755, None)


def test_without_a_driver_there_is_no_meter(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    monkeypatch.setattr(pynvml, "nvmlInit", refuse)
    meter, words = open_meter("cuda")
    assert meter is None
    assert words.startswith("not measured: NVML does not answer")
    assert "\n" not in words


def domain(root: Path, number: str, name: str, microjoules: int, wraps_at: int = 1_000_000) -> Path:
    folder = root / f"intel-rapl:{number}"
    folder.mkdir(parents=True)
    (folder / "name").write_text(f"{name}\n")
    (folder / "max_energy_range_uj").write_text(f"{wraps_at - 1}\n")
    counter = folder / "energy_uj"
    counter.write_text(f"{microjoules}\n")
    return counter


def test_packages_are_added_up_over_a_wrap(tmp_path: Path) -> None:
    first, second = domain(tmp_path, "0", "package-0", 900_000), domain(tmp_path, "1", "package-1", 5)
    domain(tmp_path, "0:0", "core", 77)
    domain(tmp_path, "2", "psys", 99)
    meter, words = open_meter("cpu", powercap=tmp_path)
    assert meter is not None
    assert words.startswith("RAPL's counter")
    assert meter.joules() == 0
    first.write_text("100000\n")  # it wrapped: 100,000 up to the end, and as many again
    second.write_text("50005\n")
    assert meter.joules() == pytest.approx(0.25)
    assert meter.joules() == pytest.approx(0.25)
    first.write_text("torn")
    assert meter.joules() is None


def test_counters_for_root_alone_are_said_to_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counter = domain(tmp_path, "0", "package-0", 1)
    read = Path.read_text

    def refuse(path: Path, *arguments: Any, **more: Any) -> str:
        if path == counter:
            raise PermissionError(13, "Permission denied", str(path))
        return read(path, *arguments, **more)

    monkeypatch.setattr(Path, "read_text", refuse)
    meter, words = open_meter("cpu", powercap=tmp_path)
    assert meter is None
    assert "root alone" in words


def test_a_processor_without_counters_is_said_to_have_none(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "missing"):
        meter, words = open_meter("cpu", powercap=folder)
        assert meter is None
        assert "shows no RAPL counter" in words
    with pytest.raises(FileNotFoundError):
        PackageMeter(tmp_path)


class FakeTrainer:
    """Steps that draw a joule each."""

    device = torch.device("cpu")
    recipe = SimpleNamespace(accumulate=1)

    def __init__(self) -> None:
        self.drawn = 0.0
        self.train_step = self
        self.views = iter(range(1000))
        self.steps_before_replay = 0

    def hold_learning_rate(self, rate: float) -> None: ...

    def __call__(self, batches: list[Any]) -> None:
        self.drawn += 1.0


def test_each_window_has_the_joules_of_its_own_steps() -> None:
    trainer = FakeTrainer()
    meter = SimpleNamespace(source="nvml", joules=lambda: trainer.drawn, state=DeviceState)
    timed = StepTimer(trainer, 1, meter).windows("end-to-end", steps_per_window=3, windows=2)  # type: ignore[arg-type]
    assert timed.joules == (3.0, 3.0), "the steps that are discarded are in none"
    silent = SimpleNamespace(source="nvml", joules=lambda: None, state=DeviceState)
    timed = StepTimer(FakeTrainer(), 1, silent).windows("compute-only", steps_per_window=3, windows=2)  # type: ignore[arg-type]
    assert timed.joules == (None, None)
    timed = StepTimer(FakeTrainer(), 1).windows("compute-only", steps_per_window=1, windows=1)  # type: ignore[arg-type]
    assert timed.joules == ()
