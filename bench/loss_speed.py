"""Interleaved timing of losses: forward, backward, and both, from the same calls.

Every pair times each provider once, within a moment, in an order that alternates, so that a drift of the
machine falls on all alike; what is reported is a ratio. A sample is a window of calls of `min_seconds` at
least. On a CPU each call's two directions are timed by the clock. On CUDA they lie between events that are
recorded in the stream, with one synchronisation at the window's end: launches run ahead where they can, and
where they cannot the wait for them is part of the time. Calls follow one another, so caches are warm, unless
they are flushed before each call, outside of its time; on CUDA that hides the launches, too.
"""

import math
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import torch
from torch import Tensor

from bench.cache_flush import CacheFlush
from bench.loss_providers import LossProvider
from bench.loss_record import PHASES, LossPhase, LossTiming
from bench.rival_losses import LossFunction
from vicreg_fast.errors import UsageError

FEWEST_PAIRS = 10
CLEARLY_LONGER = 50
"""Times a window that a call took, from which one call is a window and none comes before it."""
JUDGED = 3
"""Calls by which the length of a window is judged, where one call does not fill it."""
MOST_FLUSHING = 10
"""Times a window that its flushes may take: of a CPU, they take longer than many calls."""


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """How long to look: `most` pairs, or as many as fit in `seconds`, but `FEWEST_PAIRS` where `most` allows
    them.
    """

    most: int = 30
    seconds: float = math.inf
    min_seconds: float = 0.01
    """Of a window."""

    def __post_init__(self) -> None:
        """Raises UsageError for a number that is not positive."""
        if self.most < 1 or not self.seconds > 0 or not self.min_seconds > 0:
            raise UsageError(
                f"loss timing: pairs = {self.most}, seconds = {self.seconds} and min_seconds = "
                f"{self.min_seconds} must be positive"
            )

    def number(self, pair_seconds: float) -> int:
        """Pairs of `pair_seconds` each."""
        affordable = self.seconds / pair_seconds
        fits = self.most if affordable >= self.most else int(affordable)
        return min(self.most, max(fits, FEWEST_PAIRS))


@dataclass(kw_only=True)
class Samples:
    """Of one provider: seconds a call, pair by pair, of each direction."""

    calls: int
    forward: list[float] = field(default_factory=list)
    backward: list[float] = field(default_factory=list)

    def of(self, phase: LossPhase) -> tuple[float, ...]:
        if phase == "forward":
            return tuple(self.forward)
        if phase == "backward":
            return tuple(self.backward)
        return tuple(f + b for f, b in zip(self.forward, self.backward, strict=True))


