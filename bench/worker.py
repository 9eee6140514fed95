"""A scenario's own process: it holds the pipeline, the network and their memory, and measures when it is told
to.

The parent sends one Order at a time over a pipe and gets one answer; what goes wrong comes back as an Answer
with a message, and a process that dies closes the pipe. Between orders the worker is idle: its loader's
queues fill and its threads sleep.
"""

import os
import signal
import traceback
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Literal

import torch

from bench.energy import Meter, energy_record, open_meter
from bench.limits_record import StepWork, TraceShares
from bench.memory import PeakMemory, host_bytes
from bench.record import Accuracy, AccuracyPoint, Memory, Mode, Record, Throughput
from bench.roofline import measure_ceilings
from bench.scenarios import build_scenario
from bench.step_work import step_work
from bench.timing import StepTimer
from bench.trace import record_trace
from pipelines.manifest import Manifest, load_manifest
from vicreg_fast.config import Recipe
from vicreg_fast.errors import VICRegFastError
from vicreg_fast.evaluation.evaluate import Evaluation, EvaluationSet
from vicreg_fast.training.loop import Trainer

CURVE_POINTS = (0.25, 0.5, 1.0)
"""Shares of a run at which its trunk is probed."""


@dataclass(frozen=True, kw_only=True)
class Order:
    """What to measure. Fields that an action does not use are left alone."""

    action: Literal["throughput", "memory", "accuracy", "floors", "work", "ceilings", "trace"]
    mode: Mode = "end-to-end"
    round: int = 0
    position: int = 0
    steps_per_window: int = 1
    windows: int = 1
    seed: int = 0
    dtypes: tuple[str, ...] = ()
    """Whose ceilings to measure."""
    folder: Path | None = None
    """Where the records are, and a trace is to be."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    records: tuple[Record, ...] = ()
    problem: str | None = None
    """One line, when the order could not be carried out."""
    details: str = ""


@dataclass(frozen=True, kw_only=True)
class Setup:
    scenario: str
    recipe: Recipe
    data: Path
    device: str
    threads: int | None = None


def serve(connection: Connection, setup: Setup) -> None:
    """The process's main: answers orders until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interrupt ends
    worker = _Worker(setup)
    while True:
        try:
            order: Order | None = connection.recv()
        except EOFError:
            order = None
        if order is None:
            worker.close()
            return
        try:
            answer = worker.answer(order)
        except VICRegFastError as error:
            answer = Answer(problem=str(error))
        except Exception as error:  # the parent reports it; the other scenarios go on
            line = (str(error).strip().splitlines() or [""])[0]
            answer = Answer(problem=f"{type(error).__name__}: {line}", details=traceback.format_exc())
        connection.send(answer)


def gpu_uuid(device: torch.device) -> str | None:
    """As NVML writes it; None for a device that is no GPU."""
    return f"GPU-{torch.cuda.get_device_properties(device).uuid}" if device.type == "cuda" else None


