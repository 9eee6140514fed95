"""Interleaved timing of losses, forward and backward: ours in each form against the authors' formula.

Every pair times each provider once, within a moment, in an order that alternates, so that a drift of the
machine falls on all alike; what is reported is a ratio. A sample is a window of calls of `min_seconds` at
least, synchronised at its ends.
"""

import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from bench.compare import Interval, paired_ratio
from bench.record import LossTiming
from bench.rivals import official_loss
from vicreg_fast.errors import UsageError
from vicreg_fast.loss import plan_loss, vicreg_loss

OFFICIAL = "official"


@dataclass(frozen=True, kw_only=True)
class LossProvider:
    """A loss to be timed: (N, D) twice to a 0-d tensor that autograd differentiates."""

    name: str
    loss: Callable[[Tensor, Tensor], Tensor]
    form: str
    """`gram`, `covariance`, or `auto`: then the plan of each shape says which."""
    backend: str = "torch"


@dataclass(frozen=True, kw_only=True)
class LossSpeedup:
    """How many times as fast as the baseline one provider is at one shape."""

    provider: str
    form: str
    n: int
    d: int
    milliseconds: float
    """Median of its samples."""
    speedup: Interval


PROVIDERS: dict[str, LossProvider] = {
    provider.name: provider
    for provider in (
        LossProvider(name=OFFICIAL, loss=official_loss, form="covariance"),
        LossProvider(name="gram", loss=partial(vicreg_loss, form="gram", backend="torch"), form="gram"),
        LossProvider(
            name="covariance",
            loss=partial(vicreg_loss, form="covariance", backend="torch"),
            form="covariance",
        ),
        LossProvider(name="auto", loss=vicreg_loss, form="auto", backend="auto"),
    )
}
STANDARD = (PROVIDERS[OFFICIAL], PROVIDERS["gram"], PROVIDERS["covariance"])


def measure_loss(
    shapes: Sequence[tuple[int, int]],
    *,
    providers: Sequence[LossProvider] = STANDARD,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    pairs: int = 30,
    min_seconds: float = 0.01,
    seed: int = 0,
    round_number: int = 0,
) -> list[LossTiming]:
    """Forward+backward timings of every provider at every (N, D), one record each, with all its samples.

    Inputs are standard normal of `dtype` on `device`, and both views get a gradient. Raises UsageError where
    there is nothing to measure: no shape, no provider, two of one name, fewer than one pair, a window that is
    not positive.
    """
    names = [provider.name for provider in providers]
    if not shapes or not names:
        raise UsageError("loss timing: at least one shape and one provider are needed")
    if len(set(names)) != len(names):
        raise UsageError(f"loss timing: provider names must differ, they are {', '.join(names)}")
    if pairs < 1 or not min_seconds > 0:
        raise UsageError(f"loss timing: pairs = {pairs} and min_seconds = {min_seconds} must be positive")
    place = torch.device(device)
    return [
        timing
        for n, d in shapes
        for timing in _measure_shape(n, d, providers, dtype, place, pairs, min_seconds, seed, round_number)
    ]


def _measure_shape(
    n: int,
    d: int,
    providers: Sequence[LossProvider],
    dtype: torch.dtype,
    device: torch.device,
    pairs: int,
    min_seconds: float,
    seed: int,
    round_number: int,
) -> list[LossTiming]:
    generator = torch.Generator().manual_seed(seed)
    x, y = (torch.randn(n, d, generator=generator).to(device, dtype).requires_grad_() for _ in range(2))
    calls = {p.name: _calls_for(min_seconds, p, x, y) for p in providers}
    samples: dict[str, list[float]] = {p.name: [] for p in providers}
    for pair in range(pairs):
        for provider in providers if pair % 2 == 0 else reversed(providers):
            repeats = calls[provider.name]
            samples[provider.name].append(_seconds(provider, x, y, repeats) / repeats)
    timings = []
    for p in providers:
        form, backend = p.form, p.backend
        if form == "auto":
            plan = plan_loss(n, n, d, dtype, device.type, backend=backend)
            form, backend = plan.form, plan.backend
        timings.append(
            LossTiming(
                provider=p.name,
                form=form,
                backend=backend,
                dtype=str(dtype).removeprefix("torch."),
                device=device.type,
                n=n,
                d=d,
                seconds=tuple(samples[p.name]),
                calls_per_sample=calls[p.name],
                pid=os.getpid(),
                round=round_number,
            )
        )
    return timings


def loss_speedups(timings: Sequence[LossTiming], baseline: str = OFFICIAL) -> list[LossSpeedup]:
    """Each provider's speedup over `baseline` at each shape, over pairs. Raises UsageError where a shape
    lacks the baseline.
    """
    speedups = []
    for timing in timings:
        if timing.provider == baseline:
            continue
        place = (timing.n, timing.d, timing.dtype, timing.device, timing.pid, timing.round)
        slower = [
            t
            for t in timings
            if t.provider == baseline and (t.n, t.d, t.dtype, t.device, t.pid, t.round) == place
        ]
        if len(slower) != 1:
            raise UsageError(
                f"loss timing: {timing.n} × {timing.d} has {len(slower)} timings of {baseline!r}, not one"
            )
        speedups.append(
            LossSpeedup(
                provider=timing.provider,
                form=timing.form,
                n=timing.n,
                d=timing.d,
                milliseconds=1e3 * float(torch.tensor(timing.seconds).median()),
                speedup=paired_ratio(timing.seconds, slower[0].seconds),
            )
        )
    return speedups


def speedup_table(timings: Sequence[LossTiming], baseline: str = OFFICIAL) -> str:
    """A Markdown table of `loss_speedups`: shape, provider, form, median milliseconds, speedup with its 95
    % interval.
    """
    lines = [
        f"| N × D | loss | form | ms | times as fast as {baseline} (95 %) |",
        "|---|---|---|---:|---:|",
    ]
    for s in loss_speedups(timings, baseline):
        interval = f"{s.speedup.estimate:.2f} ({s.speedup.low:.2f}–{s.speedup.high:.2f})"
        lines.append(f"| {s.n} × {s.d} | {s.provider} | {s.form} | {s.milliseconds:.3f} | {interval} |")
    return "\n".join(lines)


def _calls_for(min_seconds: float, provider: LossProvider, x: Tensor, y: Tensor) -> int:
    """Calls that fill a window of `min_seconds`, judged by the second of two: the first warms up."""
    _seconds(provider, x, y, 1)
    return max(1, math.ceil(min_seconds / _seconds(provider, x, y, 1)))


def _seconds(provider: LossProvider, x: Tensor, y: Tensor, calls: int) -> float:
    _wait(x.device)
    start = time.perf_counter()
    for _ in range(calls):
        torch.autograd.grad(provider.loss(x, y), (x, y))
    _wait(x.device)
    return time.perf_counter() - start


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
