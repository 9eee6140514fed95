"""Losses timed with flushed caches: what is flushed, when, and that it is in no time."""

from itertools import count
from pathlib import Path

import pytest
import torch
from torch import Tensor

from bench import cache_flush
from bench.cache_flush import LEAST_BYTES, CacheFlush, last_cache_bytes
from bench.loss_speed import Pairs, Samples, _cuda_window, draw_views, time_losses
from tests.clock import Clock

CPU = torch.device("cpu")


class Flush(CacheFlush):
    """Notes its calls, each of which takes 20 seconds."""

    def __init__(self, done: list[str], clock: Clock) -> None:
        self.done = done
        self.clock = clock

    def __call__(self) -> None:
        self.done.append("flush")
        self.clock.sleep(20.0)


class Timed:
    """A loss that takes a second a call, and what was done in turn."""

    def __init__(self, clock: Clock) -> None:
        self.done: list[str] = []
        self.clock = clock
        self.views = draw_views(3, 4, torch.float32, CPU)

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        self.done.append("call")
        self.clock.sleep(1.0)
        return (x * y).sum()

    def samples(self, pairs: Pairs, *, cold: bool = True) -> Samples:
        flush = Flush(self.done, self.clock) if cold else None
        (found,) = time_losses({"a": self}, *self.views, pairs, flush=flush).values()
        return found


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch) -> Timed:
    clock = Clock()
    monkeypatch.setattr("bench.loss_speed.time", clock)
    return Timed(clock)


def test_every_timed_call_comes_after_a_flush_that_is_in_no_time(timed: Timed) -> None:
    samples = timed.samples(Pairs(most=2, min_seconds=1.0))
    assert timed.done[:2] == ["flush"] * 2  # to see what it takes
    assert timed.done[2:] == ["call", *["flush", "call"] * 2]
    assert samples.of("forward+backward") == (1.0, 1.0)


def test_flushes_count_among_what_pairs_are_afforded(timed: Timed) -> None:
    samples = timed.samples(Pairs(most=1000, seconds=15 * 21.0, min_seconds=1.0))
    assert len(samples.forward) == 15


def test_a_slow_flush_makes_a_window_of_few_calls(timed: Timed) -> None:
    pairs = Pairs(most=1, min_seconds=5.0)
    assert timed.samples(pairs, cold=False).calls == 5
    assert timed.samples(pairs).calls == 2, "or flushes would take more than ten windows"


def test_more_is_written_than_the_caches_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number, size in enumerate(("48K", "2048K", "320M")):
        (tmp_path / f"index{number}").mkdir()
        (tmp_path / f"index{number}" / "size").write_text(f"{size}\n", encoding="utf-8")
    monkeypatch.setattr(cache_flush, "CPU_CACHES", tmp_path)
    assert last_cache_bytes(CPU) == 320 * 2**20
    assert CacheFlush(CPU).bytes == 640 * 2**20
    monkeypatch.setattr(cache_flush, "CPU_CACHES", tmp_path / "none")
    assert last_cache_bytes(CPU) == 0
    flush = CacheFlush(CPU)
    assert flush.bytes == LEAST_BYTES
    flush()
    flush()
    assert int(flush._memory[0]) == int(flush._memory[-1]) == 2


class Event:
    """Of a stream on which time passes by what is done: a millisecond a thing."""

    clock = count()

    def __init__(self, enable_timing: bool) -> None:
        assert enable_timing

    def record(self) -> None:
        self.at = next(self.clock)

    def elapsed_time(self, end: "Event") -> float:
        return float(end.at - self.at)


@pytest.mark.parametrize("cold", [False, True], ids=["warm", "cold"])
def test_on_a_gpu_events_leave_the_flush_out(cold: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda _: None)
    Event.clock = count()

    class Passes(Flush):
        def __call__(self) -> None:
            for _ in range(100):
                next(Event.clock)

    def loss(x: Tensor, y: Tensor) -> Tensor:
        next(Event.clock)
        return (x * y).sum()

    flush = Passes([], Clock()) if cold else None
    forward, backward = _cuda_window(loss, *draw_views(3, 4, torch.float32, CPU), 5, flush)
    assert (forward, backward) == (5 * 2e-3, 5 * 1e-3)


@pytest.mark.gpu
def test_a_flush_on_a_gpu_is_larger_than_its_cache() -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    device = torch.device("cuda")
    assert last_cache_bytes(device) > 2**20
    assert CacheFlush(device).bytes >= 2 * last_cache_bytes(device)