@dataclass
class _Worker:
    setup: Setup
    _manifest: Manifest | None = None
    _timer: tuple[Trainer, StepTimer] | None = None
    _evaluation: EvaluationSet | None = None
    _host_before: int = field(default_factory=host_bytes)

    def __post_init__(self) -> None:
        self.device = torch.device(self.setup.device)
        self.built = build_scenario(self.setup.scenario, self.setup.recipe, self.device)
        self.meter: Meter | None = open_meter(self.device.type, gpu_uuid(self.device))[0]

    def answer(self, order: Order) -> Answer:
        if order.action == "throughput":
            return Answer(records=self._throughput(order))
        if order.action == "memory":
            return Answer(records=(self._memory(order),))
        if order.action == "accuracy":
            return Answer(records=(self._accuracy(order.seed),))
        if order.action == "work":
            return Answer(records=(self._work(),))
        if order.action == "ceilings":
            return Answer(records=tuple(measure_ceilings(order.dtypes, self.device)))
        if order.action == "trace":
            assert order.folder is not None
            return Answer(records=(self._trace(order.folder),))
        return Answer(records=self._floors(order.seed))

    def close(self) -> None:
        if self._timer is not None:
            self._timer[0].close()
            self._timer = None

    def _throughput(self, order: Order) -> tuple[Record, ...]:
        _, timer = self._open_timer()
        windows = timer.windows(order.mode, steps_per_window=order.steps_per_window, windows=order.windows)
        timed = Throughput(
            scenario=self.setup.scenario,
            mode=order.mode,
            round=order.round,
            position=order.position,
            pid=os.getpid(),
            batch_size=self.built.recipe.batch_size,
            image_size=self.built.recipe.image_size,
            steps_per_window=order.steps_per_window,
            window_seconds=windows.seconds,
            loader_wait_seconds=windows.loader_wait_seconds,
        )
        if self.meter is None:
            return (timed,)
        drawn = energy_record(
            self.meter,
            scenario=timed.scenario,
            mode=timed.mode,
            round=timed.round,
            joules=windows.joules,
            window_seconds=timed.window_seconds,
            pairs_per_window=timed.batch_size * timed.steps_per_window,
        )
        return timed, drawn

    def _work(self) -> StepWork:
        trainer, timer = self._open_timer()
        return step_work(self.built, trainer.train_step, timer.cached)

    def _trace(self, folder: Path) -> TraceShares:
        _, timer = self._open_timer()
        timer.settle("end-to-end")
        return record_trace(self.setup.scenario, lambda: timer.step("end-to-end"), self.device, folder)

    def _memory(self, order: Order) -> Memory:
        """Peaks over building everything and the first steps, unless the timer is open already: memory is
        asked for first."""
        on_gpu = self.device.type == "cuda"
        if on_gpu:
            torch.cuda.reset_peak_memory_stats(self.device)
        with PeakMemory(with_device=on_gpu) as peak:
            _, timer = self._open_timer()
            timer.windows("end-to-end", steps_per_window=order.steps_per_window, windows=order.windows)
        return Memory(
            scenario=self.setup.scenario,
            pid=os.getpid(),
            host_before_bytes=self._host_before,
            host_peak_bytes=peak.host_bytes,
            device_allocated_peak_bytes=torch.cuda.max_memory_allocated(self.device) if on_gpu else None,
            device_reserved_peak_bytes=torch.cuda.max_memory_reserved(self.device) if on_gpu else None,
            device_process_peak_bytes=peak.device_process_bytes,
        )

    def _accuracy(self, seed: int) -> Accuracy:
        self.close()  # its loader would go on taking memory and wake up the cores
        recipe = self.built.recipe.replace(seed=seed)
        evaluation = self._open_evaluation()
        trainer = Trainer(
            recipe,
            self._open_manifest(),
            self.device,
            loss=self.built.loss,
            make_optimizer=self.built.make_optimizer,
        )
        try:
            curve: list[AccuracyPoint] = []
            probed: Evaluation | None = None
            for share in CURVE_POINTS:
                trainer.run(until=max(1, round(share * trainer.total_steps)))
                probed = evaluation.trunk(trainer.train_step.network.backbone)
                curve.append(
                    AccuracyPoint(step=trainer.step, seconds=trainer.seconds, linear_top1=probed.linear.top1)
                )
            assert probed is not None
            return Accuracy(
                subject=self.setup.scenario,
                seed=seed,
                linear_top1=probed.linear.top1,
                knn_top1=probed.knn_top1,
                classes=evaluation.classes,
                test_images=len(evaluation.test.labels),
                epochs=round(trainer.total_steps / trainer.steps_per_epoch),
                steps=trainer.total_steps,
                pretrain_seconds=trainer.seconds,
                final_loss=trainer.last_loss,
                curve=tuple(curve),
            )
        finally:
            trainer.close()

    def _floors(self, seed: int) -> tuple[Accuracy, ...]:
        """What the untrained trunk of this seed gives, and (with the first seed) what the pixels do."""
        evaluation = self._open_evaluation()
        floors = {"random-trunk": evaluation.random_trunk(self.built.recipe.replace(seed=seed))}
        if seed == self.setup.recipe.seed:
            floors["raw-pixels"] = evaluation.raw_pixels()
        return tuple(
            Accuracy(
                subject=subject,
                seed=seed,
                linear_top1=probed.linear.top1,
                knn_top1=probed.knn_top1,
                classes=evaluation.classes,
                test_images=len(evaluation.test.labels),
            )
            for subject, probed in floors.items()
        )

    def _open_manifest(self) -> Manifest:
        if self._manifest is None:
            self._manifest = load_manifest(self.setup.data)
        return self._manifest

    def _open_timer(self) -> tuple[Trainer, StepTimer]:
        if self._timer is None:
            trainer = Trainer(
                self.built.recipe,
                self._open_manifest(),
                self.device,
                loss=self.built.loss,
                make_optimizer=self.built.make_optimizer,
            )
            self._timer = trainer, StepTimer(trainer, self.built.record.workers, self.meter)
        return self._timer

    def _open_evaluation(self) -> EvaluationSet:
        if self._evaluation is None:
            recipe = self.built.recipe
            self._evaluation = EvaluationSet(
                self._open_manifest(),
                load_manifest(self.setup.data, split="test"),
                image_size=recipe.probe_size or recipe.image_size,
                workers=recipe.workers,
                device=self.device,
            )
        return self._evaluation
