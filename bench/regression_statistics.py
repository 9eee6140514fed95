"""Student intervals at any level, and Holm's step-down."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from bench.compare import Interval, student_quantile


@dataclass(frozen=True, kw_only=True)
class Contrast:
    """A difference of means on the log scale."""

    mean: float
    error: float
    """Its standard error."""
    degrees: int
    """Of freedom."""
    samples: int

    def interval(self, level: float) -> Interval:
        """As ratios: exp of the ends between which all but `level` of either tail lies."""
        half = self.half_width(level)
        return Interval(
            estimate=math.exp(self.mean),
            low=math.exp(self.mean - half),
            high=math.exp(self.mean + half),
            samples=self.samples,
        )

    def half_width(self, level: float) -> float:
        return student_quantile(1 - level, self.degrees) * self.error

    def p_above(self, bound: float) -> float:
        """One-sided p-value of a mean above `bound`."""
        if self.error == 0:
            return 0.0 if self.mean > bound else 1.0
        from scipy.special import stdtr  # takes a quarter of a second

        return float(stdtr(self.degrees, (bound - self.mean) / self.error))

    def mirrored(self) -> "Contrast":
        return Contrast(mean=-self.mean, error=self.error, degrees=self.degrees, samples=self.samples)


def paired_contrast(first: Sequence[float], second: Sequence[float]) -> Contrast:
    """second − first of values in pairs. Raises ValueError for fewer than two pairs."""
    differences = [b - a for a, b in zip(first, second, strict=True)]
    if len(differences) < 2:
        raise ValueError("an interval needs two pairs at least")
    n = len(differences)
    return Contrast(
        mean=fmean(differences), error=stdev(differences) / math.sqrt(n), degrees=n - 1, samples=n
    )


def pooled_contrast(first: Sequence[float], second: Sequence[float], alike: Sequence[float]) -> Contrast:
    """mean(second) − mean(first) of values that are not pairs; one value of `first` will do. The variance is
    pooled over both and `alike`, a third group of the same kind. Raises ValueError where nothing varies."""
    groups = [group for group in (first, second, alike) if len(group) > 1]
    degrees = sum(len(group) - 1 for group in groups)
    if not first or not second or degrees < 1:
        raise ValueError("an interval needs two values on one side at least, and one on the other")
    variance = sum(stdev(group) ** 2 * (len(group) - 1) for group in groups) / degrees
    return Contrast(
        mean=fmean(second) - fmean(first),
        error=math.sqrt(variance * (1 / len(first) + 1 / len(second))),
        degrees=degrees,
        samples=min(len(first), len(second)),
    )


@dataclass(frozen=True, kw_only=True)
class Decision:
    rejected: bool
    level: float
    """The one-sided level at which the hypothesis was tested."""


def holm(p_values: Mapping[str, float], level: float) -> dict[str, Decision]:
    """Which hypotheses to reject, so that none is rejected by mistake with a probability above `level`.

    Holm 1979: the smallest p-value against level/m, the next against level/(m−1), until one is not rejected;
    those after it are held to the level it failed at.
    """
    decisions: dict[str, Decision] = {}
    going = True
    tested = level
    for rank, (name, p_value) in enumerate(sorted(p_values.items(), key=lambda item: (item[1], item[0]))):
        if going:
            tested = level / (len(p_values) - rank)
        going = going and p_value <= tested
        decisions[name] = Decision(rejected=going, level=tested)
    return decisions
