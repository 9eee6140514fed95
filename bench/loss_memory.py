"""The most memory that one forward and backward of a loss holds at once, beside its inputs, exactly.

The two gradients it returns are part of it; the two views are not. On a CPU the running sum of every
allocation of torch's allocator is followed through the profiler, which sees what compiled code allocates as
well; what a library takes from the system by itself (a BLAS's packing buffers) is not in it. On CUDA it is
the caching allocator's peak, in whole blocks of 512 bytes.
"""

import json
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from bench.rival_losses import LossFunction


@dataclass(frozen=True, kw_only=True)
class FollowedCall:
    """One forward and backward."""

    peak_bytes: int
    allocated_bytes: int
    """The sum of all its allocations, however short they were held."""
    seconds: float


def peak_extra_bytes(loss: LossFunction, x: Tensor, y: Tensor) -> int:
    """Of one forward and backward of a loss that was called before: what it makes once (compiled code, tuned
    tiles) is not in it.
    """
    return followed_call(loss, x, y).peak_bytes


def followed_call(loss: LossFunction, x: Tensor, y: Tensor) -> FollowedCall:
    """One forward and backward of a loss that was called before. Its seconds are without the profiler's
    start, which takes a second or two the first time.
    """
    if x.device.type == "cuda":
        return _cuda_call(loss, x, y)
    with (
        quiet_stderr(),
        profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled,
    ):
        began = time.perf_counter()
        gradients = torch.autograd.grad(loss(x, y), (x, y))
        seconds = time.perf_counter() - began
    del gradients
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder) / "trace.json"
        profiled.export_chrome_trace(str(trace))
        events = json.loads(trace.read_text(encoding="utf-8"))["traceEvents"]
    changes = sorted(
        (event["ts"], event["args"]["Ev Idx"], event["args"]["Bytes"])
        for event in events
        if event.get("name") == "[memory]" and event["args"]["Device Type"] == 0
    )
    sizes = [change for _, _, change in changes]
    return FollowedCall(
        peak_bytes=max(accumulate(sizes), default=0),
        allocated_bytes=sum(size for size in sizes if size > 0),
        seconds=seconds,
    )


def _cuda_call(loss: LossFunction, x: Tensor, y: Tensor) -> FollowedCall:
    torch.cuda.synchronize(x.device)
    torch.cuda.reset_peak_memory_stats(x.device)
    held, allocated = _cuda_bytes(x)
    began = time.perf_counter()
    torch.autograd.grad(loss(x, y), (x, y))
    torch.cuda.synchronize(x.device)
    seconds = time.perf_counter() - began
    return FollowedCall(
        peak_bytes=torch.cuda.max_memory_allocated(x.device) - held,
        allocated_bytes=_cuda_bytes(x)[1] - allocated,
        seconds=seconds,
    )


def _cuda_bytes(x: Tensor) -> tuple[int, int]:
    """Bytes held now on the device of x, and all that were ever allocated there."""
    stats = torch.cuda.memory_stats(x.device)
    return stats["allocated_bytes.all.current"], stats["allocated_bytes.all.allocated"]


@contextmanager
def quiet_stderr() -> Iterator[None]:
    """The profiler's library writes lines of its own to the process's stderr, on a machine without a GPU an
    error that is none.
    """
    kept = os.dup(2)
    try:
        with Path(os.devnull).open("w") as nothing:
            os.dup2(nothing.fileno(), 2)
            yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
