"""What a run's numbers come to: computed once, said in words, pictures and tables."""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from reports.run_log import RunLog, Values
from vicreg_fast.training.health import MEAN_STD_LIMIT, CollapseGuard

TERMS = {
    "invariance": "invariance_weight",
    "variance": "variance_weight",
    "covariance": "covariance_weight",
}
"""Each term of the loss, and the key of its weight in the recipe."""
_SIGNS = ("loss", *TERMS, "std_mean", "dead_fraction", "effective_rank")


@dataclass(frozen=True, kw_only=True)
class Health:
    """The guard of `vicreg_fast.training.health`, called once more with every logged step."""

    judged: int
    """Logged steps that have all signs."""
    collapsed_at: tuple[int, ...]
    """Logged steps that looked collapsed."""
    longest: int
    """Of them, the most in a row."""
    at_the_end: bool
    """The last logged step is one of them."""


@lru_cache(maxsize=4)
def health_of(log: RunLog) -> Health:
    # A patience that no run has: the guard counts, and never ends it.
    guard = CollapseGuard(patience=len(log.steps) + 1, gamma=log.recipe.gamma)
    absent = np.full(len(log.steps), np.nan)
    columns = [log.values.get(name, absent).tolist() for name in _SIGNS]
    collapsed: list[int] = []
    longest = row = judged = 0
    for step, *signs in zip(log.steps.tolist(), *columns, strict=True):
        if not all(map(math.isfinite, signs[-3:])):
            continue
        judged += 1
        guard({"step": step, **dict(zip(_SIGNS, signs, strict=True))})
        row = row + 1 if guard.suspicious else 0
        longest = max(longest, row)
        if guard.suspicious:
            collapsed.append(step)
    return Health(judged=judged, collapsed_at=tuple(collapsed), longest=longest, at_the_end=guard.suspicious)


def mean_std_limit(log: RunLog) -> float:
    """σ below which embeddings count as collapsed."""
    return MEAN_STD_LIMIT * min(log.recipe.gamma, 1.0)


def weighted_terms(log: RunLog) -> dict[str, Values]:
    """Each logged term times its weight, which add up to the loss; those of weight 0 apart."""
    found = {}
    for term, key in TERMS.items():
        weight = float(getattr(log.recipe, key))
        if weight and term in log.values:
            found[term] = weight * log.values[term]
    return found


@dataclass(frozen=True, kw_only=True)
class Speed:
    """Of the time between logged steps, each window in one session."""

    median: float
    """Pairs/s, over the windows."""
    loader_wait: float | None
    """Share of the windows' time, by their lengths; without the first window of each session, which has the
    start in it, where there are others."""


def speed_of(log: RunLog) -> Speed | None:
    rates = log.finite("pairs_per_second")
    if not len(rates):
        return None
    waits = log.values.get("loader_wait_share")
    wait = None
    if waits is not None:
        known = np.isfinite(waits) & (log.values["pairs_per_second"] > 0)
        before = np.append(0, log.steps[:-1])
        begins = np.searchsorted(log.steps, (0, *log.resumed_at), side="right")
        later = known.copy()
        later[begins[begins < len(later)]] = False
        used = later if later.any() else known
        if used.any():
            seconds = (log.steps - before)[used] / log.values["pairs_per_second"][used]
            wait = float(np.average(waits[used], weights=seconds))
    return Speed(median=float(np.median(rates)), loader_wait=wait)
