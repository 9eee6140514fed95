"""The judgement of a regression run, computed from its records alone, without torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from bench.compare import Interval
from bench.record import Record
from bench.regression_record import RegressionGate, RegressionPlan

Status = Literal["unchanged", "faster", "regressed", "inconclusive", "failed", "missing", "new"]
"""`missing`: the base has the case and the head has not. `new`: the other way round. Neither was compared."""

EXIT_CODES = {"fine": 0, "regression": 1, "inconclusive": 3, "failed": 4, "not comparable": 5}


@dataclass(frozen=True, kw_only=True)
class CaseJudgement:
    """One case."""

    case: str
    status: Status
    ratio: Interval | None
    """Time of the head over the base's, both over the naive loss's: above 1 is slower. After Holm: the
    interval at the level that decided. None where it was not compared."""
    control: Interval | None
    """The same of the control over the side it repeats."""
    tau: float | None
    """What the interval's lower end has to exceed, less 1: max(least τ, half-width of the control)."""
    confirmed: bool | None
    """What the re-run said; None where there was none."""
    reason: str
    """One sentence that ends without a full stop."""


@dataclass(frozen=True, kw_only=True)
class RegressionJudgement:
    """The whole run."""

    plan: RegressionPlan
    verdict: Literal["fine", "regression", "inconclusive", "failed", "not comparable"]
    headline: str
    cases: tuple[CaseJudgement, ...]
    gates: tuple[RegressionGate, ...]
    """Those that differ, or that one side lacks; the number of all is `gates_compared`."""
    gates_compared: int

    def exit_code(self, *, strict: bool) -> int:
        """Of the command: inconclusive is 3 with `strict`, else 0."""
        code = EXIT_CODES[self.verdict]
        return 0 if self.verdict == "inconclusive" and not strict else code


def judge(records: Sequence[Record]) -> RegressionJudgement:
    """The judgement of one run's records. Raises ValueError when they hold no RegressionPlan."""
    raise NotImplementedError
