"""Records made by hand: a run is built measurement by measurement, written as the bench writes it, and
loaded as a report."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from bench.record import (
    Accuracy,
    AccuracyPoint,
    Environment,
    Failure,
    Memory,
    Mode,
    Plan,
    Record,
    RecordWriter,
    Scenario,
    Throughput,
)
from reports.drawing import Picture
from reports.load import Report, load_report
from reports.pictures import pictures
from reports.render import render_html

TIME = "2026-01-02T03:04:05+00:00"
GIB = 2**30


def scenario(name: str, **changes: Any) -> Scenario:
    fields: dict[str, Any] = {
        "name": name,
        "description": f"What {name} is",
        "pipeline": "torchvision",
        "precision": "fp32",
        "memory_format": "contiguous",
        "loss": "covariance",
        "optimizer": "lars",
    }
    return Scenario(**{**fields, **changes})


class Run:
    """One run's records, in the order they are added."""

    def __init__(self, file: Path, scenarios: Sequence[Scenario], **plan: Any) -> None:
        self.file = file
        self.scenarios = tuple(scenarios)
        self.environment: dict[str, Any] = {
            "processor": "Test CPU",
            "cores": 8,
            "memory_bytes": 32 * GIB,
            "system": "Linux 6.1",
            "versions": {"torch": "2.15.0"},
            "commit": "0123456789abcdef",
            "load_average": 0.2,
        }
        self.plan: dict[str, Any] = {
            "command": "vicreg-fast bench --compare baseline",
            "device": "cpu",
            "data": "digits, 1797 images, 10 classes",
            "recipe": {"batch_size": 256, "backbone": "resnet18"},
            "recipe_fingerprint": "abcdef012345",
            "baseline": "baseline",
            "contender": "fast",
            "rounds": 0,
            "accuracy_margin_points": 2.0,
            **plan,
        }
        self.records: list[Record] = []
        self.raw: list[str] = []

    def throughput(
        self, name: str, rates: Sequence[float], mode: Mode = "end-to-end", wait: float | None = None
    ) -> "Run":
        """One record a round, of two equal windows that make that round's pairs/s."""
        for number, rate in enumerate(rates):
            seconds = (256 * 10 / rate,) * 2
            record = Throughput(
                time=TIME,
                scenario=name,
                mode=mode,
                round=number,
                position=0,
                pid=100,
                batch_size=256,
                image_size=32,
                steps_per_window=10,
                window_seconds=seconds,
                loader_wait_seconds=() if wait is None else tuple(wait * second for second in seconds),
            )
            self.records.append(record)
        return self

    def memory(self, name: str, host: float, device: float | None = None) -> "Run":
        """Host over its start and device peak, in GiB."""
        self.records.append(
            Memory(
                time=TIME,
                scenario=name,
                pid=100,
                host_before_bytes=GIB,
                host_peak_bytes=GIB + int(host * GIB),
                device_process_peak_bytes=None if device is None else int(device * GIB),
            )
        )
        return self

    def accuracy(
        self, subject: str, percents: Sequence[float], curve: Sequence[tuple[float, float]] = ()
    ) -> "Run":
        """One record a seed, seeds counted from 0; `curve` is of (seconds, percent)."""
        for seed, value in enumerate(percents):
            points = tuple(
                AccuracyPoint(step=index, seconds=seconds, linear_top1=level / 100)
                for index, (seconds, level) in enumerate(curve)
            )
            self.records.append(
                Accuracy(
                    time=TIME,
                    subject=subject,
                    seed=seed,
                    linear_top1=value / 100,
                    classes=10,
                    test_images=360,
                    curve=points,
                )
            )
        return self

    def failure(self, name: str, stage: str, message: str) -> "Run":
        self.records.append(Failure(time=TIME, scenario=name, stage=stage, message=message))
        return self

    def line(self, text: str) -> "Run":
        """A line of the file as it stands."""
        self.raw.append(text)
        return self

    def write(self) -> Path:
        writer = RecordWriter(self.file)
        writer.write(Environment(time=TIME, **self.environment))
        writer.write(Plan(time=TIME, scenarios=self.scenarios, **self.plan))
        for record in self.records:
            writer.write(record)
        writer.close()
        with self.file.open("a", encoding="utf-8") as file:
            file.write("".join(self.raw))
        return self.file

    def report(self) -> Report:
        return load_report([self.write()])


@pytest.fixture
def new_run(tmp_path: Path) -> Callable[..., Run]:
    """A new run of `baseline` and `fast`, or of the scenarios given, in a file of its own."""
    count = 0

    def make(*scenarios: Scenario | str, **plan: Any) -> Run:
        nonlocal count
        count += 1
        shown = [s if isinstance(s, Scenario) else scenario(s) for s in scenarios or ("baseline", "fast")]
        return Run(tmp_path / f"run-{count}.jsonl", shown, **plan)

    return make


@pytest.fixture
def new_scenario() -> Callable[..., Scenario]:
    return scenario


def make_full_run(file: Path) -> Run:
    """Three scenarios and everything measured, in numbers that a reader can follow."""
    scenarios = (
        scenario("baseline"),
        scenario("tuned", precision="bf16", memory_format="channels_last", compile=True, workers=4),
        scenario(
            "fast",
            pipeline="dali",
            precision="bf16",
            memory_format="channels_last",
            loss="gram (triton)",
            capture="step",
            workers=4,
            notes=("DALI decodes on the CPU: there is no GPU",),
        ),
    )
    run = Run(file, scenarios, rounds=8, seeds=(0, 1, 2))
    noise = [0.0, 1.2, -0.8, 0.5, -1.5, 0.9, -0.3, 2.0]
    for name, whole, compute, host, percents, speed in (
        ("baseline", 100.0, 118.0, 2.0, (61.0, 62.1, 60.4), 1.0),
        ("tuned", 131.0, 182.0, 1.7, (61.6, 61.4, 60.9), 1.3),
        ("fast", 212.0, 241.0, 0.8, (61.9, 62.0, 61.2), 2.1),
    ):
        noise = [*noise[3:], *noise[:3]]
        run.throughput(name, [whole * (1 + value / 60) for value in noise], wait=1 - whole / compute)
        quieter = [compute * (1 + value / 90) for value in reversed(noise)]
        run.throughput(name, quieter, "compute-only", wait=0.0)
        run.memory(name, host)
        for seed, final in enumerate(percents):
            levels = [(t / speed, final - 22 * 0.75 ** (t / 20)) for t in range(0, 241, 20)]
            run.accuracy(name, [final], [*levels, (260 / speed, final)])
            run.records[-1] = run.records[-1].model_copy(
                update={"seed": seed, "pretrain_seconds": 260 / speed}
            )
    return run.accuracy("random-trunk", [40.6, 41.0, 40.8]).accuracy("raw-pixels", [37.1])


@pytest.fixture
def full_run(tmp_path: Path) -> Run:
    return make_full_run(tmp_path / "full.jsonl")


@pytest.fixture(scope="session")
def full_report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """The same, loaded: for tests that change nothing of it."""
    return make_full_run(tmp_path_factory.mktemp("full") / "full.jsonl").report()


@pytest.fixture(scope="session")
def full_pictures(full_report: Report) -> tuple[Picture, ...]:
    return pictures(full_report)


@pytest.fixture(scope="session")
def full_html(full_report: Report) -> str:
    return render_html(full_report)
