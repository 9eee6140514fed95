"""Comparisons: the median of paired log-ratios, with a bootstrap interval.

Pairs are the same round of two scenarios, measured within seconds of each other, so that a drift of the
machine cancels. The method was chosen by measurement (docs/LOG.md, and the design's section on measuring):
tests on unpaired means cried wolf.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bench.record import Accuracy, Memory, Record, Throughput

RESAMPLES = 4000
DRAWN_IN_FULL = 500
"""Samples up to which a bootstrap draws every resample; of more, that would take seconds."""
FEWEST_ROUNDS = 6
"""The smallest and largest of n samples enclose the median with probability 1 − 2·0.5ⁿ: 95 % takes six."""


@dataclass(frozen=True, kw_only=True)
class Interval:
    """An estimate with its 95 % interval; `low` and `high` equal `estimate` when one sample is all there
    is."""

    estimate: float
    low: float
    high: float
    samples: int


@dataclass(frozen=True, kw_only=True)
class AccuracyVerdict:
    difference_points: Interval
    """Contender minus baseline, in percentage points, over seeds paired."""
    margin_points: float
    verdict: Literal["non-inferior", "inferior", "undecided"]


def median_interval(values: Sequence[float], seed: int = 0) -> Interval:
    """Median with a 95 % percentile-bootstrap interval; deterministic. Raises ValueError when `values` is
    empty."""
    if not values:
        raise ValueError("an interval needs at least one sample")
    data = np.asarray(values, dtype=np.float64)
    low, high = np.quantile(_resampled_medians(data, np.random.default_rng(seed)), [0.025, 0.975])
    return Interval(estimate=float(np.median(data)), low=float(low), high=float(high), samples=data.size)


def _resampled_medians(data: NDArray[np.float64], generator: np.random.Generator) -> NDArray[np.float64]:
    """Medians of RESAMPLES bootstrap resamples, (RESAMPLES,).

    Of many samples they are drawn without the resamples: a resample's sorted ranks are those of sorted
    uniform numbers, whose middle ones follow beta distributions (David and Nagaraja, Order Statistics, 2.2).
    """
    n = data.size
    if n <= DRAWN_IN_FULL:
        return np.asarray(np.median(data[generator.integers(0, n, size=(RESAMPLES, n))], axis=1))
    ordered = np.sort(data)
    half = n // 2
    if n % 2:
        middle = generator.beta(half + 1, half + 1, size=RESAMPLES)
        return ordered[(n * middle).astype(np.intp)]
    lower = generator.beta(half, half + 1, size=RESAMPLES)
    upper = lower + (1 - lower) * generator.beta(1, half, size=RESAMPLES)
    ranks = np.minimum((n * np.stack([lower, upper])).astype(np.intp), n - 1)
    return np.asarray(ordered[ranks].mean(axis=0))


def mean_t_interval(values: Sequence[float]) -> Interval:
    """Mean with a 95 % Student interval: for a handful of seeds, where a bootstrap is too narrow. Raises
    ValueError when `values` is empty."""
    if not values:
        raise ValueError("an interval needs at least one sample")
    data = np.asarray(values, dtype=np.float64)
    mean = float(data.mean())
    if data.size < 2:
        return Interval(estimate=mean, low=mean, high=mean, samples=data.size)
    half = student_quantile(0.975, data.size - 1) * float(data.std(ddof=1)) / float(np.sqrt(data.size))
    return Interval(estimate=mean, low=mean - half, high=mean + half, samples=data.size)


def paired_ratio(baseline: Sequence[float], contender: Sequence[float]) -> Interval:
    """contender ÷ baseline of paired samples. Raises ValueError when they are not pairs, or not all above
    0."""
    if len(baseline) != len(contender):
        raise ValueError(f"{len(baseline)} samples cannot be paired with {len(contender)}")
    if not all(sample > 0 for sample in (*baseline, *contender)):  # NaN is not
        raise ValueError("a ratio needs samples above 0")
    logs = np.log(np.asarray(contender)) - np.log(np.asarray(baseline))
    interval = median_interval(logs.tolist())
    return Interval(
        estimate=float(np.exp(interval.estimate)),
        low=float(np.exp(interval.low)),
        high=float(np.exp(interval.high)),
        samples=interval.samples,
    )


def unpaired_ratio(a: Sequence[float], b: Sequence[float], seed: int = 0) -> Interval:
    """Median of `b` ÷ median of `a` with a 95 % percentile-bootstrap interval, for samples that are no pairs;
    deterministic. `samples` is the smaller number of the two.

    What drifted between the two is in the ratio, and in no interval: `paired_ratio` cancels it. Raises
    ValueError when either is empty, or not all above 0.
    """
    if not a or not b:
        raise ValueError("a ratio needs samples on both sides")
    if not all(sample > 0 for sample in (*a, *b)):  # NaN is not
        raise ValueError("a ratio needs samples above 0")
    generator = np.random.default_rng(seed)
    logs = []
    for side in (a, b):
        data = np.asarray(side, dtype=np.float64)
        logs.append(np.log(_resampled_medians(data, generator)))
    low, high = np.exp(np.quantile(logs[1] - logs[0], [0.025, 0.975]))
    estimate = float(np.median(b)) / float(np.median(a))
    return Interval(estimate=estimate, low=float(low), high=float(high), samples=min(len(a), len(b)))


def throughput_ratio(records: Sequence[Record], baseline: str, contender: str, mode: str) -> Interval | None:
    """Ratio of pairs/s over the rounds that both scenarios finished, each round's median its sample; None
    without any."""
    by_round: dict[str, dict[int, float]] = {baseline: {}, contender: {}}
    for record in records:
        if isinstance(record, Throughput) and record.mode == mode and record.scenario in by_round:
            by_round[record.scenario][record.round] = float(np.median(record.pairs_per_second))
    rounds = sorted(by_round[baseline].keys() & by_round[contender].keys())
    if not rounds:
        return None
    return paired_ratio([by_round[baseline][r] for r in rounds], [by_round[contender][r] for r in rounds])


def memory_over_start(record: Memory) -> tuple[int, str]:
    """The peak that matters on that device, over its own start, in bytes, and which it is: `device` or
    `host`."""
    if record.device_process_peak_bytes is not None:
        return record.device_process_peak_bytes, "device"
    if record.device_reserved_peak_bytes:
        return record.device_reserved_peak_bytes, "device"
    return record.host_peak_bytes - record.host_before_bytes, "host"


def memory_ratio(records: Sequence[Record], baseline: str, contender: str) -> float | None:
    """Ratio of the larger peaks of each; None when either was not measured, or one on the host and one on a
    device."""
    peaks: dict[str, int] = {}
    kinds: set[str] = set()
    for record in records:
        if isinstance(record, Memory) and record.scenario in (baseline, contender):
            size, kind = memory_over_start(record)
            peaks[record.scenario] = max(peaks.get(record.scenario, 0), size)
            kinds.add(kind)
    if len(kinds) != 1:
        return None
    if peaks.get(baseline, 0) <= 0 or peaks.get(contender, 0) <= 0:
        return None
    return peaks[contender] / peaks[baseline]


def accuracy_verdict(
    records: Sequence[Record], baseline: str, contender: str, margin_points: float
) -> AccuracyVerdict | None:
    """Non-inferiority of the contender's linear accuracy over the seeds both have; None without any."""
    by_seed: dict[str, dict[int, float]] = {baseline: {}, contender: {}}
    for record in records:
        if isinstance(record, Accuracy) and record.subject in by_seed:
            by_seed[record.subject][record.seed] = record.linear_top1
    seeds = sorted(by_seed[baseline].keys() & by_seed[contender].keys())
    if not seeds:
        return None
    points = mean_t_interval([100 * (by_seed[contender][s] - by_seed[baseline][s]) for s in seeds])
    verdict: Literal["non-inferior", "inferior", "undecided"] = "undecided"
    if len(seeds) > 1 and points.low > -margin_points:
        verdict = "non-inferior"
    elif len(seeds) > 1 and points.high < -margin_points:
        verdict = "inferior"
    return AccuracyVerdict(difference_points=points, margin_points=margin_points, verdict=verdict)


def seeds_to_decide(verdict: AccuracyVerdict) -> int | None:
    """The fewest seeds that would decide an undecided verdict if the mean and the spread of the differences
    stayed what they are: a rough reckoning, because so few seeds say little of their spread.

    None where it is decided, where one seed tells no spread, or where even 1000 would not do.
    """
    found = verdict.difference_points
    if verdict.verdict != "undecided" or found.samples < 2:
        return None
    spread = (found.high - found.estimate) * found.samples**0.5 / student_quantile(0.975, found.samples - 1)
    distance = abs(found.estimate + verdict.margin_points)
    enough = (
        n
        for n in range(found.samples + 1, 1001)
        if student_quantile(0.975, n - 1) * spread / n**0.5 < distance
    )
    return next(enough, None)


def student_quantile(probability: float, degrees: int) -> float:
    """The t below which Student's T with that many degrees of freedom stays with that probability."""
    from scipy.special import stdtrit  # takes a quarter of a second

    return float(stdtrit(degrees, probability))
