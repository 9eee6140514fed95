"""Where a series of measurements changed its level: PELT on logarithms, with a penalty from the series' own
noise.

PELT (Killick, Fearnhead & Eckley 2012, here of the package `ruptures`) finds the segments that minimise the
sum of absolute deviations from each segment's median, plus a penalty a change. Absolute deviations, not
squares: runs on shared machines have outliers, and with segments of two points at least a single one is
never a change.

The penalty is PENALTY · σ · log n, the form that the Bayesian information criterion has for this cost, with
σ the noise from one point to the next: the median absolute difference of neighbours, which a few steps do
not move, and LEAST_NOISE at least, because few points can by chance lie closer together than the machine
allows. What is left is to choose PENALTY, and that is done by simulation
(tests/bench/test_change_points.py): flat series have no change point in 95 % of cases or more, steps of 10
% have one in 90 % or more.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

PENALTY = 2.5
LEAST_NOISE = 0.01
"""Of a logarithm. Medians of unchanged code, minutes apart on one machine, are no closer than that
(docs/LOG.md).
"""
FEWEST_POINTS = 6
"""Of a series in which a change is looked for: with fewer, chance looks like one."""
SHORTEST_SEGMENT = 2
NORMAL = 1.4826 / math.sqrt(2)
"""From the median absolute difference of neighbours to the standard deviation of normal noise."""


@dataclass(frozen=True, kw_only=True)
class ChangePoint:
    """One change of level."""

    index: int
    """Of the first point after it."""
    ratio: float
    """Median of the segment after it over the median of the segment before it."""


def change_points(values: Sequence[float]) -> tuple[ChangePoint, ...]:
    """The changes of level of a series in order of time; none where it has fewer than FEWEST_POINTS.

    Raises ValueError when a value is not a number above 0.
    """
    if not all(0 < value < math.inf for value in values):
        raise ValueError("change points are of numbers above 0")
    if len(values) < FEWEST_POINTS:
        return ()
    from ruptures import Pelt  # takes a quarter of a second

    logs = np.log(np.asarray(values, dtype=np.float64))
    penalty = PENALTY * noise(logs.tolist()) * math.log(len(logs))
    found = Pelt(model="l1", min_size=SHORTEST_SEGMENT, jump=1).fit(logs.reshape(-1, 1)).predict(pen=penalty)
    edges = [0, *found]  # the last is the length of the series
    medians = [float(np.median(logs[start:end])) for start, end in pairwise(edges)]
    return tuple(
        ChangePoint(index=index, ratio=math.exp(after - before))
        for index, before, after in zip(edges[1:-1], medians[:-1], medians[1:], strict=True)
    )


def noise(logs: Sequence[float]) -> float:
    """Standard deviation from one point to the next, of logarithms, and LEAST_NOISE at least."""
    steps = np.abs(np.diff(np.asarray(logs, dtype=np.float64)))
    return max(LEAST_NOISE, NORMAL * float(np.median(steps)))
