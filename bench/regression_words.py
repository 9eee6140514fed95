"""A regression run's judgement in words."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bench.compare import Interval
from bench.record import Failure
from bench.regression_record import RegressionGate, RegressionPlan

if TYPE_CHECKING:
    from bench.regression_judge import CaseJudgement


def headline(
    plan: RegressionPlan,
    verdict: str,
    cases: Sequence["CaseJudgement"],
    gates: Sequence[RegressionGate],
    failures: Sequence[Failure],
    differing: Sequence[str],
) -> str:
    """The verdict in one line without a full stop: what, where, by how much."""
    if verdict == "not comparable":
        return f"NOT COMPARABLE with {plan.against}: {differing[0]}{_more(len(differing) - 1, 'field')}"
    if verdict == "failed":
        said = [f"{case.case}: {case.reason}" for case in cases if case.status in ("failed", "missing")]
        said = said or [f"{failure.scenario}: {failure.message}" for failure in failures]
        return f"FAILED: {said[0]}{_more(len(said) - 1, 'problem')}"
    if verdict == "regression":
        worse = [case for case in cases if case.status == "regressed"]
        return f"REGRESSION against {plan.against}: {_change(worse[0])}{_more(len(worse) - 1, 'regression')}"
    if verdict == "inconclusive":
        unclear = [case for case in cases if case.status == "inconclusive"]
        what = f"{unclear[0].case}: {unclear[0].reason}" if unclear else "no case was compared"
        return f"INCONCLUSIVE against {plan.against}: {what}{_more(len(unclear) - 1, 'case')}"
    return f"No regression against {plan.against}: {'; '.join(_fine(cases, gates))}"


def _fine(cases: Sequence["CaseJudgement"], gates: Sequence[RegressionGate]) -> list[str]:
    timed = [case for case in cases if case.ratio is not None and case.tau is not None]
    said = []
    if timed:
        tau = max(case.tau or 0 for case in timed)
        number = f"none of {len(timed)} timed cases is" if len(timed) > 1 else f"{timed[0].case} is not"
        said.append(f"{number} slower by more than {percent(tau)}")
    compared = [gate for gate in gates if gate.base is not None and gate.head is not None]
    if compared:
        rose = (
            "no exact count rose" if any(g.base != g.head for g in compared) else "every exact count is equal"
        )
        said.append(rose)
    faster = [case for case in cases if case.status == "faster"]
    if faster:
        said.append(f"faster: {_change(faster[0])}{_more(len(faster) - 1, 'case')}")
    new = [case.case for case in cases if case.status == "new"]
    if new:
        said.append(f"new, and not compared: {', '.join(new)}")
    return said


def _change(case: "CaseJudgement") -> str:
    if case.ratio is None or "count" in case.reason.split(":")[0]:
        return f"{case.case}: {case.reason}"
    slower = case.ratio.estimate > 1
    low, high = sorted(abs(100 * (end - 1)) for end in (case.ratio.low, case.ratio.high))
    size = f"{abs(100 * (case.ratio.estimate - 1)):.1f} % {'slower' if slower else 'faster'}"
    return f"{case.case} is {size} (interval {low:.1f} to {high:.1f} %)"


def _more(number: int, what: str) -> str:
    return f"; and {number} more {what}{'s' if number > 1 else ''}" if number > 0 else ""


def gate_words(gate: RegressionGate) -> str:
    """Such as `operators 31 → 33`."""
    base, head = ("none" if count is None else f"{count:,}" for count in (gate.base, gate.head))
    return f"{gate.quantity} {base} → {head}"


def ratio_words(ratio: Interval) -> str:
    """Such as `+9.8 %, +8.1 to +11.6 %`."""
    estimate, low, high = (f"{100 * (end - 1):+.1f}" for end in (ratio.estimate, ratio.low, ratio.high))
    return f"{estimate} %, {low} to {high} %"


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"
