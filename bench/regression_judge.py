"""The judgement of a regression run, computed from its records alone, without torch."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal

from bench.compare import Interval
from bench.record import Failure, Record
from bench.regression_analysis import LARGEST_TAU, LEVEL, CaseNumbers, case_numbers, faulty_sample
from bench.regression_record import RegressionGate, RegressionPlan, RegressionSample
from bench.regression_words import gate_words, headline, percent, ratio_words

Status = Literal["unchanged", "faster", "regressed", "inconclusive", "failed", "missing", "new"]
"""`missing`: the base has the case and the head has not. `new`: the other way round. Neither was compared."""

VERDICTS_IN_ORDER = ("not comparable", "failed", "regression", "inconclusive", "fine")
"""The first that holds is the run's."""
BASE_CANNOT = "base: counting"
"""The stage of the Failure of a case that the base has no loss for: no fault of the head's."""
COUNTED_FIELDS = ("device", "torch", "triton", "python")
"""Of a fingerprint: all that exact counts depend on."""

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
    plan = _plan(records)
    gates = [record for record in records if isinstance(record, RegressionGate)]
    samples = [record for record in records if isinstance(record, RegressionSample)]
    failures = [record for record in records if isinstance(record, Failure)]
    differing = differing_fields(plan)
    cases = () if differing else tuple(_cases(plan, gates, samples, failures))
    verdict = _verdict(cases, failures, bool(differing))
    return RegressionJudgement(
        plan=plan,
        verdict=verdict,
        headline=headline(plan, verdict, cases, gates, failures, differing),
        cases=cases,
        gates=tuple(gate for gate in gates if gate.base != gate.head),
        gates_compared=sum(gate.base is not None and gate.head is not None for gate in gates),
    )


def differing_fields(plan: RegressionPlan) -> list[str]:
    """Of every field of the fingerprint that has to be equal and is not: its name and both values, in
    words."""
    base, head = plan.base_fingerprint, plan.head_fingerprint
    fields = COUNTED_FIELDS if plan.gates_only else dict.fromkeys([*base, *head])
    return [
        f"{field} is {base.get(field, 'not set')} in the base and {head.get(field, 'not set')} here"
        for field in fields
        if base.get(field) != head.get(field)
    ]


def gate_regressed(gate: RegressionGate) -> bool:
    """More of anything counted, at the same work, is a regression."""
    return gate.base is not None and gate.head is not None and gate.head > gate.base


def flagged_cases(records: Sequence[Record]) -> tuple[str, ...]:
    """Cases that were slower at first: what the confirming run is about. Raises ValueError as `judge`."""
    plan = _plan(records)
    samples = [record for record in records if isinstance(record, RegressionSample)]
    numbers = case_numbers(plan, [sample for sample in samples if sample.attempt == 0])
    return tuple(case for case, found in numbers.items() if found.slower and found.slower.rejected)


def uncertain_cases(records: Sequence[Record], attempt: int) -> set[str]:
    """Cases of an attempt whose control or change is uncertain by more than `least_tau`: more rounds are for
    them. What the change is does not matter, only how far its rounds are apart. Raises ValueError as `judge`.
    """
    plan = _plan(records)
    samples = [record for record in records if isinstance(record, RegressionSample)]
    of_attempt = [s for s in samples if s.attempt == 0] if attempt == 0 else _of_confirmation(plan, samples)
    bound = math.log1p(plan.least_tau)
    return {
        case
        for case, numbers in case_numbers(plan, of_attempt).items()
        if numbers.control.half_width(LEVEL) > bound
        or (plan.source == "revision" and numbers.change.half_width(LEVEL) > bound)
    }


def _plan(records: Sequence[Record]) -> RegressionPlan:
    plan = next((record for record in records if isinstance(record, RegressionPlan)), None)
    if plan is None:
        raise ValueError("the records hold no plan of a `bench loss --against` run")
    return plan


