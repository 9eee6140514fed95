"""Every case, and the naive loss beside it, as a benchmark of pytest-benchmark: forward and backward."""

import os
import time
from typing import Any

import pytest
import torch

from bench.suite_loss.cases import Case, Loss, cases
from bench.suite_loss.counts import count_call
from bench.suite_loss.times import judge_calls

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
    case = CASES[name]
    clock = where["clock"]
    if name not in calls:
        calls[name] = judge_calls(case, device, clock)
    loss, number = _subject(case, subject, device, calls[name])
    x, y = case.views(device)
    benchmark.extra_info.update(case=name, subject=subject, calls=number, fingerprint=where, pid=os.getpid())
    if subject == "case":
        benchmark.extra_info["counts"] = count_call(loss, x, y)

    def window() -> None:
        for _ in range(number):
            torch.autograd.grad(loss(x, y), (x, y))
        if ON_CUDA:
            torch.cuda.synchronize(device)

    benchmark.pedantic(window, rounds=ROUNDS, warmup_rounds=1)


def _subject(case: Case, subject: str, device: torch.device, calls: tuple[int, int]) -> tuple[Loss, int]:
    return (case.build(device), calls[0]) if subject == "case" else (case.naive, calls[1])
