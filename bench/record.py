"""Records: what a measurement leaves behind, one JSON object a line.

A record file holds one `environment`, one `plan` or `loss-comparison`, then measurements in the order they
were made, each written and flushed as it ends, so that a run that is cut keeps what it has. Every measurement
carries its raw samples, the process that made them and its place in the interleaving, so that a comparison
can be computed again from the file alone. Units are in the names. This module imports neither torch nor
numpy: reports read records on machines that have neither. The kinds of `bench loss` are in
`bench.loss_record` and `bench.regression_record`.
"""

import contextlib
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from bench.ladder_record import LadderRung
from bench.limits_record import Energy, StepWork, TraceShares
from bench.loader_record import LoaderFidelity, LoaderPlan, LoaderRate
from bench.loss_record import (
    Ceiling,
    LossComparison,
    LossFloor,
    LossGate,
    LossMemory,
    LossProfile,
    LossRankTiming,
    LossTiming,
)
from bench.proof_record import ProofPart, ProofPlan, ProofTests
from bench.record_base import SCHEMA_VERSION, Mode, RecordBase
from bench.regression_record import RegressionGate, RegressionPlan, RegressionSample
from bench.scaling_record import Checked, LossPrediction, ScalingRun
from vicreg_fast.errors import RecordError


class Environment(RecordBase):
    """Where a run was measured. The fields are the fingerprint by which two runs are comparable or not."""

    kind: Literal["environment"] = "environment"
    processor: str
    cores: int
    memory_bytes: int
    system: str
    gpu: str | None = None
    gpu_count: int = 0
    gpu_memory_bytes: int | None = None
    driver: str | None = None
    cuda: str | None = None
    versions: dict[str, str] = Field(default_factory=dict)
    """Package to version; a package that is missing is absent."""
    commit: str | None = None
    uncommitted_changes: bool | None = None
    environment_variables: dict[str, str] = Field(default_factory=dict)
    """Only those that change speed: OMP_NUM_THREADS and the like."""
    load_average: float | None = None
    """One-minute load of the machine when the run began: what else it was doing."""


class Scenario(BaseModel):
    """One way to pretrain, as it really ran: a fallback shows here, with its reason in `notes`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    description: str
    pipeline: str
    precision: str
    memory_format: str
    loss: str
    optimizer: str
    capture: str = "off"
    compile: bool = False
    workers: int = 0
    notes: tuple[str, ...] = ()


class Plan(RecordBase):
    """What was asked for: enough to ask for it again."""

    kind: Literal["plan"] = "plan"
    command: str
    device: str
    data: str
    """The data set in words: name, images, classes, sizes. Never a path."""
    recipe: dict[str, Any]
    recipe_fingerprint: str
    scenarios: tuple[Scenario, ...]
    baseline: str
    """Name of the scenario that others are compared with."""
    contender: str
    """Name of the scenario that the verdict is about."""
    rounds: int
    seeds: tuple[int, ...] = ()
    accuracy_margin_points: float = 0.0
    """Non-inferiority margin, in percentage points of linear accuracy."""
    ladder: tuple[LadderRung, ...] = ()
    """The changes from `plain` to `fast`, in the order they are made; empty where no ladder was asked for."""
    epoch_images: int | None = None
    """Images of one pass over the training set."""
    energy: str = ""
    """What the energy of the rounds is read from, or why it is not."""
    price_per_hour: float | None = None
    """What an hour of this machine costs, as the user said, in `currency`."""
    currency: str = "USD"
    target_accuracy_percent: float | None = None
    """The accuracy whose cost is asked for; None stands for the baseline's final mean."""


class Throughput(RecordBase):
    """Pairs of views a second, over windows of steps, in one round of one scenario."""

    kind: Literal["throughput"] = "throughput"
    scenario: str
    mode: Mode
    round: int
    position: int
    """Place within its round: rounds alternate their order."""
    pid: int
    batch_size: int
    image_size: int
    steps_per_window: int
    window_seconds: tuple[float, ...]
    loader_wait_seconds: tuple[float, ...] = ()
    """Of each window, the seconds the step waited for the loader."""

    @property
    def pairs_per_second(self) -> tuple[float, ...]:
        return tuple(self.batch_size * self.steps_per_window / seconds for seconds in self.window_seconds)


class Startup(RecordBase):
    """What a run of one scenario costs before it is under way."""

    kind: Literal["startup"] = "startup"
    scenario: str
    seconds: float
    """Wall time from a process with its imports done to the end of its first step with real data: loader
    started, network built, and compiled where it is."""


