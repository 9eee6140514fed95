"""What `bench loss` leaves behind: what was asked for, how exact each loss is, its times, its memory, and the
floor.

Every measurement names its place: (dtype, device, n, d) with n rows and d dimensions of each view.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict

from bench.record_base import RecordBase

LossPhase = Literal["forward", "backward", "forward+backward"]
PHASES: tuple[LossPhase, ...] = ("forward", "backward", "forward+backward")


class LossSubject(BaseModel):
    """One loss that was to be measured: where it comes from, and what keeps it out if anything does."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    ours: bool
    source: str
    preset: str
    """The oracle's preset it is held to."""
    convention: str = ""
    """By what its value differs from the official one's, and why; empty where it does not."""
    version: str | None = None
    """Of the package it comes from, where it is a package."""
    obstacle: str | None = None
    """Why it was not measured; None where it was."""


class LossComparison(RecordBase):
    """What `bench loss` was asked for."""

    kind: Literal["loss-comparison"] = "loss-comparison"
    command: str
    device: str
    dtypes: tuple[str, ...]
    shapes: tuple[tuple[int, int], ...]
    phases: tuple[LossPhase, ...]
    pairs: int
    """The most at one shape; each timing holds as many as there were."""
    threads: int
    """Of torch on the CPU."""
    caches: Literal["warm", "cold"] = "warm"
    """Cold where they were flushed before each call that was timed."""
    baseline: str
    subjects: tuple[LossSubject, ...]


class LossGate(RecordBase):
    """One loss against the float64 oracle of its preset. Errors are relative, the gradient's in norm over
    both views; None stands for one that is not finite.
    """

    kind: Literal["loss-gate"] = "loss-gate"
    provider: str
    preset: str
    dtype: str
    device: str
    n: int
    d: int
    value_error: float | None
    value_allowed: float
    gradient_error: float | None
    gradient_allowed: float
    passed: bool
    value_over_official: float | None = None
    """The oracle's value in this preset over its value in the official one: how far the conventions are
    apart on this input.
    """
    first_call_seconds: float
    """Of the call that was checked: what a compiler compiles, it compiles in it."""


class LossTiming(RecordBase):
    """Seconds a call of one loss at one shape, from an interleaved run: sample i of every provider is the
    same pair i.
    """

    kind: Literal["loss-timing"] = "loss-timing"
    provider: str
    form: str
    """`gram` or `covariance`, as it really ran."""
    backend: str
    dtype: str
    device: str
    n: int
    """Rows of each view."""
    d: int
    phase: LossPhase = "forward+backward"
    seconds: tuple[float, ...]
    """Each the mean of `calls_per_sample` calls that follow one another."""
    calls_per_sample: int
    pid: int
    round: int


class LossRankTiming(RecordBase):
    """Seconds a forward and backward of one rank's share of a loss, on one device without the other ranks:
    what it computes, without the links. Sample i of every provider is the same pair i."""

    kind: Literal["loss-rank-timing"] = "loss-rank-timing"
    provider: str
    form: str
    backend: str
    dtype: str
    device: str
    n: int
    """Rows of this rank; the whole batch has `world_size` times as many."""
    d: int
    world_size: int
    seconds: tuple[float, ...]
    calls_per_sample: int
    pid: int
    gradient_error: float | None = None
    """Of ours, relative, against the float64 oracle of the whole batch; None for the authors'."""
    gradient_allowed: float | None = None


class LossMemory(RecordBase):
    """The most that one forward and backward held at once in torch's allocator, beside the two views; the
    two gradients it returns are part of it.
    """

    kind: Literal["loss-memory"] = "loss-memory"
    provider: str
    dtype: str
    device: str
    n: int
    d: int
    peak_bytes: int


class KernelShare(BaseModel):
    """All calls of one kernel, or of one operator, in a profile."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    calls: int
    seconds: float


class LossProfile(RecordBase):
    """Where the time of one loss goes at one shape, by the profiler, which makes it slower: it is in no
    timing."""

    kind: Literal["loss-profile"] = "loss-profile"
    provider: str
    dtype: str
    device: str
    n: int
    d: int
    calls: int
    """Forwards and backwards that follow one another."""
    seconds: float
    """On a GPU from the first kernel's start to the last one's end; on a CPU of all operators."""
    busy_seconds: float
    """On a GPU, those in which a kernel ran: the others are gaps."""
    kernels: tuple[KernelShare, ...]
    """The longest first; on a CPU operators, each without those that it calls."""


class Ceiling(RecordBase):
    """What the device reached in this run: the best of several large square products, and of several large
    copies.
    """

    kind: Literal["ceiling"] = "ceiling"
    dtype: str
    device: str
    product_size: int
    """Rows and columns of the matrices multiplied."""
    flops_per_second: float
    copied_bytes: int
    bytes_per_second: float
    """Read and written, of a copy."""


class LossFloor(RecordBase):
    """The least work of the exact loss in one phase, and the time it takes at the ceilings of this run."""

    kind: Literal["loss-floor"] = "loss-floor"
    dtype: str
    device: str
    n: int
    d: int
    phase: LossPhase
    flops: int
    moved_bytes: int
    seconds: float
    """max(flops ÷ ceiling, moved_bytes ÷ ceiling)."""
    bound: Literal["compute", "memory"]
    """Which of the two it is."""
