"""`bench`: scenarios side by side, each in its own process, their rounds interleaved in alternating order.

What a worker cannot measure is recorded as a failure, and the others go on without it; so it is when its
process ends, or hangs.
"""

import multiprocessing
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType

import torch

from bench.energy import open_meter
from bench.environment import measure_environment
from bench.ladder_record import LadderRung
from bench.orders import Answer, Order, Setup
from bench.record import Failure, Mode, Plan, RecordWriter
from bench.record_base import without_folders
from bench.roofline import measure_ceilings
from bench.scenarios import build_scenario
from bench.step_work import product_dtype
from bench.training_worker import serve_trainings
from bench.trainings import (
    DEFAULT_SEEDS,
    MARGIN_POINTS,
    Training,
    TrainingPool,
    TrainingSetup,
    plan_trainings,
    side_by_side,
)
from bench.worker import serve
from bench.worker_process import Patience, WorkerProcess
from pipelines.manifest import Manifest
from vicreg_fast.config import Recipe

MODES: tuple[Mode, ...] = ("end-to-end", "compute-only", "loader-only")
METRICS = ("throughput", "memory", "accuracy")
START_METHOD = "spawn"
"""How workers start: so that none has what another, or this process, had in memory. Where speed and memory do
not matter, a process with one thread may have them forked, which takes no import of torch."""
MOST_ON_A_GPU = 1
"""Scenarios that keep their memory on a GPU while others are measured: a batch size is chosen to fill one."""


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """What is timed of one scenario in one mode of one round, and in which modes."""

    modes: tuple[Mode, ...] = MODES
    steps: int = 5
    count: int = 2

    @classmethod
    def of(cls, device: str, *, ladder: bool, quick: bool) -> "Sampling":
        """A ladder has many scenarios and no words about loaders, so it times less of each."""
        steps = 20 if device == "cuda" else 5
        if ladder:
            return cls(modes=MODES[:2], steps=3 if quick and device == "cpu" else steps, count=1)
        return cls(steps=steps)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What to compare, and how long to look."""

    scenarios: tuple[str, ...]
    """Names as in `bench.changes`, the baseline first, in the order of a round."""
    recipe: Recipe
    data: Path
    data_description: str
    device: str
    command: str
    contender: str = "fast"
    ladder: tuple[LadderRung, ...] = ()
    """What the scenarios are compared as, where they are the rungs of a ladder."""
    metrics: tuple[str, ...] = METRICS
    rounds: int = 8
    sampling: Sampling = Sampling()
    seeds: tuple[int, ...] = tuple(range(DEFAULT_SEEDS))
    accuracy_margin_points: float = MARGIN_POINTS
    trace_folder: Path | None = None
    """That of the records, where each scenario's steps are to be traced."""
    epoch_images: int | None = None
    price_per_hour: float | None = None
    currency: str = "USD"
    target_accuracy_percent: float | None = None


def make_plan(c: Comparison) -> Plan:
    """The comparison as a record. Raises UsageError when a scenario cannot be."""
    device = torch.device(c.device)
    return Plan(
        command=c.command,
        device=c.device,
        data=c.data_description,
        recipe=c.recipe.model_dump(),
        recipe_fingerprint=c.recipe.fingerprint(),
        scenarios=tuple(build_scenario(name, c.recipe, device).record for name in c.scenarios),
        baseline=c.scenarios[0],
        contender=c.contender,
        rounds=c.rounds if "throughput" in c.metrics else 0,
        seeds=c.seeds if "accuracy" in c.metrics else (),
        accuracy_margin_points=c.accuracy_margin_points,
        ladder=c.ladder,
        epoch_images=c.epoch_images,
        energy=open_meter(device.type)[1] if "throughput" in c.metrics else "",
        price_per_hour=c.price_per_hour,
        currency=c.currency,
        target_accuracy_percent=c.target_accuracy_percent,
    )


