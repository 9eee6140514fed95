"""What windows of steps say of a loader and a step whose speeds are known: both only sleep."""

import queue
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from bench.timing import StepTimer

WORKERS = 2


class Views:
    """Makes a batch in so many seconds, as many ahead as a loader of two workers."""

    def __init__(self, seconds: float) -> None:
        self._made: queue.Queue[int] = queue.Queue(2 * WORKERS)
        self._ended = False
        self._going = threading.Event()
        self._going.set()
        self.taken = 0
        self._thread = threading.Thread(target=self._make, args=(seconds,), daemon=True)
        self._thread.start()

    def _make(self, seconds: float) -> None:
        while not self._ended:
            time.sleep(seconds)
            self._going.wait()
            while not self._ended:
                with suppress(queue.Full):
                    self._made.put(0, timeout=0.05)
                    break

    def __iter__(self) -> Iterator[int]:
        while True:
            self.taken += 1
            yield self._made.get()

    def pause(self) -> bool:
        """As `pause_workers`."""
        self._going.clear()
        return True

    @property
    def full(self) -> bool:
        return self._made.full()

    def resume(self) -> None:
        self._going.set()

    def close(self) -> None:
        self._ended = True
        self.resume()
        self._thread.join()


class Step:
    steps_before_replay = 0

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.rate = 1.0

    def hold_learning_rate(self, rate: float) -> None:
        self.rate = rate

    def __call__(self, _: object) -> None:
        time.sleep(self._seconds)


def trainer(*, made: float, used: float, accumulate: int = 1) -> Any:
    return SimpleNamespace(
        views=Views(made),
        train_step=Step(used),
        device=torch.device("cpu"),
        recipe=SimpleNamespace(accumulate=accumulate),
    )


def timed(timer: StepTimer, mode: Any, steps: int = 4) -> tuple[float, float]:
    """Seconds a step, and the share of them that it waited for its batches."""
    found = timer.windows(mode, steps_per_window=steps, windows=2)
    assert found.steps >= steps
    seconds = sum(found.seconds)
    return seconds / found.steps / 2, sum(found.loader_wait_seconds) / seconds


def test_a_slow_loader_is_seen_however_full_its_queue_was() -> None:
    """A step takes 20 ms and a batch 32 ms; the queue holds four when the measurement begins, which would
    last for ten steps."""
    run = trainer(made=0.032, used=0.020)
    timer = StepTimer(run, WORKERS)
    time.sleep(0.2)
    seconds, waited = timed(timer, "end-to-end")
    timer.rest()
    time.sleep(0.2)
    alone, _ = timed(timer, "loader-only")
    timer.rest()
    compute, nothing = timed(timer, "compute-only")
    run.views.close()
    assert seconds > 0.9 * alone
    assert seconds > 1.25 * compute
    assert 0.15 < waited < 0.7
    assert nothing == 0


def test_a_fast_loader_makes_no_step_wait() -> None:
    run = trainer(made=0.005, used=0.025)
    timer = StepTimer(run, WORKERS)
    seconds, waited = timed(timer, "end-to-end")
    timer.rest()
    compute, _ = timed(timer, "compute-only")
    run.views.close()
    assert run.train_step.rate == 0.0
    assert seconds < 1.3 * compute
    assert waited < 0.1


def test_a_slow_loader_that_waits_in_between_is_emptied_once(monkeypatch: pytest.MonkeyPatch) -> None:
    run = trainer(made=0.060, used=0.005)
    monkeypatch.setattr("bench.timing.pause_workers", run.views.pause)
    monkeypatch.setattr("bench.timing.resume_workers", run.views.resume)
    timer = StepTimer(run, WORKERS)
    time.sleep(0.2)
    timer.rest()
    timed(timer, "end-to-end")
    for mode, spent in (("end-to-end", 2 + 8), ("compute-only", 0), ("loader-only", 8), ("end-to-end", 10)):
        timer.rest()
        time.sleep(0.3)  # in which it would make all that its queue holds
        taken = run.views.taken
        seconds, waited = timed(timer, mode)
        assert run.views.taken - taken == spent
        if mode == "end-to-end":
            assert seconds > 0.055
            assert waited > 0.5
    timer.rest()
    timer.close()
    run.views.close()


def test_a_fast_loader_goes_on_while_others_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    run = trainer(made=0.005, used=0.025)
    monkeypatch.setattr("bench.timing.pause_workers", run.views.pause)
    monkeypatch.setattr("bench.timing.resume_workers", run.views.resume)
    timer = StepTimer(run, WORKERS)
    timer.rest()
    timed(timer, "end-to-end")
    timer.rest()
    time.sleep(0.2)
    assert run.views.full
    _, waited = timed(timer, "end-to-end")
    run.views.close()
    assert waited < 0.1


@pytest.mark.parametrize(("accumulate", "steps"), [(1, 6), (2, 5), (4, 5)])
def test_a_loader_is_timed_over_whole_turns_of_its_workers(accumulate: int, steps: int) -> None:
    run = trainer(made=0.001, used=0.001, accumulate=accumulate)
    found = StepTimer(run, WORKERS).windows("loader-only", steps_per_window=5, windows=1)
    run.views.close()
    assert found.steps == steps
