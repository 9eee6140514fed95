"""Times of a case beside those of its naive loss, in windows that alternate."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.suite_loss.cases import Case, Loss

WINDOW_SECONDS = 0.01
MARGIN = 1.2
"""By which a window is judged longer: it may not fall below WINDOW_SECONDS where a machine is faster by and
by."""

Clock = Callable[[], float]


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Sample i of `seconds` is the neighbour in time of sample i of `naive_seconds`; seconds a call."""

    seconds: tuple[float, ...]
    naive_seconds: tuple[float, ...]


def clock_of(name: str) -> Clock:
    """`cpu`: seconds this process computed, on all its threads, without those it waited for a core; `wall`
    otherwise. `cuda-events` are read by the device's own clock."""
    return time.process_time if name == "cpu" else time.perf_counter


def judge_calls(case: Case, device: torch.device, clock: str) -> tuple[int, int]:
    """Calls of the case, and of its naive loss, that fill a window."""
    x, y = case.views(device)
    losses = case.build(device), case.naive
    calls = []
    for loss in losses:
        for number in (1, 3):  # the first is warm-up
            once = _window(loss, x, y, number, clock)
        if once < WINDOW_SECONDS / 4:
            once = _window(loss, x, y, math.ceil(WINDOW_SECONDS / 4 / once), clock)
        calls.append(math.ceil(MARGIN * WINDOW_SECONDS / once))
    return calls[0], calls[1]


def time_pairs(
    case: Case, device: torch.device, clock: str, *, calls: int, naive_calls: int, pairs: int
) -> Pairs:
    """`pairs` windows of each, after one of each that is not counted. Raises what the loss raises."""
    x, y = case.views(device)
    ours, naive = (case.build(device), calls), (case.naive, naive_calls)
    seconds: dict[int, list[float]] = {0: [], 1: []}
    for number in range(-1, pairs):
        order = (0, 1) if number % 2 == 0 else (1, 0)
        for which in order:
            loss, times = (ours, naive)[which]
            window = _window(loss, x, y, times, clock)
            if number >= 0:
                seconds[which].append(window)
    return Pairs(seconds=tuple(seconds[0]), naive_seconds=tuple(seconds[1]))


def _window(loss: Loss, x: Tensor, y: Tensor, calls: int, clock: str) -> float:
    """Seconds a call of `calls` forwards and backwards."""
    if clock == "cuda-events":
        return _cuda_window(loss, x, y, calls)
    read = clock_of(clock)
    if x.is_cuda:
        torch.cuda.synchronize(x.device)
    began = read()
    for _ in range(calls):
        torch.autograd.grad(loss(x, y), (x, y))
    if x.is_cuda:
        torch.cuda.synchronize(x.device)
    return (read() - began) / calls


def _cuda_window(loss: Loss, x: Tensor, y: Tensor, calls: int) -> float:
    began, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize(x.device)
    began.record()
    for _ in range(calls):
        torch.autograd.grad(loss(x, y), (x, y))
    ended.record()
    torch.cuda.synchronize(x.device)
    return float(began.elapsed_time(ended)) / 1e3 / calls
