"""Records of `bench loss --against` made by hand, in numbers that a reader can follow."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.record import Environment, Failure, Record
from bench.regression_record import RegressionGate, RegressionPlan, RegressionSample, Side
from reports.regression_load import RegressionReport, load_regression

TIME = "2026-01-02T03:04:05+00:00"
QUIET = (0.0, 0.004, -0.003, 0.002, -0.004, 0.003, -0.001, 0.001)
"""Of a process, in logarithms: a quiet machine."""
WITHIN = (0.0, 0.01, -0.012, 0.006, -0.005)
"""Of the pairs of a process."""


class RegressionRun:
    """One run's records, in the order they are added."""

    def __init__(self, file: Path, *cases: str, **plan: Any) -> None:
        self.file = file
        fingerprint = {"processor": "Test CPU", "torch": "2.15.0"}
        fields: dict[str, Any] = {
            "command": "vicreg-fast bench loss --against main", "against": "main", "source": "revision",
            "base_commit": "b" * 40, "head_commit": "4" * 40, "base_fingerprint": fingerprint,
            "head_fingerprint": fingerprint, "base_cases": cases, "head_cases": cases, "timed_cases": cases,
            "device": "cpu", "threads": 2, "rounds": 8, "pairs": 5, "least_tau": 0.03,
        }  # fmt: skip
        self.plan = RegressionPlan(time=TIME, **{**fields, **plan})
        self.environment: dict[str, Any] = {
            "processor": "Test CPU", "cores": 8, "memory_bytes": 2**35, "system": "Linux 6.1",
            "versions": {"torch": "2.15.0"}, "commit": "4" * 40, "load_average": 0.2,
        }  # fmt: skip
        self.records: list[Record] = []
        self.raw = ""

    def timed(
        self, case: str, ratio: float = 1.0, noise: float = 1.0, attempts: Sequence[int] = (0,)
    ) -> "RegressionRun":
        """Base, head and control in eight rounds: the head takes `ratio` times the base's time; `noise` times
        that of a quiet machine is on each process."""
        for attempt in attempts:
            for number, _ in enumerate(QUIET):
                sides: tuple[tuple[Side, float], ...] = (("base", 1), ("head", ratio), ("control", 1))
                for position, (side, factor) in enumerate(sides):
                    drift = 1 + noise * QUIET[(number + 3 * position) % len(QUIET)]
                    self.sample(case, side, number, factor * drift, attempt, position)
        return self

    def sample(
        self, case: str, side: Side, number: int, factor: float, attempt: int = 0, position: int = 0
    ) -> "RegressionRun":
        """One process: ten milliseconds a call times `factor`, beside forty of the naive loss."""
        self.records.append(
            RegressionSample(
                time=TIME, case=case, side=side, round=number, position=position, attempt=attempt, pid=100,
                calls=2, naive_calls=1, seconds=tuple(0.01 * factor * (1 + x) for x in WITHIN),
                naive_seconds=(0.04,) * len(WITHIN),
            )
        )  # fmt: skip
        return self

    def gate(self, case: str, quantity: str, base: int | None, head: int | None) -> "RegressionRun":
        self.records.append(RegressionGate(time=TIME, case=case, quantity=quantity, base=base, head=head))
        return self

    def failure(self, case: str, stage: str, message: str) -> "RegressionRun":
        self.records.append(Failure(time=TIME, scenario=case, stage=stage, message=message))
        return self

    def line(self, text: str) -> "RegressionRun":
        """A line of the file as it stands."""
        self.raw += text
        return self

    @property
    def all_records(self) -> list[Record]:
        return [Environment(time=TIME, **self.environment), self.plan, *self.records]

    def write(self) -> Path:
        lines = "".join(json.dumps(record.model_dump(mode="json")) + "\n" for record in self.all_records)
        self.file.write_text(lines + self.raw, encoding="utf-8")
        return self.file

    def report(self) -> RegressionReport:
        return load_regression([self.write()])
