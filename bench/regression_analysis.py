"""From the samples of a regression run to one decision a case: the numbers behind `regression_judge`.

In each process the median of the paired log-ratios case ÷ naive is one value. Base and head of one round are
a pair of processes, and the mean of the differences has Student's interval over the rounds. With a stored
base nothing is paired, and the two means are compared with the variance pooled over all sides. The control
repeats one side; half of its interval's width, or `least_tau` where that is more, is τ. A case is flagged
where the interval's lower end is above log(1 + τ), after Holm over the cases.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median

from bench.compare import Interval
from bench.regression_record import RegressionPlan, RegressionSample, Side
from bench.regression_statistics import Contrast, Decision, holm, paired_contrast, pooled_contrast

LEVEL = 0.025
"""Of one tail: 95 % intervals."""
LARGEST_TAU = 0.10
"""A control that is wider says that nothing can be decided here."""


@dataclass(frozen=True, kw_only=True)
class CaseNumbers:
    """One case in one attempt."""

    change: Contrast
    control: Contrast
    tau: float
    slower: Decision | None = None
    """None where τ is too large to decide anything."""
    faster: Decision | None = None

    @property
    def ratio(self) -> Interval:
        """At the level that decided."""
        decision = self.faster if self.faster is not None and self.faster.rejected else self.slower
        return self.change.interval(LEVEL if decision is None else decision.level)


def faulty_sample(samples: Sequence[RegressionSample]) -> str | None:
    """What makes a case's samples no measurement, in words; None where nothing does."""
    for sample in samples:
        if len(sample.seconds) != len(sample.naive_seconds) or not sample.seconds:
            return f"round {sample.round + 1} of {sample.side} holds samples that are not pairs"
        if not all(0 < s < math.inf for s in (*sample.seconds, *sample.naive_seconds)):  # NaN is not
            return f"round {sample.round + 1} of {sample.side} holds a time that is not above 0"
    return None


def case_numbers(plan: RegressionPlan, samples: Sequence[RegressionSample]) -> dict[str, CaseNumbers]:
    """Of every case of one attempt that has enough samples of all three sides, decided together."""
    found: dict[str, CaseNumbers] = {}
    for case in dict.fromkeys(sample.case for sample in samples):
        of_case = [sample for sample in samples if sample.case == case]
        if faulty_sample(of_case) is None:
            numbers = _numbers(plan, of_case)
            if numbers is not None:
                found[case] = numbers
    decidable = {case: numbers for case, numbers in found.items() if numbers.tau <= LARGEST_TAU}
    bounds = {case: math.log1p(numbers.tau) for case, numbers in decidable.items()}
    slower = holm({c: n.change.p_above(bounds[c]) for c, n in decidable.items()}, LEVEL)
    faster = holm({c: n.change.mirrored().p_above(bounds[c]) for c, n in decidable.items()}, LEVEL)
    return {
        case: replace(numbers, slower=slower.get(case), faster=faster.get(case))
        for case, numbers in found.items()
    }


def _numbers(plan: RegressionPlan, samples: Sequence[RegressionSample]) -> CaseNumbers | None:
    base, head, control = (_by_round(samples, side) for side in ("base", "head", "control"))
    repeated = base if plan.source == "revision" else head
    try:
        again = _paired(repeated, control)
        if plan.source == "revision":
            change = _paired(base, head)
        else:
            change = pooled_contrast([*base.values()], [*head.values()], [*control.values()])
    except ValueError:  # too few rounds
        return None
    tau = max(plan.least_tau, math.expm1(again.half_width(LEVEL)))
    return CaseNumbers(change=change, control=again, tau=tau)


def _paired(first: dict[int, float], second: dict[int, float]) -> Contrast:
    rounds = sorted(first.keys() & second.keys())
    return paired_contrast([first[r] for r in rounds], [second[r] for r in rounds])


def _by_round(samples: Sequence[RegressionSample], side: Side) -> dict[int, float]:
    return {sample.round: log_ratio(sample) for sample in samples if sample.side == side}


def log_ratio(sample: RegressionSample) -> float:
    """The median over a process's pairs of log(case ÷ naive)."""
    pairs = zip(sample.seconds, sample.naive_seconds, strict=True)
    return median(math.log(seconds / naive) for seconds, naive in pairs)
