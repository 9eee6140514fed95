"""Times of a case beside those of its naive loss, in windows that alternate."""

import ctypes
import random
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.suite_loss.cases import Case, Loss

WINDOW_SECONDS = {"cpu": 0.005, "wall": 0.01, "cuda-events": 0.01}
"""Of the least window, by clock. The time a process computes is read to the nanosecond, and neighbours that
are nearer in time are more alike (docs/LOG.md)."""
JUDGED = 10
"""Calls of which the quickest says how many fill a window."""

BLOCK = 10
"""Pairs on the same memory."""
PADDINGS = 4
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3  # malloc.h

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
    """Calls of the case, and of its naive loss, that fill a window at the quickest."""
    x, y = case.views(device)
    losses = case.build(device), case.naive
    calls = []
    for loss in losses:
        time_window(loss, x, y, 2, clock)  # warm-up
        once = min(time_window(loss, x, y, 1, clock) for _ in range(JUDGED))
        calls.append(max(1, round(WINDOW_SECONDS[clock] / once)))
    return calls[0], calls[1]


def time_pairs(
    case: Case, device: torch.device, clock: str, *, calls: int, naive_calls: int, pairs: int
) -> Pairs:
    """`pairs` windows of each, in blocks at other places in memory, each after one window of either that is
    not counted. Raises what the loss raises.
    """
    ours, naive = (case.build(device), calls), (case.naive, naive_calls)
    drawn = case.views(device)
    seconds: dict[int, list[float]] = {0: [], 1: []}
    for begin in range(0, pairs, BLOCK):
        # Where memory lies costs per cents for as long as it lies there; what is held moves what comes next.
        padding = [torch.empty(64 * random.randrange(1, 2**14), dtype=torch.uint8) for _ in range(PADDINGS)]
        x, y = (view.detach().clone().requires_grad_() for view in drawn)
        for loss, times in (ours, naive):  # warm-up
            time_window(loss, x, y, times, clock)
        for number in range(begin, min(begin + BLOCK, pairs)):
            for which in (0, 1) if number % 2 == 0 else (1, 0):
                loss, times = (ours, naive)[which]
                seconds[which].append(time_window(loss, x, y, times, clock))
        del padding
    return Pairs(seconds=tuple(seconds[0]), naive_seconds=tuple(seconds[1]))


def steady_allocator() -> None:
    """Keeps glibc's malloc from handing memory back to the system, here and in forked processes.

    By itself it decides from what a process freed before whether a matrix is mapped anew in each call, at
    hundreds of page faults, or taken from the heap: two processes of the same code then differ by 10 %.
    Elsewhere than on glibc it does nothing. `vicreg_fast.training.allocator` does the same for a training;
    this times revisions that do not have it.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return
    for option, value in ((_M_MMAP_THRESHOLD, 2**25), (_M_TRIM_THRESHOLD, 2**31 - 1), (_M_TOP_PAD, 2**24)):
        mallopt(option, value)


def time_window(loss: Loss, x: Tensor, y: Tensor, calls: int, clock: str) -> float:
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
