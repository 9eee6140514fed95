"""The whole of `bench loader`: the fidelity of every loader, then its rates, in rounds.

A round goes through all settings, and at each through all loaders; every other round goes both ways
backwards, so that a drift of the machine falls on all of them, and a pair of one round is made within
seconds.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

from bench.loader import LoaderSetting
from bench.loader_kinds import BASELINE
from bench.loader_record import LoaderPlan, LoaderSubject
from bench.loader_worker import LoaderOrder, LoaderWork, serve
from bench.orders import Answer
from bench.record import Failure, Record
from bench.record_base import without_folders
from bench.worker_process import Patience, WorkerProcess
from pipelines.manifest import Manifest
from pipelines.workers import worker_context

PATIENCE = 120.0


@dataclass(frozen=True, kw_only=True)
class LoaderBench:
    """What to measure. `threads`, `image_sizes` and `batch_sizes` are a grid."""

    subjects: tuple[LoaderSubject, ...]
    manifest: Manifest
    data: str
    """In words."""
    device: str
    augmentation: str
    threads: tuple[int, ...]
    image_sizes: tuple[int, ...]
    batch_sizes: tuple[int, ...]
    rounds: int
    seconds: float
    patience: float = PATIENCE
    """Seconds without a batch after which a loader counts as hung."""
    command: str

    @property
    def settings(self) -> tuple[LoaderSetting, ...]:
        """Every one of the grid."""
        return tuple(
            LoaderSetting(threads=threads, image_size=size, batch_size=batch)
            for size, batch, threads in product(self.image_sizes, self.batch_sizes, self.threads)
        )

    def record(self) -> LoaderPlan:
        """What was asked for."""
        return LoaderPlan(
            command=self.command,
            device=self.device,
            data=self.data,
            augmentation=self.augmentation,
            subjects=self.subjects,
            baseline=BASELINE,
            threads=self.threads,
            image_sizes=self.image_sizes,
            batch_sizes=self.batch_sizes,
            rounds=self.rounds,
            seconds=self.seconds,
        )


class LoaderBenchRun:
    """Carries out a LoaderBench and hands over each record as it is made. A context: leaving it ends its
    process."""

    def __init__(
        self,
        bench: LoaderBench,
        write: Callable[[Record], None],
        on_progress: Callable[[str, int, int], None],
    ) -> None:
        self.bench = bench
        self.failed: list[str] = []
        """What failed, in one line each."""
        self._write = write
        self._on_progress = on_progress
        self._done = 0
        self._process: WorkerProcess[LoaderOrder] | None = None

    def run(self) -> None:
        """Measures everything. A loader that fails at a setting is recorded, and left out there."""
        b = self.bench
        self._write(b.record())
        subjects = [subject for subject in b.subjects if subject.obstacle is None]
        first = b.settings[0]
        total = len(subjects) * (len(b.image_sizes) + b.rounds * len(b.settings))
        for size, subject in product(b.image_sizes, subjects):
            at = LoaderSetting(threads=1, image_size=size, batch_size=first.batch_size)
            self._carry_out(
                LoaderOrder(action="fidelity", subject=subject, setting=at), f"fidelity at {size} px", total
            )
        left_out: set[tuple[str, LoaderSetting]] = set()
        for number in range(b.rounds):
            turn = 1 if number % 2 == 0 else -1
            for setting in b.settings[::turn]:
                for place, subject in enumerate(subjects[::turn]):
                    if (subject.name, setting) in left_out:
                        self._done += 1
                        continue
                    order = LoaderOrder(
                        action="rate", subject=subject, setting=setting, round=number, position=place
                    )
                    if not self._carry_out(order, f"round {number + 1}: {setting}", total):
                        left_out.add((subject.name, setting))

    def _carry_out(self, order: LoaderOrder, stage: str, total: int) -> bool:
        self._on_progress(f"{stage}: {order.subject.name}", self._done, total)
        answer = self._ask(order)
        self._done += 1
        for record in answer.records:
            self._write(record)
        if answer.problem is None:
            return True
        message = without_folders(answer.problem)
        self._write(Failure(scenario=order.subject.name, stage=stage, message=message))
        self.failed.append(f"{order.subject.name} failed in {stage}: {answer.problem}")
        return False

    def _ask(self, order: LoaderOrder) -> Answer:
        if self._process is not None and not self._process.alive:
            self._process.close()
            self._process = None
        if self._process is None:
            self._process = start_worker(self.bench)
        return self._process.ask(order)

    def __enter__(self) -> "LoaderBenchRun":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._process is not None:
            self._process.tell_to_end(at_once=kind is not None)
            self._process.close()


def start_worker(bench: LoaderBench) -> WorkerProcess[LoaderOrder]:
    """The process that the bench's loaders are measured in."""
    work = LoaderWork(
        manifest=bench.manifest, augmentation=bench.augmentation, device=bench.device, seconds=bench.seconds
    )
    patience = Patience(first=bench.patience, least=bench.patience, factor=0.0, awaited="batch")
    # From the fork server that loader workers come from: it has imported torch, and holds no threads.
    return WorkerProcess("loader", serve, work, patience, context=worker_context(1))
