"""The floor of the exact loss at a shape: its least work, at what the device reaches in the same run.

The least work of both views, of an algorithm made of dense products, whichever form is less:

    form         forward            backward     by
    gram         2·N(N+1)·D         2·2·N²·D     zc·zcᵀ is symmetric, half of it is enough; G·zc is not
    covariance   2·D(D+1)·N         2·2·N·D²     zcᵀ·zc is symmetric, half of it is enough; zc·C is not

in floating-point operations, a multiplication and an addition two of them. Bytes: a forward reads both views
once, forward and backward together also write both gradients once: 2·N·D and 4·N·D entries. The backward
alone reads as many entries as it writes and has no product, because a loss may do its products in the
forward; and a loss that does has a forward which is above the floor of one that does not. The two
directions together are what to judge by.

A floor at the memory's bandwidth is for views that do not fit into a cache: smaller ones can be faster.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

import torch

from bench.loss_record import Ceiling, LossFloor, LossPhase

VIEWS = 2
REPEATS = 7
PRODUCT_SECONDS = 0.05
"""That one product takes at least, by which a ceiling is measured."""
COPIED_BYTES = {"cpu": 2**28, "cuda": 2**30}
"""Of one copy: many times what a cache holds."""


@dataclass(frozen=True, kw_only=True)
class LeastWork:
    flops: int
    moved_bytes: int


def least_work(n: int, d: int, itemsize: int, phase: LossPhase) -> LeastWork:
    """Of the exact loss of two views (n, d) whose entries take `itemsize` bytes."""
    views = VIEWS * n * d * itemsize
    if phase == "backward":
        return LeastWork(flops=0, moved_bytes=2 * views)
    gram, covariance = VIEWS * n * (n + 1) * d, VIEWS * d * (d + 1) * n
    if phase == "forward":
        return LeastWork(flops=min(gram, covariance), moved_bytes=views)
    gram, covariance = gram + VIEWS * 2 * n * n * d, covariance + VIEWS * 2 * n * d * d
    return LeastWork(flops=min(gram, covariance), moved_bytes=2 * views)


def loss_floor(n: int, d: int, phase: LossPhase, dtype: torch.dtype, ceiling: Ceiling) -> LossFloor:
    """The floor of views (n, d) of `dtype` at the ceilings of this run."""
    work = least_work(n, d, dtype.itemsize, phase)
    compute = work.flops / ceiling.flops_per_second
    memory = work.moved_bytes / ceiling.bytes_per_second
    return LossFloor(
        dtype=ceiling.dtype,
        device=ceiling.device,
        n=n,
        d=d,
        phase=phase,
        flops=work.flops,
        moved_bytes=work.moved_bytes,
        seconds=max(compute, memory),
        bound="compute" if compute >= memory else "memory",
    )


def measure_ceiling(
    dtype: torch.dtype, device: torch.device, *, seconds: float | None = None, copied_bytes: int | None = None
) -> Ceiling:
    """The best of several products of square matrices, doubled in size until one takes `seconds`, and of
    several copies of `copied_bytes`; by default PRODUCT_SECONDS and COPIED_BYTES.
    """
    seconds = PRODUCT_SECONDS if seconds is None else seconds
    size = 256 if device.type == "cpu" else 4096
    while True:
        left, right = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
        took = _best(partial(torch.mm, left, right, out=torch.empty_like(left)), device)
        if took >= seconds or size >= 16384:
            break
        size *= 2
    flops = 2 * size**3 / took
    count = copied_bytes or COPIED_BYTES[device.type]
    source = torch.ones(count, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    took = _best(partial(target.copy_, source), device)
    return Ceiling(
        dtype=str(dtype).removeprefix("torch."),
        device=device.type,
        product_size=size,
        flops_per_second=flops,
        copied_bytes=count,
        bytes_per_second=2 * count / took,
    )


def measure_ceilings(names: Iterable[str], device: torch.device) -> list[Ceiling]:
    """One for each dtype's name, `tf32` among them: float32 factors rounded for the tensor cores. What the
    products held on a GPU is given back."""
    found = []
    for name in names:
        if name == "tf32":
            before = torch.get_float32_matmul_precision()
            torch.set_float32_matmul_precision("high")
            try:
                ceiling = measure_ceiling(torch.float32, device).model_copy(update={"dtype": name})
            finally:
                torch.set_float32_matmul_precision(before)
        else:
            ceiling = measure_ceiling(getattr(torch, name), device)
        found.append(ceiling)
    if device.type == "cuda":
        torch.cuda.empty_cache()
    return found


def _best(call: Callable[[], object], device: torch.device) -> float:
    """Seconds of the fastest call, after one that warms up."""
    call()
    times = []
    for _ in range(REPEATS):
        _wait(device)
        began = time.perf_counter()
        call()
        _wait(device)
        times.append(time.perf_counter() - began)
    return min(times)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
