"""Comparisons against values by hand, and how often an interval holds the truth."""

import math

import numpy as np
import pytest
from scipy import stats

from bench.compare import (
    RESAMPLES,
    accuracy_verdict,
    mean_t_interval,
    median_interval,
    memory_over_start,
    memory_ratio,
    paired_ratio,
    seeds_to_decide,
    student_quantile,
    throughput_ratio,
)
from bench.record import Accuracy, Memory, Record, Throughput


def throughput(scenario: str, round_: int, *seconds: float, mode: str = "end-to-end") -> Throughput:
    return Throughput(
        scenario=scenario, mode=mode, round=round_, position=0, pid=1, batch_size=10, image_size=32,
        steps_per_window=1, window_seconds=seconds,
    )  # type: ignore[arg-type]  # fmt: skip


def accuracy(subject: str, *top1: float) -> list[Record]:
    return [
        Accuracy(subject=subject, seed=seed, linear_top1=value, classes=10, test_images=100)
        for seed, value in enumerate(top1)
    ]


def memory(scenario: str, peak: int, **fields: int) -> Memory:
    return Memory(scenario=scenario, pid=1, host_before_bytes=100, host_peak_bytes=peak, **fields)


def test_median_interval_by_hand_and_deterministic() -> None:
    interval = median_interval([3.0, 1.0, 2.0])
    # The bootstrap median of three is the smallest with chance 7/27, so both ends are the extremes.
    assert (interval.estimate, interval.low, interval.high, interval.samples) == (2.0, 1.0, 3.0, 3)
    assert median_interval([5.0]) == median_interval([5.0], seed=3)
    values = np.random.default_rng(0).normal(size=30).tolist()
    assert median_interval(values) == median_interval(values)
    with pytest.raises(ValueError, match="at least one sample"):
        median_interval([])


@pytest.mark.parametrize("count", [8, 15, 30])
def test_the_median_interval_holds_the_truth_about_as_often_as_it_says(count: int) -> None:
    rng = np.random.default_rng(count)
    trials = 300
    held = 0
    for trial in range(trials):
        interval = median_interval(rng.lognormal(0, 0.5, count).tolist(), seed=trial)
        held += interval.low <= 1 <= interval.high
    assert 0.90 <= held / trials <= 0.99


def test_the_median_interval_narrows_with_samples() -> None:
    rng = np.random.default_rng(0)
    few, many = (median_interval(rng.normal(size=n).tolist()) for n in (10, 1000))
    assert (many.high - many.low) < (few.high - few.low) / 4


@pytest.mark.parametrize("count", [501, 502, 2000])
def test_many_samples_have_the_interval_of_full_resamples(count: int) -> None:
    """Drawn from the ranks' distribution, within the error of 4000 resamples: a tenth of the width."""
    values = np.random.default_rng(count).lognormal(0, 0.5, count)
    drawn = np.random.default_rng(1).integers(0, count, size=(RESAMPLES, count))
    low, high = np.quantile(np.median(values[drawn], axis=1), [0.025, 0.975])
    interval = median_interval(values.tolist())
    assert interval.low == pytest.approx(low, abs=(high - low) / 10)
    assert interval.high == pytest.approx(high, abs=(high - low) / 10)


def test_mean_interval_is_students() -> None:
    values = [1.0, 2.0, 4.0, 4.5]
    interval = mean_t_interval(values)
    low, high = stats.t.interval(0.95, 3, loc=np.mean(values), scale=stats.sem(values))
    assert (interval.estimate, interval.samples) == (2.875, 4)
    assert (interval.low, interval.high) == (pytest.approx(low), pytest.approx(high))
    one = mean_t_interval([2.0])
    assert (one.low, one.estimate, one.high) == (2.0, 2.0, 2.0)
    with pytest.raises(ValueError, match="at least one sample"):
        mean_t_interval([])


def test_students_quantile_is_the_tables() -> None:
    """Fisher and Yates's, to the last of its digits."""
    for degrees, t in ((1, 12.706), (2, 4.303), (4, 2.776), (10, 2.228), (30, 2.042), (120, 1.980)):
        assert student_quantile(0.975, degrees) == pytest.approx(t, abs=5e-4)


def test_paired_ratio_by_hand() -> None:
    ratio = paired_ratio([1.0, 10.0, 100.0], [2.0, 20.0, 200.0])
    assert [ratio.estimate, ratio.low, ratio.high] == pytest.approx([2.0, 2.0, 2.0], rel=1e-12)
    spread = paired_ratio([1.0, 1.0, 1.0], [1.0, 2.0, 8.0])
    assert [spread.estimate, spread.low, spread.high] == pytest.approx([2.0, 1.0, 8.0], rel=1e-12)
    assert spread.samples == 3
    swapped = paired_ratio([1.0, 2.0, 8.0], [1.0, 1.0, 1.0])
    assert swapped.estimate == pytest.approx(1 / spread.estimate, rel=1e-12)


def test_pairing_cancels_a_drift_of_the_machine() -> None:
    drift = np.exp(np.random.default_rng(0).normal(size=20))
    ratio = paired_ratio(drift.tolist(), (1.1 * drift).tolist())
    assert [ratio.low, ratio.high] == pytest.approx([1.1, 1.1], rel=1e-9)