def _cases(
    plan: RegressionPlan,
    gates: Sequence[RegressionGate],
    samples: Sequence[RegressionSample],
    failures: Sequence[Failure],
) -> list[CaseJudgement]:
    first = case_numbers(plan, [sample for sample in samples if sample.attempt == 0])
    again = case_numbers(plan, _of_confirmation(plan, samples))
    unlike = [case for case in plan.head_cases if case not in plan.base_cases]
    found: list[CaseJudgement] = []
    for case in dict.fromkeys([*plan.head_cases, *plan.base_cases]):
        own_gates = [gate for gate in gates if gate.case == case]
        own_samples = [sample for sample in samples if sample.case == case]
        failed = [failure for failure in failures if failure.scenario == case]
        in_base = [failure for failure in failed if failure.stage == BASE_CANNOT]
        if case not in plan.head_cases:
            like = get_close_matches(case, unlike, n=1, cutoff=0.5)
            hint = f"; renamed to {like[0]}?" if like else ""
            found.append(_without_ratio(case, "missing", f"the base has it and the head does not{hint}"))
        elif len(failed) > len(in_base):
            message = next(failure.message for failure in failed if failure not in in_base)
            found.append(_without_ratio(case, "failed", message.rstrip(".")))
        elif faulty := faulty_sample(own_samples):
            found.append(_without_ratio(case, "failed", faulty))
        elif more := [gate for gate in own_gates if gate_regressed(gate)]:
            words = ", ".join(gate_words(gate) for gate in more)
            found.append(_without_ratio(case, "regressed", f"exact counts rose: {words}", first.get(case)))
        elif plan.source != "revision" and case not in plan.base_cases:
            found.append(_without_ratio(case, "new", "the base does not have it"))
        elif in_base:
            reason = f"the base cannot run it: {in_base[0].message.rstrip('.')}"
            found.append(_without_ratio(case, "new", reason))
        elif case in first:
            found.append(_timed(case, first[case], again.get(case)))
        elif case in plan.timed_cases and not plan.gates_only and _stopped_at_gates(gates):
            found.append(
                _without_ratio(case, "inconclusive", "counted and not timed: a count rose elsewhere")
            )
        elif case in plan.timed_cases and not plan.gates_only:
            found.append(_without_ratio(case, "inconclusive", "too few rounds of it were measured"))
        elif any(gate.base is not None for gate in own_gates):
            found.append(_counted(case, own_gates))
        else:
            found.append(_without_ratio(case, "new", "the base does not have it"))
    for kernel in dict.fromkeys(gate.case for gate in gates if gate.case not in plan.head_cases):
        more = [gate for gate in gates if gate.case == kernel and gate_regressed(gate)]
        if more:
            words = ", ".join(gate_words(gate) for gate in more)
            found.append(_without_ratio(kernel, "regressed", f"the compiled kernel grew: {words}"))
    return found


def _of_confirmation(plan: RegressionPlan, samples: Sequence[RegressionSample]) -> list[RegressionSample]:
    """Those of attempt 1, with the stored base's, which are not measured again."""
    again = [sample for sample in samples if sample.attempt == 1]
    cases = {sample.case for sample in again}
    stored = plan.source != "revision"
    return again + [s for s in samples if stored and s.side == "base" and s.attempt == 0 and s.case in cases]


def _stopped_at_gates(gates: Sequence[RegressionGate]) -> bool:
    return any(gate_regressed(gate) for gate in gates)


def _without_ratio(
    case: str, status: Status, reason: str, numbers: CaseNumbers | None = None
) -> CaseJudgement:
    return CaseJudgement(
        case=case,
        status=status,
        ratio=numbers.ratio if numbers else None,
        control=numbers.control.interval(LEVEL) if numbers else None,
        tau=numbers.tau if numbers else None,
        confirmed=None,
        reason=reason,
    )


def _counted(case: str, gates: Sequence[RegressionGate]) -> CaseJudgement:
    fewer = [gate for gate in gates if None not in (gate.base, gate.head) and gate.base != gate.head]
    if fewer:
        words = ", ".join(gate_words(gate) for gate in fewer)
        return _without_ratio(case, "faster", f"exact counts fell: {words}; not timed")
    return _without_ratio(case, "unchanged", "every exact count is equal; not timed")


def _timed(case: str, numbers: CaseNumbers, again: CaseNumbers | None) -> CaseJudgement:
    status: Status = "unchanged"
    confirmed = None
    reason = f"its interval does not lie beyond ±{percent(numbers.tau)}"
    if numbers.slower is None:
        status = "inconclusive"
        reason = (
            f"the control, which is the same code, is uncertain by {percent(numbers.tau)}: above "
            f"{percent(LARGEST_TAU)} nothing is decided; measure on a quieter machine, or with more --rounds"
        )
    elif numbers.slower.rejected and again is None:
        status = "inconclusive"
        reason = "slower at first; the confirming run was not made"
    elif numbers.slower.rejected:
        assert again is not None
        confirmed = again.slower is not None and again.slower.rejected
        status = "regressed" if confirmed else "unchanged"
        second = again.ratio
        reason = (
            f"slower by more than {percent(numbers.tau)}, and again in the confirming run "
            f"({ratio_words(second)})"
            if confirmed
            else f"slower at first; the confirming run did not agree ({ratio_words(second)})"
        )
    elif numbers.faster is not None and numbers.faster.rejected:
        status = "faster"
        reason = f"faster by more than {percent(numbers.tau)}"
    return CaseJudgement(
        case=case,
        status=status,
        ratio=numbers.ratio,
        control=numbers.control.interval(LEVEL),
        tau=numbers.tau,
        confirmed=confirmed,
        reason=reason,
    )


def _verdict(
    cases: Sequence[CaseJudgement], failures: Sequence[Failure], differs: bool
) -> Literal["fine", "regression", "inconclusive", "failed", "not comparable"]:
    statuses = {case.status for case in cases}
    if differs:
        return "not comparable"
    if statuses & {"failed", "missing"} or any(f.stage != BASE_CANNOT for f in failures):
        return "failed"
    if "regressed" in statuses:
        return "regression"
    return "inconclusive" if "inconclusive" in statuses or not cases else "fine"