class Memory(RecordBase):
    """Peaks of one scenario's process tree in the throughput phase; `*_before_*` is what it held before the
    first step."""

    kind: Literal["memory"] = "memory"
    scenario: str
    pid: int
    host_before_bytes: int
    """Resident bytes (proportional share) of the process and its workers, after imports, before anything is
    built."""
    host_peak_bytes: int
    device_allocated_peak_bytes: int | None = None
    device_reserved_peak_bytes: int | None = None
    device_process_peak_bytes: int | None = None
    """From NVML, over the process: DALI's memory is invisible to torch."""


class AccuracyPoint(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    step: int
    seconds: float
    """Training time so far, from the end of the first step, without the probes."""
    linear_top1: float


class Accuracy(RecordBase):
    """Linear accuracy, in [0, 1], of one frozen representation: a scenario's, or a floor's."""

    kind: Literal["accuracy"] = "accuracy"
    subject: str
    """A scenario's name, or `random-trunk` or `raw-pixels`."""
    seed: int
    linear_top1: float
    knn_top1: float | None = None
    classes: int
    test_images: int
    epochs: int = 0
    steps: int = 0
    pretrain_seconds: float = 0.0
    final_loss: float | None = None
    curve: tuple[AccuracyPoint, ...] = ()
    side_by_side: int = 1
    """Trainings that shared the machine with this one, itself among them. Where it is more than one, the
    seconds of the curve are not those of a run alone."""


class Failure(RecordBase):
    """A scenario's process ended, or a measurement could not be made. What was measured before it is kept."""

    kind: Literal["failure"] = "failure"
    scenario: str
    stage: str
    message: str


LimitsRecord = StepWork | Energy | TraceShares
LossRecord = (
    LossComparison | LossGate | LossTiming | LossRankTiming | LossMemory | LossProfile | LossFloor | Ceiling
)
LoaderRecord = LoaderPlan | LoaderRate | LoaderFidelity
ProofRecord = ProofPlan | ProofPart | ProofTests
RegressionRecord = RegressionPlan | RegressionGate | RegressionSample
Record = (
    Environment
    | Plan
    | Throughput
    | Startup
    | Memory
    | Accuracy
    | LimitsRecord
    | LossRecord
    | LossPrediction
    | ScalingRun
    | Checked
    | LoaderRecord
    | RegressionRecord
    | ProofRecord
    | Failure
)
_ADAPTER: TypeAdapter[Record] = TypeAdapter(Annotated[Record, Field(discriminator="kind")])


class RecordWriter:
    """Appends records to a JSON Lines file, each flushed to the disk before the next measurement begins."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            torn = _ends_in_a_torn_line(path)
            self._file = path.open("a", encoding="utf-8")
            if torn:  # else the next record would be joined to what a cut run left, and both be lost
                self._file.write("\n")
                self._file.flush()
        except OSError as error:
            raise RecordError(f"{path}: cannot be written ({error.strerror})") from error

    def write(self, record: RecordBase) -> None:
        try:
            self._file.write(json.dumps(record.model_dump(mode="json")) + "\n")
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise RecordError(
                f"{self.path}: cannot be written ({error.strerror}); records before it are kept"
            ) from error

    def close(self) -> None:
        # A full disk was reported where it happened; closing would flush, and raise it again.
        with contextlib.suppress(OSError):
            self._file.close()


def _ends_in_a_torn_line(path: Path) -> bool:
    if not path.is_file() or path.stat().st_size == 0:
        return False
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) != b"\n"


def parse_records(lines: Iterable[str], where: str) -> Iterator[Record | str]:
    """Each line's record, or in its place one line of text that says why it could not be read.

    A torn last line (a run that was cut) and a record of a newer schema are reported, never passed over.
    """
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            content = json.loads(line)
        except (ValueError, RecursionError):
            yield f"{where}, line {number}: not a whole JSON object (a torn write?)"
            continue
        version = content.get("schema_version") if isinstance(content, dict) else None
        if isinstance(version, int) and version > SCHEMA_VERSION:
            newer = f"schema {version} is newer than this version reads ({SCHEMA_VERSION})"
            yield f"{where}, line {number}: {newer}; upgrade vicreg-fast"
            continue
        try:
            yield _ADAPTER.validate_python(content)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            place = ".".join(str(part) for part in first["loc"]) or "the line"
            yield f"{where}, line {number}: not a record ({place}: {first['msg']})"


def read_records(path: Path) -> tuple[list[Record], list[str]]:
    """The records of a file and what could not be read of it. Raises RecordError when the file itself cannot
    be read."""
    try:
        lines = path.read_text(encoding="utf-8").split("\n")  # splitlines() also cuts inside strings
    except (OSError, UnicodeDecodeError) as error:
        raise RecordError(
            f"{path}: cannot be read ({getattr(error, 'strerror', None) or 'not UTF-8 text'})"
        ) from error
    records: list[Record] = []
    problems: list[str] = []
    for item in parse_records(lines, str(path.name)):
        if isinstance(item, str):
            problems.append(item)
        else:
            records.append(item)
    return records, problems
