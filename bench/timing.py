"""Windows of training steps, timed: end to end, on one cached batch, and the loader alone.

A window is some steps between two moments at which the device has nothing left to do. Before the first window
of a measurement, steps are discarded until no batch is left that the loader made while nobody was timing it,
and until a step that is captured has been replayed.
"""

import time
from dataclasses import dataclass

import torch

from bench.record import Mode
from pipelines.contract import ViewBatch
from vicreg_fast.training.loop import Trainer

PREFETCHED_BATCHES_A_WORKER = 2
"""What either back end makes ahead."""


@dataclass(frozen=True, kw_only=True)
class Windows:
    seconds: tuple[float, ...]
    loader_wait_seconds: tuple[float, ...]


class StepTimer:
    """Times one open trainer at learning rate 0: every kernel of a step runs, and no timing depends on how
    long it trained."""

    def __init__(self, trainer: Trainer, workers: int) -> None:
        self._trainer = trainer
        trainer.train_step.hold_learning_rate(0.0)
        self._batches = iter(trainer.views)
        self._discard = PREFETCHED_BATCHES_A_WORKER * workers + 1
        self._cached = self._next()

    def windows(self, mode: Mode, *, steps_per_window: int, windows: int) -> Windows:
        discard = self._discard if mode != "compute-only" else 1
        for _ in range(max(discard, self._trainer.train_step.steps_before_replay + 1)):
            self._one(mode)
        seconds, waits = [], []
        for _ in range(windows):
            waited = 0.0
            self._synchronize()
            began = time.perf_counter()
            for _ in range(steps_per_window):
                waited += self._one(mode)
            self._synchronize()
            seconds.append(time.perf_counter() - began)
            waits.append(waited)
        return Windows(seconds=tuple(seconds), loader_wait_seconds=tuple(waits))

    def _one(self, mode: Mode) -> float:
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
        return [next(self._batches) for _ in range(self._trainer.recipe.accumulate)]

    def _synchronize(self) -> None:
        if self._trainer.device.type == "cuda":
            torch.cuda.synchronize(self._trainer.device)
