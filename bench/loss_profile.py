"""Where the time of a loss goes: its kernels on a GPU and the gaps between them, its operators on a CPU."""

import tempfile
from pathlib import Path

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from bench.loss_memory import quiet_stderr
from bench.loss_record import KernelShare, LossProfile
from bench.rival_losses import LossFunction
from vicreg_fast.training.trace_summary import kernel_times

CALLS = 5
MOST_KERNELS = 20


def profile_loss(name: str, loss: LossFunction, x: Tensor, y: Tensor, *, calls: int = CALLS) -> LossProfile:
    """The profile of `calls` forwards and backwards of a loss that was called before, on views (N, D), leaves
    that require a gradient. Raises what it raises; RuntimeError where the profiler saw no kernel on a GPU."""
    on_gpu = x.device.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    with quiet_stderr(), profile(activities=activities) as profiled:
        for _ in range(calls):
            torch.autograd.grad(loss(x, y), (x, y))
        if on_gpu:
            torch.cuda.synchronize(x.device)
    shares, busy, seconds = _of_kernels(profiled) if on_gpu else _of_operators(profiled)
    return LossProfile(
        provider=name,
        dtype=str(x.dtype).removeprefix("torch."),
        device=x.device.type,
        n=x.shape[0],
        d=x.shape[1],
        calls=calls,
        seconds=seconds,
        busy_seconds=busy,
        kernels=shares[:MOST_KERNELS],
    )


def _of_kernels(profiled: profile) -> tuple[tuple[KernelShare, ...], float, float]:
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder) / "trace.json"
        profiled.export_chrome_trace(str(trace))
        found = kernel_times(trace)
    if found is None:
        raise RuntimeError("the profiler saw no kernel: another may be using the GPU's counters")
    shares = tuple(KernelShare(name=k.name, calls=k.calls, seconds=k.seconds) for k in found.kernels)
    return shares, found.busy, found.seconds


def _of_operators(profiled: profile) -> tuple[tuple[KernelShare, ...], float, float]:
    rows = sorted(profiled.key_averages(), key=lambda row: -row.self_cpu_time_total)
    shares = tuple(
        KernelShare(name=row.key, calls=row.count, seconds=row.self_cpu_time_total / 1e6) for row in rows
    )
    total = sum(share.seconds for share in shares)
    return shares, total, total
