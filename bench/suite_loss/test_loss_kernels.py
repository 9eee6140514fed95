"""Every case, and the naive loss beside it, as a benchmark of pytest-benchmark: forward and backward."""

import os
import time
from typing import Any

import pytest
import torch

from bench.suite_loss.cases import cases
from bench.suite_loss.counts import count_call
from bench.suite_loss.times import judge_calls, time_window

ROUNDS = 30
ON_CUDA = torch.cuda.is_available()
CASES = cases("cuda" if ON_CUDA else "cpu")
# As `bench loss --against` times: what the process computes, without what it waits for a core. A GPU is
# waited for.
pytestmark = pytest.mark.benchmark(timer=time.perf_counter if ON_CUDA else time.process_time)


@pytest.fixture(scope="module")
def calls(device: torch.device) -> dict[str, tuple[int, int]]:
    """Calls of each case, and of its naive loss, that fill a window; filled as they are judged."""
    return {}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("subject", ["case", "naive"])
def test_loss(
    benchmark: Any,
    name: str,
    subject: str,
    device: torch.device,
    where: dict[str, str],
    calls: dict[str, tuple[int, int]],
) -> None:
    """A round is a window of calls. Before it the other loss is timed, and every second time each loss runs
    once more before its own window, which is what the caches hold where two losses alternate: so the times of
    the other, `beside_seconds`, are neighbours in time of this benchmark's own.
    """
    case = CASES[name]
    if name not in calls:
        calls[name] = judge_calls(case, device, where["clock"])
    x, y = case.views(device)
    both = [(case.build(device), calls[name][0]), (case.naive, calls[name][1])]
    (loss, number), (other, other_number) = both if subject == "case" else both[::-1]
    beside: list[float] = []

    def window() -> None:
        time_window(loss, x, y, number, where["clock"])

    def setup() -> None:
        follows_itself = len(beside) % 2 == 1
        if follows_itself:
            time_window(other, x, y, other_number, where["clock"])
        beside.append(time_window(other, x, y, other_number, where["clock"]))
        if follows_itself:
            window()

    benchmark.pedantic(window, setup=setup, rounds=ROUNDS, warmup_rounds=2)
    benchmark.extra_info.update(
        case=name,
        subject=subject,
        calls=number,
        other_calls=other_number,
        beside_seconds=beside[-ROUNDS:],
        fingerprint=where,
        pid=os.getpid(),
    )
    if subject == "case":
        benchmark.extra_info["counts"] = count_call(loss, x, y)
