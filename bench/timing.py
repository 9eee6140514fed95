"""Windows of training steps, timed: end to end, on one cached batch, and the loader alone.

A window is some steps between two moments at which the device has nothing left to do. Before the first window
of a measurement, steps are discarded until no batch is left that the loader made while nobody was timing it,
and until a step that is captured has been replayed.
"""

import time
from dataclasses import dataclass

import torch
from torch.profiler import record_function

from bench.energy import Meter
from bench.record import Mode
from pipelines.contract import ViewBatch
from vicreg_fast.training.loop import Trainer

PREFETCHED_BATCHES_A_WORKER = 2
"""What either back end makes ahead."""


@dataclass(frozen=True, kw_only=True)
class Windows:
    seconds: tuple[float, ...]
    loader_wait_seconds: tuple[float, ...]
    joules: tuple[float | None, ...] = ()
    """Of each window; None where the device's counter did not answer, empty without a meter."""


class StepTimer:
    """Times one open trainer at learning rate 0: every kernel of a step runs, and no timing depends on how
    long it trained."""

    def __init__(self, trainer: Trainer, workers: int, meter: Meter | None = None) -> None:
        self._trainer = trainer
        self._meter = meter
        trainer.train_step.hold_learning_rate(0.0)
        self._batches = iter(trainer.views)
        self._discard = PREFETCHED_BATCHES_A_WORKER * workers + 1
        self._cached = self._next()

    @property
    def cached(self) -> list[ViewBatch]:
        """The micro-batches of one step, the same at every call."""
        return self._cached

    def windows(self, mode: Mode, *, steps_per_window: int, windows: int) -> Windows:
        self.settle(mode)
        seconds: list[float] = []
        waits: list[float] = []
        drawn: list[float | None] = []
        for _ in range(windows):
            waited = 0.0
            self._synchronize()
            drawn_before = self._joules()
            began = time.perf_counter()
            for _ in range(steps_per_window):
                waited += self.step(mode)
            self._synchronize()
            seconds.append(time.perf_counter() - began)
            drawn.append(self._joules_since(drawn_before))
            waits.append(waited)
        joules = tuple(drawn) if self._meter is not None else ()
        return Windows(seconds=tuple(seconds), loader_wait_seconds=tuple(waits), joules=joules)

    def settle(self, mode: Mode) -> None:
        """Steps until what the loader made ahead is used up, and a captured step is replayed."""
        discard = self._discard if mode != "compute-only" else 1
        for _ in range(max(discard, self._trainer.train_step.steps_before_replay + 1)):
            self.step(mode)

    def step(self, mode: Mode) -> float:
        """One step; returns the seconds it waited for its batches."""
        if mode == "compute-only":
            self._trainer.train_step(self._cached)
            return 0.0
        asked = time.perf_counter()
        batches = self._next()
        waited = time.perf_counter() - asked
        if mode == "end-to-end":
            self._trainer.train_step(batches)
        return waited

    def _next(self) -> list[ViewBatch]:
        """A step's micro-batches."""
        with record_function("pipeline"):
            return [next(self._batches) for _ in range(self._trainer.recipe.accumulate)]

    def _joules(self) -> float | None:
        return self._meter.joules() if self._meter is not None else None

    def _joules_since(self, before: float | None) -> float | None:
        now = self._joules()
        return None if now is None or before is None else now - before

    def _synchronize(self) -> None:
        if self._trainer.device.type == "cuda":
            torch.cuda.synchronize(self._trainer.device)