class ComparisonRun:
    """Carries out a Comparison and writes its records. A context: leaving it ends every worker."""

    def __init__(
        self,
        comparison: Comparison,
        writer: RecordWriter,
        on_progress: Callable[[str, int, int], None],
        *,
        worker: Callable[[Connection, Setup], None] = serve,
        trainings: Callable[[Connection, TrainingSetup], None] = serve_trainings,
        patience: Patience | None = None,
    ) -> None:
        self.comparison = comparison
        self.failures: list[Failure] = []
        self._worker = worker
        self._trainings = trainings
        self._patience = patience or Patience()
        self._writer = writer
        self._on_progress = on_progress
        self._done = 0
        self._processes: list[WorkerProcess[Order]] = []
        self._scratch = tempfile.TemporaryDirectory(prefix="vicreg-fast-bench-", ignore_cleanup_errors=True)

    def __enter__(self) -> "ComparisonRun":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._processes:
            process.tell_to_end(at_once=kind is not None)
        for process in self._processes:
            process.close()
        self._scratch.cleanup()

    def run(self) -> None:
        """Raises UsageError before anything starts when a scenario cannot be; a scenario that fails later is
        recorded."""
        plan = make_plan(self.comparison)
        self._writer.write(measure_environment())
        self._writer.write(plan)
        c = self.comparison
        if "throughput" in c.metrics and c.device == "cpu":
            self._ceilings()  # while nothing of ours runs yet
        for name in c.scenarios:
            setup = Setup(
                scenario=name,
                recipe=c.recipe,
                data=c.data,
                device=c.device,
                crowded=len(c.scenarios) > MOST_ON_A_GPU,
                scratch=Path(self._scratch.name),
            )
            context = multiprocessing.get_context(START_METHOD)
            self._processes.append(WorkerProcess(name, self._worker, setup, self._patience, context=context))
        if "memory" in c.metrics:
            for process in self._processes:
                self._measure(process, Order(action="memory"), "memory")
        if "throughput" in c.metrics:
            for process in self._processes:
                self._measure(process, Order(action="work"), "counting the work of a step", vital=False)
            if c.device != "cpu":
                self._ceilings()
            self._throughput()
            self._ceilings()  # again: the machine may have been busier then
        if c.trace_folder is not None:
            for process in self._processes:
                self._measure(process, Order(action="trace", folder=c.trace_folder), "tracing", vital=False)
        if "accuracy" in c.metrics:
            self._accuracy()

    def _ceilings(self) -> None:
        """What this device's products and copies reach. On a GPU a worker finds out: not this process."""
        c = self.comparison
        device = torch.device(c.device)
        built = [build_scenario(name, c.recipe, device) for name in c.scenarios]
        dtypes = tuple(dict.fromkeys(product_dtype(each.recipe, device) for each in built))
        stage = "what the machine reaches"
        if device.type != "cpu":
            self._measure(self._any_alive(), Order(action="ceilings", dtypes=dtypes), stage, vital=False)
            return
        self._on_progress(stage, self._done, self.total)
        self._done += 1
        for ceiling in measure_ceilings(dtypes, device):
            self._writer.write(ceiling)

    def _throughput(self) -> None:
        c = self.comparison
        for number in range(c.rounds):
            # Each mode is a pair of neighbours in time, so that a drift of the machine meets both sides of
            # it.
            for mode in c.sampling.modes:
                order = self._processes if number % 2 == 0 else self._processes[::-1]
                for place, process in enumerate(order):
                    asked = Order(
                        action="throughput",
                        mode=mode,
                        round=number,
                        position=place,
                        steps_per_window=c.sampling.steps,
                        windows=c.sampling.count,
                    )
                    self._measure(process, asked, f"round {number + 1} of {c.rounds}, {mode}")

    def _accuracy(self) -> None:
        """Trains and probes, several at a time on a CPU. What timed ends first: its loaders would wake up."""
        c = self.comparison
        ended = {process.name for process in self._processes if not process.alive}
        for process in self._processes:
            process.tell_to_end(at_once=False)
        for process in self._processes:
            process.close()
        self._processes.clear()

        def note(job: Training, text: str) -> None:
            self._on_progress(f"{job.subject}: {job.stage}, {text}", self._done, self.total)

        def keep(job: Training, answer: Answer) -> None:
            self._done += 1
            self._keep(job.subject, job.stage, answer)

        setup = TrainingSetup(
            recipe=c.recipe,
            data=c.data,
            device=c.device,
            side_by_side=side_by_side(c.device),
            scratch=Path(self._scratch.name),
        )
        context = multiprocessing.get_context(START_METHOD)
        with TrainingPool(setup, self._trainings, self._patience, context=context) as pool:
            jobs = plan_trainings(c.scenarios, c.seeds)
            pool.run([job for job in jobs if job.subject not in ended], keep, note)

    def _any_alive(self) -> WorkerProcess[Order]:
        return next((process for process in reversed(self._processes) if process.alive), self._processes[-1])

    def _measure(
        self, process: WorkerProcess[Order], order: Order, stage: str, *, vital: bool = True
    ) -> None:
        """What fails once fails each round: one failure is told, and the others go on without it. After one
        that is not `vital` the scenario goes on, unless its process ended."""
        shown, done = f"{process.name}: {stage}", self._done
        self._on_progress(shown, done, self.total)
        self._done += 1
        if not process.alive:
            return  # its end is recorded already
        answer = process.ask(order, lambda note: self._on_progress(f"{shown}, {note}", done, self.total))
        self._keep(process.name, stage, answer)
        if answer.problem is not None and vital and process.alive:
            process.alive = False
            process.tell_to_end(at_once=False)  # the others may need the memory it has

    def _keep(self, subject: str, stage: str, answer: Answer) -> None:
        for record in answer.records:
            self._writer.write(record)
        if answer.problem is not None:
            failure = Failure(scenario=subject, stage=stage, message=answer.problem)
            self._writer.write(failure.model_copy(update={"message": without_folders(answer.problem)}))
            self.failures.append(failure)

    @property
    def total(self) -> int:
        """How many measurements there are to make."""
        c = self.comparison
        count = len(c.scenarios)
        return (
            ("memory" in c.metrics) * count
            + ("throughput" in c.metrics) * (c.rounds * len(c.sampling.modes) * count + count + 2)
            + (c.trace_folder is not None) * count
            + ("accuracy" in c.metrics) * len(plan_trainings(c.scenarios, c.seeds))
        )


def describe_data(name: str, train: Manifest, test: Manifest | None) -> str:
    """A data set in words, without its path."""
    words = f"{name}: {len(train)} training images"
    if train.classes:
        words += f" of {len(train.classes)} classes"
    return words + (f", {len(test)} test images" if test is not None else "")


def scenarios_to_compare(against: Sequence[str]) -> tuple[str, ...]:
    """The names asked for, in their order, and `fast` last: it is what the verdict is about."""
    return (*dict.fromkeys(name for name in against if name != "fast"), "fast")
