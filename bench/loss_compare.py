"""From loss timings to ratios: which provider is how many times as fast as which, over pairs of one run.

Computed from records alone, without torch, so that a report can.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from bench.compare import Interval, median_interval, paired_ratio
from bench.loss_record import LossFloor, LossGate, LossMemory, LossPhase, LossTiming

Run = tuple[int, int]
"""Process and round: samples of one run are pairs."""


@dataclass(frozen=True, kw_only=True, order=True)
class Place:
    """What a loss was called on."""

    device: str
    dtype: str
    n: int
    d: int


def place_of(record: LossTiming | LossGate | LossMemory | LossFloor) -> Place:
    return Place(device=record.device, dtype=record.dtype, n=record.n, d=record.d)


def seconds_of(
    timings: Sequence[LossTiming], provider: str, place: Place, phase: LossPhase
) -> Interval | None:
    """Median seconds a call over the samples of all runs; None where there is none."""
    samples = [
        second
        for timing in timings
        if (timing.provider, place_of(timing), timing.phase) == (provider, place, phase)
        for second in timing.seconds
    ]
    return median_interval(samples) if samples else None


def times_as_fast(
    timings: Sequence[LossTiming], provider: str, than: str, place: Place, phase: LossPhase
) -> Interval | None:
    """How many times as fast as `than` the provider is: over the pairs of every run that timed both; None
    without one.
    """
    slower, faster = _by_run(timings, than, place, phase), _by_run(timings, provider, place, phase)
    runs = [run for run in faster if run in slower and len(faster[run]) == len(slower[run])]
    ours = [second for run in runs for second in faster[run]]
    theirs = [second for run in runs for second in slower[run]]
    return paired_ratio(ours, theirs) if ours else None


def _by_run(
    timings: Sequence[LossTiming], provider: str, place: Place, phase: LossPhase
) -> dict[Run, tuple[float, ...]]:
    return {
        (timing.pid, timing.round): timing.seconds
        for timing in timings
        if (timing.provider, place_of(timing), timing.phase) == (provider, place, phase)
    }
