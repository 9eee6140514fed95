"""The verdict of a regression run, from records made by hand."""

import math
from collections.abc import Sequence
from typing import Any

import pytest

from bench.record import Failure, Record
from bench.regression_judge import (
    BASE_CANNOT,
    CaseJudgement,
    RegressionJudgement,
    flagged_cases,
    judge,
    uncertain_cases,
)
from bench.regression_record import RegressionGate, RegressionPlan, RegressionSample, Side

NOISE = (0.0, 0.004, -0.003, 0.002, -0.004, 0.003, -0.001)
"""Logarithms, of the processes of one side."""
HERE = {"processor": "A CPU", "device": "cpu", "torch": "2.15.0", "triton": "3.9.0", "python": "3.11"}


def plan(*cases: str, **changes: Any) -> RegressionPlan:
    fields: dict[str, Any] = {
        "command": "vicreg-fast bench loss --against main", "against": "main", "source": "revision",
        "base_commit": "b" * 40, "head_commit": "4" * 40, "base_fingerprint": HERE,
        "head_fingerprint": HERE, "base_cases": cases, "head_cases": cases, "timed_cases": cases,
        "device": "cpu", "threads": 1, "rounds": 7, "pairs": 3, "least_tau": 0.03,
    }  # fmt: skip
    return RegressionPlan(**{**fields, **changes})


def timed(
    case: str, ratio: float = 1.0, *, noise: float = 1.0, attempt: int = 0, sides: Sequence[Side] = ()
) -> list[Record]:
    """Seven rounds of three processes, the head's `ratio` times as slow."""
    samples: list[Record] = []
    for number in range(len(NOISE)):
        for place, side in enumerate(sides or ("base", "head", "control")):
            drift = noise * NOISE[(number + 2 * place) % len(NOISE)]
            seconds = 0.01 * (ratio if side == "head" else 1) * math.exp(drift)
            samples.append(sample(case, side, number, (seconds, 1.01 * seconds, 0.99 * seconds), attempt))
    return samples


def sample(
    case: str, side: Side, number: int, seconds: tuple[float, ...], attempt: int = 0
) -> RegressionSample:
    return RegressionSample(
        case=case, side=side, round=number, position=0, attempt=attempt, pid=7, calls=1, naive_calls=1,
        seconds=seconds, naive_seconds=(0.02,) * len(seconds),
    )  # fmt: skip


def gate(case: str, quantity: str, base: int | None, head: int | None) -> RegressionGate:
    return RegressionGate(case=case, quantity=quantity, base=base, head=head)


def only(judgement: RegressionJudgement) -> CaseJudgement:
    (case,) = judgement.cases
    return case


def test_equal_code_on_a_quiet_machine_is_fine() -> None:
    judgement = judge([plan("gram"), gate("gram", "operators", 31, 31), *timed("gram")])
    assert judgement.verdict == "fine"
    assert judgement.exit_code(strict=True) == 0
    case = only(judgement)
    assert case.status == "unchanged"
    assert case.tau == 0.03
    assert case.ratio is not None
    assert case.ratio.low < 1 < case.ratio.high
    assert case.ratio.samples == 7
    assert (judgement.gates, judgement.gates_compared) == ((), 1)
    assert "No regression against main" in judgement.headline


def test_a_tenth_slower_twice_is_a_regression_also_among_many_cases() -> None:
    others = [f"other-{number}" for number in range(5)]
    records = [plan("gram", *others), *timed("gram", 1.1)]
    records += [record for case in others for record in timed(case)]
    assert flagged_cases(records) == ("gram",)
    judgement = judge([*records, *timed("gram", 1.1, attempt=1)])
    assert judgement.verdict == "regression"
    assert judgement.exit_code(strict=False) == 1
    worse = next(case for case in judgement.cases if case.case == "gram")
    assert (worse.status, worse.confirmed) == ("regressed", True)
    assert worse.ratio is not None
    assert worse.ratio.estimate == pytest.approx(1.1, abs=0.005)
    assert worse.ratio.low > 1.03
    assert {case.status for case in judgement.cases if case.case != "gram"} == {"unchanged"}
    assert "gram is 10.0 % slower" in judgement.headline


def test_holm_widens_the_interval_that_decides() -> None:
    alone = only(judge([plan("gram"), *timed("gram", 1.02)]))
    others = [f"other-{number}" for number in range(5)]
    records = [plan("gram", *others), *timed("gram", 1.02), *(r for c in others for r in timed(c))]
    among = judge(records).cases[0]
    assert alone.ratio is not None
    assert among.ratio is not None
    assert among.ratio.low < alone.ratio.low


