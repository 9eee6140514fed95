"""What windows of steps say of a loader and a step whose speeds are known, by a clock that only they move."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from bench.timing import StepTimer
from tests.clock import Clock

WORKERS = 2
AHEAD = 2 * WORKERS


class Views:
    """Makes a batch in so many seconds, as many ahead as a loader of two workers."""

    def __init__(self, clock: Clock, seconds: float) -> None:
        self._clock = clock
        self._seconds = seconds
        self._ready = 0
        self._begun = clock.now
        """When it began the batch that it makes; while it is full, when that was."""
        self._worked: float | None = None
        """While it is paused, for how long it had been at that batch."""
        self.taken = 0

    def _catch_up(self) -> None:
        """Makes what it would have made since it was last looked at."""
        while self._worked is None and not self.full and self._begun + self._seconds <= self._clock.now:
            self._ready += 1
            self._begun += self._seconds

    def __iter__(self) -> Iterator[int]:
        while True:
            self.taken += 1
            self._catch_up()
            if not self._ready:
                assert self._worked is None, "a batch is waited for that nobody makes"
                self._clock.now = self._begun + self._seconds
                self._catch_up()
            if self.full:
                self._begun = self._clock.now
            self._ready -= 1
            yield 0

    def pause(self) -> bool:
        """As `pause_workers`."""
        self._catch_up()
        self._worked = 0.0 if self.full else self._clock.now - self._begun
        return True

    def resume(self) -> None:
        assert self._worked is not None
        self._begun, self._worked = self._clock.now - self._worked, None

    @property
    def full(self) -> bool:
        return self._ready == AHEAD

    def fill(self) -> None:
        """As `wait_until_idle`."""
        self._clock.sleep(AHEAD * self._seconds)
        self._catch_up()


class Step:
    steps_before_replay = 0

    def __init__(self, clock: Clock, seconds: float) -> None:
        self._clock = clock
        self._seconds = seconds
        self.rate = 1.0

    def hold_learning_rate(self, rate: float) -> None:
        self.rate = rate

    def __call__(self, _: object) -> None:
        self._clock.sleep(self._seconds)


class Trained(SimpleNamespace):
    """A trainer of such views and such a step."""

    clock: Clock
    views: Views
    train_step: Step

    def timed(self, timer: StepTimer, mode: Any, steps: int = 4) -> tuple[float, float]:
        """Seconds a step, and the share of them that it waited for its batches."""
        found = timer.windows(mode, steps_per_window=steps, windows=2)
        assert found.steps >= steps
        seconds = sum(found.seconds)
        return seconds / found.steps / 2, sum(found.loader_wait_seconds) / seconds


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> Any:
    def make(*, made: float, used: float, accumulate: int = 1, pauses: bool = True) -> Trained:
        clock = Clock()
        views = Views(clock, made)
        monkeypatch.setattr("bench.timing.time", clock)
        monkeypatch.setattr("bench.timing.pause_workers", views.pause if pauses else lambda: False)
        monkeypatch.setattr("bench.timing.resume_workers", views.resume)
        monkeypatch.setattr("bench.timing.wait_until_idle", views.fill)
        return Trained(
            clock=clock,
            views=views,
            train_step=Step(clock, used),
            device=torch.device("cpu"),
            recipe=SimpleNamespace(accumulate=accumulate),
        )

    return make


def test_a_slow_loader_is_seen_however_full_its_queue_was(trained: Any) -> None:
    """The queue holds four batches when the measurement begins, which would last for ten steps."""
    run = trained(made=32, used=20, pauses=False)
    timer = StepTimer(run, WORKERS)
    run.views.fill()
    assert run.views.full
    assert run.timed(timer, "end-to-end") == (32, 12 / 32)
    timer.rest()
    run.views.fill()
    assert run.timed(timer, "loader-only") == (32, 1)
    timer.rest()
    assert run.timed(timer, "compute-only") == (20, 0)


def test_a_fast_loader_makes_no_step_wait(trained: Any) -> None:
    run = trained(made=5, used=25)
    timer = StepTimer(run, WORKERS)
    assert run.timed(timer, "end-to-end") == (25, 0)
    timer.rest()
    assert run.timed(timer, "compute-only") == (25, 0)
    assert run.train_step.rate == 0.0


def test_a_slow_loader_that_waits_in_between_is_emptied_once(trained: Any) -> None:
    run = trained(made=60, used=5)
    timer = StepTimer(run, WORKERS)
    run.views.fill()
    timer.rest()
    run.timed(timer, "end-to-end")
    for mode, spent in (("end-to-end", 2 + 8), ("compute-only", 0), ("loader-only", 8), ("end-to-end", 10)):
        timer.rest()
        run.clock.sleep(300)  # in which it would make all that its queue holds
        taken = run.views.taken
        found = run.timed(timer, mode)
        assert run.views.taken - taken == spent
        if mode == "end-to-end":
            assert found == (60, 55 / 60)
    timer.rest()
    timer.close()


def test_a_fast_loader_goes_on_while_others_are_measured(trained: Any) -> None:
    run = trained(made=5, used=25)
    timer = StepTimer(run, WORKERS)
    timer.rest()
    run.timed(timer, "end-to-end")
    timer.rest()
    run.views.fill()
    assert run.views.full
    taken = run.views.taken
    assert run.timed(timer, "end-to-end") == (25, 0)
    assert run.views.taken - taken == 3 + 8, "what comes before the windows brings the queue to its level"


@pytest.mark.parametrize(("accumulate", "steps"), [(1, 6), (2, 5), (4, 5)])
def test_a_loader_is_timed_over_whole_turns_of_its_workers(accumulate: int, steps: int, trained: Any) -> None:
    run = trained(made=1, used=1, accumulate=accumulate)
    found = StepTimer(run, WORKERS).windows("loader-only", steps_per_window=5, windows=1)
    assert found.steps == steps
    assert found.seconds == (steps * accumulate,)
