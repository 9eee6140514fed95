"""Trainings for accuracy, as many side by side as the machine has cores, so that none idles.

A training's accuracy does not depend on what runs beside it: on a CPU each has one core, one thread and one
loader worker, whatever else goes on. Its seconds do, and its record says how many there were. On a GPU there
is one at a time.
"""

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from pathlib import Path

from bench.orders import Answer
from bench.worker_process import Patience, WorkerProcess
from vicreg_fast.config import Recipe

DEFAULT_SEEDS = 4
"""So many decide within the margin on the default recipe; `bench.prove_accuracy` shows it."""
FULL_SEEDS = 8
MARGIN_POINTS = 3.0
"""Of non-inferiority, in percentage points of linear accuracy."""
FLOORS = "floors"
"""The subject of a job that trains nothing: what a probe reaches without pretraining."""
SEEDS_WITH_FLOORS = 3
SEEDS_WITH_CURVES = 3
"""The others are probed at their end only: a curve of five probes takes as long as half a short training."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """One job: a scenario trained with a seed, or the floors of that seed."""

    subject: str
    seed: int
    curve: bool = False
    """Whether the trunk is probed on the way as well."""
    pixels: bool = False
    """Whether raw pixels are among the floors."""

    @property
    def kind(self) -> str:
        return "floors" if self.subject == FLOORS else "training"

    @property
    def stage(self) -> str:
        return f"{'probing' if self.subject == FLOORS else 'pretraining'}, seed {self.seed}"


@dataclass(frozen=True, kw_only=True)
class TrainingSetup:
    """What every job of a worker has in common."""

    recipe: Recipe
    data: Path
    device: str
    side_by_side: int
    """Trainings at a time; with more than one, each has one thread."""
    scratch: Path


def side_by_side(device: str) -> int:
    """Trainings at a time: one a core this process may use, and one on a GPU."""
    return 1 if device.startswith("cuda") else len(os.sched_getaffinity(0))


def plan_trainings(scenarios: Sequence[str], seeds: Sequence[int]) -> tuple[Training, ...]:
    """All jobs of a comparison, whole seeds first, so that one that is cut has pairs; the floors, which are
    short, fill the gap at the end."""
    jobs = [
        Training(subject=name, seed=seed, curve=place < SEEDS_WITH_CURVES)
        for place, seed in enumerate(seeds)
        for name in scenarios
    ]
    jobs += [
        Training(subject=FLOORS, seed=seed, pixels=place == 0)
        for place, seed in enumerate(seeds[:SEEDS_WITH_FLOORS])
    ]
    return tuple(jobs)


class TrainingPool:
    """Worker processes that share out jobs. A context: leaving it ends every worker."""

    def __init__(
        self,
        setup: TrainingSetup,
        worker: Callable[[Connection, TrainingSetup], None],
        patience: Patience,
        *,
        context: BaseContext,
    ) -> None:
        self._setup = setup
        self._worker = worker
        self._patience = patience
        self._context = context
        self._lock = threading.Lock()
        self._processes: list[WorkerProcess[Training]] = []
        self._left: list[Training] = []
        self._failed: set[str] = set()
        self._stopped = False

    def __enter__(self) -> "TrainingPool":
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()
        for process in self._processes:
            process.close()

    def run(
        self,
        jobs: Sequence[Training],
        on_answer: Callable[[Training, Answer], None],
        on_note: Callable[[Training, str], None] = lambda *_: None,
    ) -> None:
        """Carries out the jobs in about their order; both functions are called by one thread at a time.

        A subject whose job failed has no further one carried out: what fails with one seed fails with each.
        """
        self._left = list(jobs)
        slots = min(self._setup.side_by_side, len(jobs))
        with ThreadPoolExecutor(max_workers=max(1, slots)) as threads:
            running = [threads.submit(self._work, slot, on_answer, on_note) for slot in range(slots)]
            try:
                wait(running, return_when=FIRST_EXCEPTION)
            finally:
                if any(not each.done() or each.exception() is not None for each in running):
                    self._stop()
        for each in running:
            each.result()

    def _work(
        self,
        slot: int,
        on_answer: Callable[[Training, Answer], None],
        on_note: Callable[[Training, str], None],
    ) -> None:
        process: WorkerProcess[Training] | None = None

        def tell(job: Training, text: str) -> None:
            with self._lock:
                if not self._stopped:
                    on_note(job, text)

        while (job := self._next()) is not None:
            if process is None or not process.alive:
                process = self._start(slot)
            if process is None:
                return
            tell(job, "starting")
            answer = process.ask(job, partial(tell, job))
            with self._lock:
                if self._stopped:
                    return
                if answer.problem is not None:
                    self._failed.add(job.subject)
                on_answer(job, answer)

    def _next(self) -> Training | None:
        with self._lock:
            while self._left and not self._stopped:
                job = self._left.pop(0)
                if job.subject not in self._failed:
                    return job
        return None

    def _start(self, slot: int) -> WorkerProcess[Training] | None:
        """None where the pool was stopped meanwhile."""
        with self._lock:
            if self._stopped:
                return None
            name = f"trainings-{slot + 1}"
            process = WorkerProcess[Training](
                name, self._worker, self._setup, self._patience, context=self._context
            )
            self._processes.append(process)
            return process

    def _stop(self) -> None:
        with self._lock:
            self._stopped = True
            for process in self._processes:
                if process.alive:
                    process.tell_to_end(at_once=True)
