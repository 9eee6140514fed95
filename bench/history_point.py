"""One case of one run, as a point of a history."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

LEAST, MOST = 1e-15, 1e15
"""Seconds, ratios and rates lie between: what lies beyond is a broken record, and would break its axis."""
FEWEST = 6
"""Processes or rounds whose medians make an interval; with fewer, the samples themselves do."""


@dataclass(frozen=True, kw_only=True)
class RunInfo:
    """When, where and of what revision: the same for all measurements of one run."""

    time: datetime
    """UTC, of its beginning."""
    machine: str
    commit: str | None
    uncommitted: bool
    """Whether the working tree had changes on top of it."""
    conditions: Mapping[str, str]
    """Versions and the like: what may change along a series."""
    file: str

    @property
    def revision(self) -> str:
        """Ten digits of the commit, with a `+` where there were changes on top."""
        return "unknown" if self.commit is None else self.commit[:10] + "+" * self.uncommitted


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What was measured of one case, not yet summed up."""

    case: str
    setting: str
    """What has to be equal beside the machine: device, threads, recipe."""
    unit: str
    groups: Sequence[Sequence[float]]
    """Values, a sequence for each process or round."""
    larger_is_slower: bool = True


@dataclass(frozen=True, kw_only=True)
class Point:
    """The median of what was measured, with its 95 % interval."""

    run: RunInfo
    case: str
    setting: str
    unit: str
    larger_is_slower: bool
    value: float
    low: float
    high: float
    samples: int


def point_of(run: RunInfo, measured: Measured) -> Point:
    """The median over processes or rounds, or over all values where there are few of those. Raises ValueError
    when there is no value, or one is no number that could have been measured.
    """
    values = [value for group in measured.groups for value in group]
    if not values:
        raise ValueError("no value")
    if wrong := [value for value in values if not LEAST < value < MOST]:  # NaN is wrong
        raise ValueError(f"{wrong[0]} is no measurement")
    medians = [statistics.median(group) for group in measured.groups if group]
    used = sorted(medians if len(medians) >= FEWEST else values)
    low, high = median_bounds(used)
    return Point(
        run=run,
        case=measured.case,
        setting=measured.setting,
        unit=measured.unit,
        larger_is_slower=measured.larger_is_slower,
        value=statistics.median(used),
        low=low,
        high=high,
        samples=len(used),
    )


def median_bounds(ordered: Sequence[float]) -> tuple[float, float]:
    """The 95 % interval of the median of ordered values, from order statistics: for every distribution, and
    without the bootstrap's thousands of medians a point. Of fewer than six values it is their whole range,
    which is less than 95 %.
    """
    count = len(ordered)
    # By the normal approximation of the binomial quantile.
    rank = max(1, math.floor((count + 1) / 2 - 0.98 * math.sqrt(count)))
    return ordered[rank - 1], ordered[count - rank]


def utc(text: str) -> datetime:
    """Raises ValueError when `text` is no time in ISO 8601; one without an offset is taken to be UTC."""
    moment = datetime.fromisoformat(text)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def ratios(values: Sequence[float], over: Sequence[float]) -> list[float]:
    """Pair by pair; NaN, which `point_of` refuses, where they are no pairs or `over` is not above 0."""
    if len(values) != len(over):
        return [math.nan]
    return [value / beside if beside > 0 else math.nan for value, beside in zip(values, over, strict=True)]