def test_slower_at_first_only_is_no_regression() -> None:
    records = [plan("gram"), *timed("gram", 1.1)]
    unfinished = judge(records)
    assert (unfinished.verdict, only(unfinished).status) == ("inconclusive", "inconclusive")
    assert "was not made" in only(unfinished).reason
    judgement = judge([*records, *timed("gram", 1.0, attempt=1)])
    assert judgement.verdict == "fine"
    assert (only(judgement).status, only(judgement).confirmed) == ("unchanged", False)
    assert "did not agree" in only(judgement).reason


def test_slower_by_less_than_tau_is_no_regression_and_faster_is_said() -> None:
    assert flagged_cases([plan("gram"), *timed("gram", 1.029)]) == ()
    judgement = judge([plan("gram"), *timed("gram", 0.9)])
    assert (judgement.verdict, only(judgement).status) == ("fine", "faster")
    assert "10.0 % faster" in judgement.headline


def test_the_control_sets_tau_and_above_a_tenth_nothing_is_decided() -> None:
    noisy = judge([plan("gram"), *timed("gram", noise=20)])
    tau = only(noisy).tau
    assert tau is not None
    assert 0.03 < tau < 0.10
    assert only(noisy).status == "unchanged"
    judgement = judge([plan("gram"), *timed("gram", 1.5, noise=60)])
    assert (judgement.verdict, only(judgement).status) == ("inconclusive", "inconclusive")
    assert judgement.exit_code(strict=False) == 0
    assert judgement.exit_code(strict=True) == 3
    assert "nothing is decided" in only(judgement).reason
    assert flagged_cases([plan("gram"), *timed("gram", 1.5, noise=60)]) == ()


def test_more_rounds_are_for_cases_whose_rounds_are_apart_whatever_they_say() -> None:
    records = [
        plan("quiet", "slow", "noisy"),
        *timed("quiet"),
        *timed("slow", 1.2),
        *timed("noisy", noise=20),
    ]
    assert uncertain_cases(records, 0) == {"noisy"}
    again = [*records, *timed("slow", 1.2, noise=20, attempt=1)]
    assert uncertain_cases(again, 1) == {"slow"}
    # Of a stored base no spread is known: only the control's counts.
    stored = plan("gram", source="pytest-benchmark")
    one = timed("gram", sides=("base",))[:1]
    assert uncertain_cases([stored, *one, *timed("gram", sides=("head", "control"))], 0) == set()


def test_a_count_that_rose_is_a_regression_without_any_time_and_one_that_fell_is_not() -> None:
    records = [gate("gram", "operators", 31, 32), gate("gram", "flops", 100, 90)]
    judgement = judge([plan("gram"), *records])
    assert (judgement.verdict, judgement.exit_code(strict=False)) == ("regression", 1)
    assert "operators 31 → 32" in judgement.headline
    assert "flops" not in judgement.headline
    assert len(judgement.gates) == 2
    fell = judge([plan("gram", gates_only=True), gate("gram", "flops", 100, 90)])
    assert (fell.verdict, only(fell).status) == ("fine", "faster")
    assert "flops 100 → 90" in only(fell).reason


def test_a_kernel_that_grew_is_a_case_of_its_own() -> None:
    kernel = gate("product_kernel sm_90, Triton 3.9.0", "registers", 128, 130)
    alike = gate("Triton 3.9.0", "kernels-alike", 95, 95)
    judgement = judge([plan("gram"), kernel, alike, *timed("gram")])
    assert judgement.verdict == "regression"
    assert [case.case for case in judgement.cases if case.status == "regressed"] == [kernel.case]
    gone = gate("product_kernel sm_90, Triton 3.9.0", "registers", 128, None)
    assert judge([plan("gram"), gone, *timed("gram")]).verdict == "fine"


def test_a_missing_case_fails_and_a_new_one_is_said() -> None:
    judgement = judge(
        [
            plan(base_cases=("gram-64x512",), head_cases=("gram-64x1024",), timed_cases=()),
            gate("gram-64x1024", "operators", None, 3),
        ]
    )
    assert (judgement.verdict, judgement.exit_code(strict=False)) == ("failed", 4)
    by_name = {case.case: case for case in judgement.cases}
    assert by_name["gram-64x512"].status == "missing"
    assert "renamed to gram-64x1024?" in by_name["gram-64x512"].reason
    assert by_name["gram-64x1024"].status == "new"
    assert "gram-64x512" in judgement.headline