def draw_views(
    n: int, d: int, dtype: torch.dtype, device: torch.device, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """Two views (n, d), leaves that require a gradient: a common normal part and noise of their own.

    Every second dimension is inside the variance hinge and the others are outside, none at its edge, where
    the rounding of a dtype would decide on which side it falls.
    """
    generator = torch.Generator().manual_seed(seed)
    common, *own = (torch.randn(n, d, generator=generator) for _ in range(3))
    scale_D = torch.where(torch.arange(d) % 2 == 0, 0.6, 1.6)
    x, y = ((scale_D * (common + 0.3 * noise)).to(device, dtype).requires_grad_() for noise in own)
    return x, y


def time_losses(
    losses: Mapping[str, LossFunction],
    x: Tensor,
    y: Tensor,
    pairs: Pairs,
    roughly: Mapping[str, float] = MappingProxyType({}),
    flush: CacheFlush | None = None,
) -> dict[str, Samples]:
    """Samples of each loss on the views x and y, both (N, D) leaves that require a gradient, interleaved;
    with `flush`, each call with cold caches.

    Each loss has to have been called before; `roughly` is how many seconds a call took then, where that is
    known: one that is far longer than a window need not be tried again. Raises what a loss raises.
    """
    flushing = _seconds_of(flush, x) if flush is not None else 0.0
    samples: dict[str, Samples] = {}
    warmed_up: set[str] = set()
    pair_seconds = 0.0
    for name, loss in losses.items():
        once = roughly.get(name, 0.0)
        if once < CLEARLY_LONGER * pairs.min_seconds:
            once = sum(_window(loss, x, y, 1))
        if once < pairs.min_seconds:
            once = sum(_window(loss, x, y, JUDGED)) / JUDGED
        calls = math.ceil(pairs.min_seconds / once)
        if flushing > 0:
            calls = min(calls, int(MOST_FLUSHING * pairs.min_seconds / flushing))
        samples[name] = Samples(calls=max(1, calls))
        # Cold caches hold nothing of the loss before this one, either.
        if flush is None and once < CLEARLY_LONGER * pairs.min_seconds:
            warmed_up.add(name)
        pair_seconds += (samples[name].calls + (name in warmed_up)) * (once + flushing)
    for pair in range(pairs.number(pair_seconds)):
        for name in samples if pair % 2 == 0 else reversed(samples):
            calls = samples[name].calls
            if name in warmed_up:  # or it would be charged for what the loss before it left in the caches
                _window(losses[name], x, y, 1)
            forward, backward = _window(losses[name], x, y, calls, flush)
            samples[name].forward.append(forward / calls)
            samples[name].backward.append(backward / calls)
    return samples


def timing_records(
    provider: LossProvider,
    samples: Samples,
    x: Tensor,
    phases: Sequence[LossPhase] = PHASES,
    round_number: int = 0,
) -> list[LossTiming]:
    """One record a phase, of samples on views like x."""
    n, d = x.shape
    form, backend = provider.ran_as(n, d, x.dtype, x.device)
    return [
        LossTiming(
            provider=provider.name,
            form=form,
            backend=backend,
            dtype=str(x.dtype).removeprefix("torch."),
            device=x.device.type,
            n=n,
            d=d,
            phase=phase,
            seconds=samples.of(phase),
            calls_per_sample=samples.calls,
            pid=os.getpid(),
            round=round_number,
        )
        for phase in phases
    ]


def _seconds_of(flush: CacheFlush, x: Tensor) -> float:
    began = time.perf_counter()
    for _ in range(2):  # the first write of memory takes longer
        if x.device.type == "cuda":
            torch.cuda.synchronize(x.device)
        began = time.perf_counter()
        flush()
    if x.device.type == "cuda":
        torch.cuda.synchronize(x.device)
    return time.perf_counter() - began


def _window(
    loss: LossFunction, x: Tensor, y: Tensor, calls: int, flush: CacheFlush | None = None
) -> tuple[float, float]:
    """Seconds of `calls` forwards and of their backwards."""
    return (_cuda_window if x.device.type == "cuda" else _cpu_window)(loss, x, y, calls, flush)


def _cpu_window(
    loss: LossFunction, x: Tensor, y: Tensor, calls: int, flush: CacheFlush | None
) -> tuple[float, float]:
    forward = backward = 0.0
    for _ in range(calls):
        if flush is not None:
            flush()
        began = time.perf_counter()
        value = loss(x, y)
        between = time.perf_counter()
        torch.autograd.grad(value, (x, y))
        ended = time.perf_counter()
        forward += between - began
        backward += ended - between
    return forward, backward


def _cuda_window(
    loss: LossFunction, x: Tensor, y: Tensor, calls: int, flush: CacheFlush | None
) -> tuple[float, float]:
    """A call begins where the one before ended; after a flush, where that ended."""
    ends, betweens, begins = (
        [torch.cuda.Event(enable_timing=True) for _ in range(count)]
        for count in (calls, calls, calls if flush is not None else 1)
    )
    torch.cuda.synchronize(x.device)
    if flush is None:
        begins[0].record()
        begins += ends[:-1]
    for begin, between, end in zip(begins, betweens, ends, strict=True):
        if flush is not None:
            flush()
            begin.record()
        value = loss(x, y)
        between.record()
        torch.autograd.grad(value, (x, y))
        end.record()
    torch.cuda.synchronize(x.device)
    forward = sum(begin.elapsed_time(between) for begin, between in zip(begins, betweens, strict=True))
    backward = sum(between.elapsed_time(end) for between, end in zip(betweens, ends, strict=True))
    return forward / 1e3, backward / 1e3
