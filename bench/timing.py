"""Windows of training steps, timed: end to end, on one cached batch, and the loader alone.

A window is some steps between two moments at which the device has nothing left to do. What comes before the
first window of a measurement is discarded: the eager steps of one that is to be captured, and what makes the
loader's queue other than it is in a long run. A loader that makes batches faster than they are used has a
full queue then, and one that is slower an empty one. Timing steps that use up a full queue would show the
slower loader as if it were none. Emptying it before every window would take the slowest loaders most of the
time: so the workers of a loader that is not known to be the faster wait between measurements.
"""

import math
import time
from dataclasses import dataclass

import torch
from torch.profiler import record_function

from bench.energy import Meter
from bench.idle import wait_until_idle
from bench.record import Mode
from pipelines.contract import ViewBatch
from pipelines.pausing import pause_workers, resume_workers
from vicreg_fast.training.loop import Trainer

PREFETCHED_BATCHES_A_WORKER = 2
"""What either back end makes ahead."""
COPIED_AHEAD = 1
"""And what is on its way to a GPU."""
TRIED_STEPS = 2
"""Timed once to see whether the loader or the step is the slower."""


@dataclass(frozen=True, kw_only=True)
class Windows:
    steps: int
    """Of each window: those asked for, or a few more."""
    seconds: tuple[float, ...]
    loader_wait_seconds: tuple[float, ...]
    """Of each window, how long the host waited for batches that the device had run out of work for. On a GPU
    an upper bound, as the device is only known to be idle when the batch comes; and what DALI makes on the
    GPU itself, the device waits for, unseen by the host."""
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
        self._workers = max(1, workers)
        self._starved: bool | None = None
        self._paused = False
        self._empty = False
        """Whether the loader's queue is known to be."""
        self._step_done: torch.cuda.Event | None = None
        self._cached = self._next()

    @property
    def cached(self) -> list[ViewBatch]:
        """The micro-batches of one step, the same at every call."""
        return self._cached

    def windows(self, mode: Mode, *, steps_per_window: int, windows: int) -> Windows:
        self.prepare(mode)
        steps = steps_per_window
        if mode == "loader-only" or (mode == "end-to-end" and self._starved):
            steps = self._whole_turns(steps)
        seconds: list[float] = []
        waits: list[float] = []
        drawn: list[float | None] = []
        for _ in range(windows):
            waited = 0.0
            self._synchronize()
            drawn_before = self._joules()
            began = time.perf_counter()
            for _ in range(steps):
                waited += self.step(mode)
            self._synchronize()
            seconds.append(time.perf_counter() - began)
            drawn.append(self._joules_since(drawn_before))
            waits.append(waited)
        joules = tuple(drawn) if self._meter is not None else ()
        return Windows(steps=steps, seconds=tuple(seconds), loader_wait_seconds=tuple(waits), joules=joules)

    def first_step(self) -> None:
        """A step with the first batch, all of it done: what had to be built or compiled is."""
        self.step("compute-only")
        self._synchronize()

    def rest(self) -> None:
        """To be called after each measurement. A loader that is the faster goes on until its queue is full,
        which `bench.idle` waits for. Any other waits as it is, until it is asked for a batch: its queue,
        which the last measurement left empty, would take it longest to fill, and the next one as long to
        empty."""
        if self._starved is not False and not self._paused:
            self._paused = pause_workers()
        self._empty = self._empty and self._paused

    def close(self) -> None:
        """To be called before the trainer is closed: paused workers would not hear of it."""
        self._resume()

    def prepare(self, mode: Mode) -> None:
        """Brings the step and the loader's queue to where they are in the middle of a long run. The loader
        has to be at rest."""
        warm_up = self._trainer.train_step.steps_before_replay + 1
        if mode == "end-to-end" and self._starved is None:
            self._starved = self._is_starved(warm_up)
            self.rest()
            if not self._starved:
                wait_until_idle()
        if mode == "compute-only" or (mode == "end-to-end" and self._starved):
            self._steps(warm_up, "compute-only")  # a capture takes seconds, in which a queue would fill
        if mode == "loader-only" or (mode == "end-to-end" and self._starved):
            self._drain()
        if mode == "end-to-end":
            self._empty = bool(self._starved)
            in_work = math.ceil(self._workers / self._micro_batches)
            self._steps(2 if self._starved else max(warm_up, in_work + 1), mode)

    def step(self, mode: Mode) -> float:
        """One step; returns the seconds it waited for its batches."""
        if mode == "compute-only":
            self._trainer.train_step(self._cached)
            return 0.0
        asked = time.perf_counter()
        batches = self._next()
        waited = time.perf_counter() - asked
        if mode == "loader-only":
            return waited
        # While the device still works at the step before, this one does not wait for its batches.
        busy = self._step_done is not None and not self._step_done.query()
        self._trainer.train_step(batches)
        if self._trainer.device.type == "cuda":
            self._step_done = torch.cuda.Event()
            self._step_done.record(torch.cuda.current_stream(self._trainer.device))
        return 0.0 if busy else waited

    def _is_starved(self, warm_up: int) -> bool:
        """Whether the loader alone makes batches more slowly than the step alone uses them."""
        self._steps(warm_up, "compute-only")
        used = self._seconds_a_step(TRIED_STEPS, "compute-only")
        self._drain()
        made = self._seconds_a_step(self._whole_turns(1), "loader-only")
        return made > used

    def _seconds_a_step(self, steps: int, mode: Mode) -> float:
        self._synchronize()
        began = time.perf_counter()
        self._steps(steps, mode)
        self._synchronize()
        return (time.perf_counter() - began) / steps

    def _steps(self, count: int, mode: Mode) -> None:
        for _ in range(count):
            self.step(mode)

    def _drain(self) -> None:
        """Takes what the loader made ahead, and one more, which is made while we wait for it."""
        if self._empty:
            return
        self._empty = True
        ahead = PREFETCHED_BATCHES_A_WORKER * self._workers + COPIED_AHEAD
        self._steps(math.ceil((ahead + 1) / self._micro_batches), "loader-only")

    def _whole_turns(self, steps: int) -> int:
        """So many or a few more, in which every worker makes as many batches: as workers that begin together
        end together, a window of less would see their rhythm."""
        turn = self._workers // math.gcd(self._workers, self._micro_batches)
        return math.ceil(steps / turn) * turn

    @property
    def _micro_batches(self) -> int:
        return self._trainer.recipe.accumulate

    def _next(self) -> list[ViewBatch]:
        """A step's micro-batches."""
        self._resume()
        with record_function("pipeline"):
            return [next(self._batches) for _ in range(self._trainer.recipe.accumulate)]

    def _resume(self) -> None:
        if self._paused:
            resume_workers()
            self._paused = False

    def _joules(self) -> float | None:
        return self._meter.joules() if self._meter is not None else None

    def _joules_since(self, before: float | None) -> float | None:
        now = self._joules()
        return None if now is None or before is None else now - before

    def _synchronize(self) -> None:
        if self._trainer.device.type == "cuda":
            torch.cuda.synchronize(self._trainer.device)
