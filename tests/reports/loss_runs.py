"""Records of `bench loss` made by hand, in numbers that a reader can follow."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.loss_record import (
    Ceiling,
    LossComparison,
    LossFloor,
    LossGate,
    LossMemory,
    LossPhase,
    LossSubject,
    LossTiming,
)
from bench.record import Environment, Failure, Record, RecordWriter
from reports.loss_load import LossReport, load_loss_report

TIME = "2026-01-02T03:04:05+00:00"
NOISE = (1.0, 1.03, 0.98, 1.01, 0.97, 1.02, 0.99, 1.0)
MIB = 2**20


def subject(name: str, **changes: Any) -> LossSubject:
    ours = name in ("auto", "gram", "covariance")
    fields: dict[str, Any] = {"name": name, "ours": ours, "source": f"source of {name}", "preset": "official"}
    return LossSubject(**{**fields, **changes})


class LossRun:
    """One run's records, in the order they are added."""

    def __init__(self, file: Path, *subjects: LossSubject | str, pid: int = 7) -> None:
        self.file = file
        self.pid = pid
        self.environment: dict[str, Any] = {
            "processor": "Test CPU",
            "cores": 8,
            "memory_bytes": 2**35,
            "system": "Linux 6.1",
            "versions": {"torch": "2.15.0"},
            "load_average": 0.2,
        }
        self.records: list[Record] = []
        if subjects:
            self.records.append(
                LossComparison(
                    time=TIME,
                    command="vicreg-fast bench loss",
                    device="cpu",
                    dtypes=("float32",),
                    shapes=((256, 8192),),
                    phases=("forward+backward",),
                    pairs=8,
                    threads=2,
                    baseline="official",
                    subjects=tuple(s if isinstance(s, LossSubject) else subject(s) for s in subjects),
                )
            )

    def timed(
        self,
        milliseconds: Mapping[str, float],
        n: int = 256,
        d: int = 8192,
        dtype: str = "float32",
        phases: Sequence[LossPhase] = ("forward+backward",),
        noise: Sequence[float] = NOISE,
    ) -> "LossRun":
        """One timing a loss and phase, each with the same noise, so that ratios have none."""
        for name, value in milliseconds.items():
            for phase in phases:
                self.records.append(
                    LossTiming(
                        time=TIME, provider=name, form="gram" if name in ("auto", "gram") else "covariance",
                        backend="torch", dtype=dtype, device="cpu", n=n, d=d, phase=phase,
                        seconds=tuple(value / 1e3 * factor for factor in noise), calls_per_sample=1,
                        pid=self.pid, round=0,
                    )
                )  # fmt: skip
        return self

    def checked(self, name: str, n: int = 256, d: int = 8192, **changes: Any) -> "LossRun":
        fields: dict[str, Any] = {
            "provider": name, "preset": "official", "dtype": "float32", "device": "cpu", "n": n, "d": d,
            "value_error": 1e-7, "value_allowed": 1.2e-6, "gradient_error": 2e-7, "gradient_allowed": 1.4e-6,
            "passed": True, "value_over_official": 1.0, "first_call_seconds": 0.5,
        }  # fmt: skip
        self.records.append(LossGate(time=TIME, **{**fields, **changes}))
        return self

    def held(self, name: str, mebibytes: float, n: int = 256, d: int = 8192) -> "LossRun":
        self.records.append(
            LossMemory(
                time=TIME, provider=name, dtype="float32", device="cpu", n=n, d=d,
                peak_bytes=int(mebibytes * MIB),
            )
        )  # fmt: skip
        return self

    def floor(self, milliseconds: float, n: int = 256, d: int = 8192) -> "LossRun":
        self.records += [
            Ceiling(
                time=TIME, dtype="float32", device="cpu", product_size=2048, flops_per_second=1.5e11,
                copied_bytes=2**28, bytes_per_second=1.2e10,
            ),
            LossFloor(
                time=TIME, dtype="float32", device="cpu", n=n, d=d, phase="forward+backward", flops=10,
                moved_bytes=10, seconds=milliseconds / 1e3, bound="compute",
            ),
        ]  # fmt: skip
        return self

    def failure(self, name: str, stage: str, message: str) -> "LossRun":
        self.records.append(Failure(time=TIME, scenario=name, stage=stage, message=message))
        return self

    def write(self) -> Path:
        writer = RecordWriter(self.file)
        writer.write(Environment(time=TIME, **self.environment))
        for record in self.records:
            writer.write(record)
        writer.close()
        return self.file

    def report(self) -> LossReport:
        return load_loss_report([self.write()])
