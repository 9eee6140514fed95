"""What the records of a ladder say of each change."""

import pytest

from bench.changes import BASES, ladder_scenarios, plan_ladder
from bench.compare import Interval
from bench.ladder import Ladder, judge, read_ladder
from bench.record import Mode, Plan, Throughput

OBSTACLES = {
    "amp": "needs CUDA",
    "parallel_views": "needs two threads or more",
    "keep_memory": "needs glibc's malloc",
    "capture": "needs CUDA",
    "compile": "torch.compile finds no compiler",
    "apex": "needs CUDA",
}
FACTORS = {"channels_last": 1.25, "dali": 2.0, "fused_loss": 1.0, "foreach": 0.9}
NOISE = (1.0, 1.004, 0.996, 1.003, 0.997, 1.001)
RUNGS = plan_ladder(BASES["fast"] - OBSTACLES.keys(), OBSTACLES)
PLAN = Plan(
    command="test",
    device="cpu",
    data="a set",
    recipe={},
    recipe_fingerprint="0",
    scenarios=(),
    baseline="plain",
    contender="fast",
    rounds=len(NOISE),
    ladder=RUNGS,
)


def speed(name: str) -> float:
    base, *rest = name.replace("-", "+-").split("+")
    has = set(FACTORS) if base == "fast" else set()
    for edit in rest:
        has ^= {edit.removeprefix("-")}
    product = 1.0
    for change in has:
        product *= FACTORS[change]
    return product


def timed(name: str, number: int, mode: Mode = "end-to-end") -> Throughput:
    return Throughput(
        scenario=name,
        mode=mode,
        round=number,
        position=0,
        pid=1,
        batch_size=10,
        image_size=8,
        steps_per_window=1,
        window_seconds=(NOISE[(number + len(name)) % 6] / speed(name),),
    )


def measured(rounds: int = 6) -> list[Throughput]:
    return [timed(name, number) for name in ladder_scenarios(RUNGS) for number in range(rounds)]


def read(records: list[Throughput], mode: Mode = "end-to-end") -> Ladder:
    found = read_ladder(PLAN, records, mode)
    assert found is not None
    return found


def test_effects_are_those_that_were_put_in_both_ways() -> None:
    ladder = read(measured())
    rungs = {rung.change: rung for rung in ladder.rungs}
    for change, factor in FACTORS.items():
        for effect in (rungs[change].forwards, rungs[change].backwards):
            assert effect is not None
            assert effect.estimate == pytest.approx(factor, rel=0.01)
            assert effect.low <= factor * 1.005
            assert effect.high >= factor * 0.995
    assert {change: rung.paid for change, rung in rungs.items()} == {
        "amp": "not here",
        "channels_last": "pays",
        "dali": "pays",
        "fused_loss": "does not pay",
        "foreach": "does not pay",
        "parallel_views": "not here",
        "keep_memory": "not here",
        "capture": "not here",
        "compile": "not here",
        "apex": "not here",
    }
    assert rungs["amp"].missing == "needs CUDA"
    assert ladder.total is not None
    assert ladder.total.estimate == pytest.approx(2.25, rel=0.01)
    assert ladder.multiplied == pytest.approx(2.25, rel=0.02)


def test_a_scenario_that_failed_takes_its_two_rungs_with_it_and_no_others() -> None:
    ladder = read([record for record in measured() if record.scenario != "plain+channels_last"])
    rungs = {rung.change: rung for rung in ladder.rungs}
    assert rungs["channels_last"].forwards is None
    assert rungs["dali"].forwards is None
    assert rungs["channels_last"].paid == rungs["dali"].paid == "pays", "by what is left, backwards"
    assert rungs["fused_loss"].forwards is not None
    assert ladder.total is not None


def test_few_rounds_decide_nothing() -> None:
    ladder = read(measured(rounds=5))
    assert {rung.paid for rung in ladder.rungs} == {"undecided", "not here"}


def test_without_a_ladder_or_a_measurement_there_is_none() -> None:
    assert read_ladder(PLAN.model_copy(update={"ladder": ()}), measured(), "end-to-end") is None
    assert read_ladder(PLAN, measured(), "compute-only") is None


def interval(low: float, high: float, samples: int = 6) -> Interval:
    return Interval(estimate=(low + high) / 2, low=low, high=high, samples=samples)


def test_a_change_is_judged_by_both_its_effects() -> None:
    gain, loss, either, nothing = (
        interval(1.1, 1.2),
        interval(0.8, 0.9),
        interval(0.9, 1.1),
        interval(0.99, 1.01),
    )
    assert judge([gain, gain]) == "pays"
    assert judge([gain]) == "pays"
    assert judge([loss, nothing]) == "does not pay"
    assert judge([gain, loss]) == "undecided"
    assert judge([gain, nothing]) == "undecided"
    assert judge([either]) == "undecided"
    assert judge([gain, interval(1.1, 1.2, samples=5)]) == "undecided"
    assert judge([]) == "undecided"