@pytest.mark.parametrize("pair", [([1.0], [1.0, 2.0]), ([], [1.0])])
def test_what_are_not_pairs_is_refused(pair: tuple[list[float], list[float]]) -> None:
    with pytest.raises(ValueError, match="cannot be paired"):
        paired_ratio(*pair)


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan])
def test_samples_without_a_logarithm_are_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="above 0"):
        paired_ratio([1.0, 1.0], [1.0, bad])
    with pytest.raises(ValueError, match="above 0"):
        paired_ratio([bad, 1.0], [1.0, 1.0])


def test_throughput_pairs_rounds_both_finished_in_one_mode() -> None:
    records: list[Record] = [
        throughput("base", 0, 1.0), throughput("fast", 0, 0.5, 0.25, 0.5),  # the median window: 2×
        throughput("base", 1, 4.0), throughput("fast", 1, 2.0),
        throughput("base", 2, 1.0),  # fast never finished round 2
        throughput("base", 0, 1.0, mode="compute-only"), throughput("fast", 0, 0.1, mode="compute-only"),
    ]  # fmt: skip
    ratio = throughput_ratio(records, "base", "fast", "end-to-end")
    assert ratio is not None
    assert (ratio.estimate, ratio.samples) == (pytest.approx(2.0, rel=1e-12), 2)
    assert throughput_ratio(records, "base", "tuned", "end-to-end") is None
    compute = throughput_ratio(records, "base", "fast", "compute-only")
    assert compute is not None
    assert compute.estimate == pytest.approx(10.0, rel=1e-12)


def test_memory_takes_the_peak_that_matters() -> None:
    assert memory_over_start(memory("a", 300)) == (200, "host")
    assert memory_over_start(memory("a", 300, device_reserved_peak_bytes=50)) == (50, "device")
    both = memory("a", 300, device_reserved_peak_bytes=50, device_process_peak_bytes=70)
    assert memory_over_start(both) == (70, "device")


def test_memory_ratio_is_of_the_larger_peaks_of_one_kind() -> None:
    assert memory_ratio([memory("a", 300), memory("a", 500), memory("b", 200)], "a", "b") == 0.25
    assert memory_ratio([memory("a", 300)], "a", "b") is None
    assert memory_ratio([memory("a", 100), memory("b", 200)], "a", "b") is None
    mixed: list[Record] = [memory("a", 300), memory("b", 200, device_process_peak_bytes=50)]
    assert memory_ratio(mixed, "a", "b") is None


@pytest.mark.parametrize(
    ("base", "fast", "verdict"),
    [
        ((0.50, 0.51, 0.52), (0.50, 0.51, 0.52), "non-inferior"),
        ((0.50, 0.51, 0.52), (0.60, 0.62, 0.63), "non-inferior"),
        ((0.50, 0.51, 0.52), (0.45, 0.46, 0.47), "inferior"),
        ((0.50, 0.51, 0.52), (0.40, 0.60, 0.52), "undecided"),  # as good on the mean, and far too noisy
        ((0.50,), (0.50,), "undecided"),  # one seed decides nothing
        ((0.50,), (0.10,), "undecided"),
    ],
)
def test_accuracy_verdicts(base: tuple[float, ...], fast: tuple[float, ...], verdict: str) -> None:
    found = accuracy_verdict(accuracy("base", *base) + accuracy("fast", *fast), "base", "fast", 1.0)
    assert found is not None
    assert found.verdict == verdict
    assert found.margin_points == 1.0
    expected = 100 * (np.mean(fast) - np.mean(base))
    assert found.difference_points.estimate == pytest.approx(expected, abs=1e-9)


def test_the_margin_decides_and_seeds_are_paired() -> None:
    records = accuracy("base", 0.50, 0.60, 0.70) + accuracy("fast", 0.498, 0.598, 0.698, 0.9)
    for margin, verdict in ((0.3, "non-inferior"), (0.1, "inferior")):
        found = accuracy_verdict(records, "base", "fast", margin)
        assert found is not None
        assert (found.verdict, found.difference_points.samples) == (verdict, 3)
    assert accuracy_verdict(records, "base", "tuned", 1.0) is None


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_a_contender_that_is_worse_by_the_margin_is_rarely_called_non_inferior(seeds: int) -> None:
    """At most the 2.5 % of a one-sided test, and as rarely inferior: 4000 trials have an error of 0.25 %."""
    rng = np.random.default_rng(seeds)
    gaps = -2.0 + rng.normal(size=(4000, seeds)) * 1.5
    intervals = [mean_t_interval(gap.tolist()) for gap in gaps]
    for wrong in (sum(i.low > -2 for i in intervals), sum(i.high < -2 for i in intervals)):
        assert 0.015 < wrong / len(intervals) < 0.035


@pytest.mark.parametrize(
    ("gaps", "seeds"),
    [
        # t(n − 1)·s/√n < |mean + 2|: by hand for s = 3 and a mean of 0, 2.201·3/√12 = 1.906.
        ((-0.03, 0.0, 0.03), 12),
        ((-0.001, 0.0, 0.001), None),  # is decided
        ((0.0,), None),
        ((-0.99, -0.02, 0.95), None),  # the mean is the margin itself
    ],
)
def test_how_many_seeds_would_decide(gaps: tuple[float, ...], seeds: int | None) -> None:
    base = accuracy("base", *([0.5] * len(gaps)))
    found = accuracy_verdict(base + accuracy("fast", *(0.5 + gap for gap in gaps)), "base", "fast", 2.0)
    assert found is not None
    assert seeds_to_decide(found) == seeds