def test_what_fails_in_the_head_fails_and_what_only_the_base_cannot_run_is_new() -> None:
    here = Failure(scenario="gram", stage="head: counting", message="RuntimeError: no")
    judgement = judge([plan("gram"), here])
    assert (judgement.verdict, only(judgement).status) == ("failed", "failed")
    assert "RuntimeError: no" in judgement.headline
    there = Failure(scenario="gram", stage=BASE_CANNOT, message="TypeError: no such form")
    fine = judge([plan("gram"), there, gate("gram", "operators", None, 3)])
    assert (fine.verdict, only(fine).status) == ("fine", "new")
    assert "the base cannot run it: TypeError" in only(fine).reason
    died = Failure(scenario="base", stage="process", message="it ended")
    assert judge([plan("gram"), died, *timed("gram")]).verdict == "failed"


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf])
def test_a_time_that_is_none_fails_the_case(bad: float) -> None:
    records = [plan("gram"), *timed("gram"), sample("gram", "head", 7, (0.01, bad))]
    judgement = judge(records)
    assert (judgement.verdict, only(judgement).status) == ("failed", "failed")
    assert "round 8 of head" in only(judgement).reason
    assert flagged_cases(records) == ()


def test_samples_that_are_no_pairs_fail_the_case_and_too_few_rounds_decide_nothing() -> None:
    odd = sample("gram", "head", 0, (0.01,)).model_copy(update={"naive_seconds": (0.02, 0.02)})
    assert only(judge([plan("gram"), odd])).status == "failed"
    short = [sample("gram", side, 0, (0.01,)) for side in ("base", "head", "control")]
    assert only(judge([plan("gram"), *short])).status == "inconclusive"
    assert judge([plan("gram")]).verdict == "inconclusive"


def test_what_differs_between_the_machines_is_named() -> None:
    other = {**HERE, "processor": "Another CPU"}
    judgement = judge([plan("gram", base_fingerprint=other), *timed("gram", 2)])
    assert (judgement.verdict, judgement.exit_code(strict=False)) == ("not comparable", 5)
    assert "processor is Another CPU in the base and A CPU here" in judgement.headline
    assert judgement.cases == ()
    # Counts do not depend on the processor, but on torch.
    counted = [gate("gram", "operators", 3, 3)]
    assert judge([plan("gram", base_fingerprint=other, gates_only=True), *counted]).verdict == "fine"
    older = {**HERE, "torch": "2.14.0"}
    judgement = judge([plan("gram", base_fingerprint=older, gates_only=True), *counted])
    assert "torch is 2.14.0 in the base and 2.15.0 here" in judgement.headline
    unset = {**HERE, "MKL_NUM_THREADS": "4"}
    assert "MKL_NUM_THREADS is 4 in the base and not set here" in (
        judge([plan("gram", base_fingerprint=unset)]).headline
    )


@pytest.mark.parametrize("source", ["records", "pytest-benchmark"])
def test_a_stored_base_is_compared_unpaired_and_confirmed_against_the_same_times(source: str) -> None:
    stored = timed("gram", sides=("base",))
    if source == "pytest-benchmark":  # one process
        stored = stored[:1]

    def now(ratio: float, attempt: int) -> list[Record]:
        again = timed("gram", ratio, attempt=attempt, sides=("head", "control"))
        slower = [r for r in again if isinstance(r, RegressionSample)]
        # The control repeats the head here.
        return [
            r if r.side == "head" else r.model_copy(update={"seconds": tuple(ratio * s for s in r.seconds)})
            for r in slower
        ]

    lacks_it = judge([plan("gram", source=source, base_cases=()), *now(1.0, 0)])
    assert (lacks_it.verdict, only(lacks_it).status) == ("fine", "new")
    here = plan("gram", source=source)
    assert only(judge([here, *stored, *now(1.0, 0)])).status == "unchanged"
    records = [here, *stored, *now(1.1, 0)]
    assert flagged_cases(records) == ("gram",)
    judgement = judge([*records, *now(1.1, 1)])
    assert (only(judgement).status, only(judgement).confirmed) == ("regressed", True)


def test_records_without_a_plan_are_no_run() -> None:
    with pytest.raises(ValueError, match="no plan"):
        judge(timed("gram"))
