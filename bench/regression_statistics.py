"""Student intervals at any level, and Holm's step-down, without a library of statistics.

The distribution function of integer degrees of freedom is a finite sum (Abramowitz and Stegun, 26.7.3 and
26.7.4).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from bench.compare import Interval


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
        return 1 - student_cdf((self.mean - bound) / self.error, self.degrees)

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


def student_cdf(t: float, degrees: int) -> float:
    """P(T ≤ t) of Student's T with that many degrees of freedom, a positive integer."""
    angle = math.atan2(abs(t), math.sqrt(degrees))
    cosine = math.cos(angle)
    odd = degrees % 2
    term = cosine if odd else 1.0
    total = term if degrees > 1 else 0.0
    for k in range(2 + odd, degrees, 2):
        term *= (k - 1) / k * cosine**2
        total += term
    within = math.sin(angle) * total
    if odd:
        within = 2 / math.pi * (angle + within)
    return 0.5 + math.copysign(within / 2, t)


def student_quantile(probability: float, degrees: int) -> float:
    """The t of that probability, in [0.5, 1), by bisection, to 1e-9 of it."""
    if not 0.5 <= probability < 1:
        raise ValueError(f"probability = {probability} must be in [0.5, 1)")
    low, high = 0.0, 1.0
    while student_cdf(high, degrees) < probability:
        low, high = high, 2 * high
    while high - low > 1e-9 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if student_cdf(middle, degrees) < probability else (low, middle)
    return high
