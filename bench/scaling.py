"""Scale on paper: what one step of the loss is predicted to take on each of W ranks, ours and the authors'.

The time of a step is a sum, because its parts wait for one another:

    products      max( Σ operations / matmul rate, bytes / memory bandwidth )       the roofline
    elementwise   bytes / memory bandwidth
    launches      kernels · time of a small kernel
    exchange      Σ over collectives ( steps · latency + received bytes / link bandwidth )

The last is the α-β model of a ring: an all-gather of m bytes from each rank takes W−1 steps and receives
(W−1)·m; an all-reduce of S bytes takes 2(W−1) steps and receives 2(W−1)/W·S. A sum of a few scalars is
recursive doubling, ⌈log₂W⌉ steps and no bytes. (Thakur, Rabenseifner and Gropp, Optimization of collective
communication operations in MPICH, 2005; the time of a reduction's additions is left out, as NCCL's own tuning
does.)

Nothing overlaps: neither code computes while it gathers, and ours could hide the scalars' sum only. A kernel
costs the same in both codes; a CUDA graph, which ours can be captured in, would take most of that away, and
it is not counted. The collective of DDP, the same for both, is no part of the loss.
"""

from collections.abc import Iterable, Sequence

import torch

from bench.gpu_rates import GpuRates
from bench.loss_record import LossTiming
from bench.roofline import least_work
from bench.scaling_cost import LossCost, matmul_rate, official_cost, our_cost, our_plan
from bench.scaling_record import OFFICIAL, OURS, Checked, LossPrediction


def predict(
    cost: LossCost, rates: GpuRates, *, provider: str, n: int, D: int, W: int, dtype: torch.dtype
) -> LossPrediction:
    """The prediction of `cost`, which is of n local rows of D dimensions in `dtype` on each of W ranks."""
    compute = sum(flops / (1e12 * rates.matmul_tflops[rate]) for rate, flops in cost.flops.items())
    bandwidth = 1e9 * rates.memory_gbytes
    return LossPrediction(
        provider=provider,
        form=cost.form,
        backend=cost.backend,
        exchange=cost.exchange,
        dtype=str(dtype).removeprefix("torch."),
        world_size=W,
        n=n,
        d=D,
        flops=sum(cost.flops.values()),
        memory_bytes=cost.product_bytes + cost.elementwise_bytes,
        exchange_bytes=sum(collective.received_bytes for collective in cost.collectives),
        kernels=cost.kernels,
        peak_bytes=cost.peak_bytes,
        products_seconds=max(compute, cost.product_bytes / bandwidth),
        elementwise_seconds=cost.elementwise_bytes / bandwidth,
        launch_seconds=1e-6 * rates.kernel_us * cost.kernels,
        exchange_seconds=sum(
            1e-6 * rates.latency_us * collective.steps + collective.received_bytes / (1e9 * rates.link_gbytes)
            for collective in cost.collectives
        ),
        rates=rates.flat(),
        floor_seconds=_floor_seconds(cost, rates, n, D, W, dtype),
    )


def _floor_seconds(cost: LossCost, rates: GpuRates, n: int, D: int, W: int, dtype: torch.dtype) -> float:
    """Products in the embeddings' own dtype, whatever `cost` widens them to."""
    work = least_work(n * W, D, dtype.itemsize, "forward+backward")
    rate = rates.matmul_tflops[matmul_rate(dtype, tf32="tf32" in cost.flops)]
    return max(work.flops / (1e12 * rate), work.moved_bytes / (1e9 * rates.memory_gbytes)) / W


def scaling(
    world_sizes: Sequence[int],
    rates: GpuRates,
    *,
    n: int,
    D: int,
    dtype: torch.dtype,
    backend: str = "auto",
    tf32: bool = False,
) -> list[LossPrediction]:
    """Ours and the authors', one after the other, for each world size.

    `backend` is `auto`, `torch` or `triton`; Triton is taken wherever it has the kernel. `tf32` lets products
    of float32 run in TF32, as torch.set_float32_matmul_precision("high") does. Raises what `plan_loss`
    raises.
    """
    predictions = []
    for W in world_sizes:
        ours = our_cost(our_plan(n, D, W, dtype, backend=backend), n, D, W, dtype, tf32=tf32)
        theirs = official_cost(n, D, W, dtype, tf32=tf32)
        for provider, cost in ((OURS, ours), (OFFICIAL, theirs)):
            predictions.append(predict(cost, rates, provider=provider, n=n, D=D, W=W, dtype=dtype))
    return predictions


def check(timings: Iterable[LossTiming], rates: GpuRates, *, tf32: bool = False) -> list[Checked]:
    """Each timing of forward and backward on one GPU, of ours or of the authors' eager code, beside what the
    model says of it. Other devices, phases and providers are left out.
    """
    found = []
    for timing in timings:
        if timing.device != "cuda" or timing.phase != "forward+backward":
            continue
        cost = _cost_of(timing, tf32=tf32)
        if cost is None:
            continue
        provider = timing.provider if timing.provider == OFFICIAL else OURS
        dtype = getattr(torch, timing.dtype)
        predicted = predict(cost, rates, provider=provider, n=timing.n, D=timing.d, W=1, dtype=dtype)
        found.append(Checked(timing=timing, predicted=predicted))
    return found


def _cost_of(timing: LossTiming, *, tf32: bool) -> LossCost | None:
    n, D, dtype = timing.n, timing.d, getattr(torch, timing.dtype)
    if timing.provider == OFFICIAL:
        return official_cost(n, D, 1, dtype, tf32=tf32)
    if timing.provider.removesuffix("-triton") not in ("auto", "gram", "covariance"):
        return None
    plan = our_plan(n, D, 1, dtype, form=timing.form, backend=timing.backend)
    return our_cost(plan, n, D, 1, dtype, tf32=tf32)
