"""Losses timed with flushed caches: what is flushed, when, and that it is in no time."""

import time
from itertools import count
from pathlib import Path

import pytest
import torch
from torch import Tensor

from bench import cache_flush
from bench.cache_flush import LEAST_BYTES, CacheFlush, last_cache_bytes
from bench.loss_speed import Pairs, _cuda_window, draw_views, time_losses

CPU = torch.device("cpu")


class Flush(CacheFlush):
    """Notes its calls, each of which takes 20 ms."""

    def __init__(self, calls: list[str]) -> None:
        self.calls = calls

    def __call__(self) -> None:
        self.calls.append("flush")
        time.sleep(0.02)


def test_every_timed_call_comes_after_a_flush_that_is_in_no_time() -> None:
    calls: list[str] = []

    def loss(x: Tensor, y: Tensor) -> Tensor:
        calls.append("call")
        return (x * y).sum()

    views = draw_views(3, 4, torch.float32, CPU)
    pairs = Pairs(most=2, min_seconds=1e-9)
    (samples,) = time_losses({"a": loss}, *views, pairs, flush=Flush(calls)).values()
    assert calls[:2] == ["flush"] * 2  # to see what it takes
    assert calls[2:] == ["call", *["flush", "call"] * 2]
    assert max(samples.of("forward+backward")) < 0.02


def test_flushes_count_among_what_pairs_are_afforded() -> None:
    def loss(x: Tensor, y: Tensor) -> Tensor:
        return (x * y).sum()

    views = draw_views(3, 4, torch.float32, CPU)
    pairs = Pairs(most=1000, seconds=0.3, min_seconds=1e-9)
    (samples,) = time_losses({"a": loss}, *views, pairs, flush=Flush([])).values()
    assert 10 <= len(samples.forward) <= 15


def test_a_slow_flush_makes_a_window_of_few_calls() -> None:
    def loss(x: Tensor, y: Tensor) -> Tensor:
        return (x * y).sum()

    views = draw_views(3, 4, torch.float32, CPU)
    (warm,) = time_losses({"a": loss}, *views, Pairs(most=1, min_seconds=0.005)).values()
    (cold,) = time_losses({"a": loss}, *views, Pairs(most=1, min_seconds=0.005), flush=Flush([])).values()
    assert cold.calls <= 2 < warm.calls


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

    flush = Passes([]) if cold else None
    forward, backward = _cuda_window(loss, *draw_views(3, 4, torch.float32, CPU), 5, flush)
    assert (forward, backward) == (5 * 2e-3, 5 * 1e-3)


@pytest.mark.gpu
def test_a_flush_on_a_gpu_is_larger_than_its_cache() -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    device = torch.device("cuda")
    assert last_cache_bytes(device) > 2**20
    assert CacheFlush(device).bytes >= 2 * last_cache_bytes(device)
