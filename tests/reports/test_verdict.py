"""The wording of every case, against numbers computed by hand.

Intervals by hand: of eight rounds, four at a and four at b, the bootstrap's 2.5 % and 97.5 % quantiles of the
median are a and b themselves, since five draws or more of eight fall on one side with probability 0.36; the
estimate is √(ab). Of three seeds with differences of mean m and standard deviation s, Student's interval is
m ± 4.303·s/√3.
"""

import pytest

from bench.record import Startup
from reports.verdict import verdict


def halves(low: float, high: float) -> list[float]:
    return [low] * 4 + [high] * 4


@pytest.fixture
def measured(new_run):
    """Eight rounds and three seeds of `fast` over a baseline of 100 pairs/s and 60 %."""

    def make(speeds=(200.0, 220.0), host=0.8, points=(0.0, 0.4, 0.8)):
        run = new_run(rounds=8, seeds=(0, 1, 2))
        run.throughput("baseline", [100.0] * 8).throughput("fast", halves(*speeds))
        run.memory("baseline", 2.0).memory("fast", host)
        return run.accuracy("baseline", [60.0] * 3).accuracy("fast", [60.0 + p for p in points])

    return make


def test_faster_smaller_and_the_same_accuracy(measured) -> None:
    said = verdict(measured().report())
    assert said.headline == (
        "vicreg-fast against baseline: 2.1× the speed, 0.4× the memory, the same accuracy "
        "(60.4 against 60.0 %)."
    )
    assert said.tone == "good"
    assert [card.tone for card in said.cards] == ["good"] * 3
    assert [card.line for card in said.cards] == [
        "Speed, end to end: 2.1× (95 % interval 2.0–2.2, 8 rounds)",
        "Memory, host peak over start: 0.40× (0.80 GiB against 2.00 GiB)",
        "Linear accuracy: +0.4 points (60.4 against 60.0 %; 95 % interval −0.6 to +1.4, 3 seeds; "
        "non-inferior within 2.0 points)",
    ]
    assert said.caveats == ()


def test_slower_is_said_to_be_slower(measured) -> None:
    said = verdict(measured(speeds=(75.0, 85.0)).report())
    # √(0.75·0.85) = 0.798
    assert said.headline.startswith("vicreg-fast against baseline: slower, at 0.8× the speed, 0.4× the")
    assert said.tone == "bad"


@pytest.mark.parametrize(
    # √(0.9·1.1) = 0.99499, √(0.95·1.15) = 1.0452
    ("speeds", "value"),
    [((90.0, 110.0), "0.99×"), ((95.0, 115.0), "1.05×"), ((100.0, 108.0), "1.04×")],
)
def test_an_interval_around_one_decides_nothing(measured, speeds, value: str) -> None:
    said = verdict(measured(speeds=speeds).report())
    assert f": speed not shown to differ ({value}), 0.4× the memory" in said.headline
    assert said.tone == "open"


def test_a_narrow_interval_gets_the_digits_that_tell_its_ends_apart(measured) -> None:
    for speeds, shown in (((211.0, 213.0), "2.11–2.13"), ((211.2, 211.4), "2.112–2.114")):
        assert f"95 % interval {shown}," in verdict(measured(speeds=speeds).report()).cards[0].detail


@pytest.mark.parametrize(
    ("host", "words", "tone"),
    [
        (3.0, "1.5× the memory", "bad"),
        (2.5, "1.25× the memory", "bad"),
        (2.0, "the same memory", "good"),
        (2.001, "the same memory", "good"),
        (1.97, "0.98× the memory", "good"),
    ],
)
def test_more_equal_and_less_memory(measured, host: float, words: str, tone: str) -> None:
    said = verdict(measured(host=host).report())
    assert f"the speed, {words}, the same accuracy" in said.headline
    assert said.cards[1].tone == said.tone == tone


@pytest.mark.parametrize(
    ("points", "words", "detail", "tone"),
    [
        # s = 0.2: half-width 4.303·0.2/√3 = 0.497
        (
            (-5.0, -5.2, -4.8),
            "lower accuracy (55.0 against 60.0 %)",
            "95 % interval −5.5 to −4.5, 3 seeds; inferior by more than 2.0 points",
            "bad",
        ),
        (
            (5.0, 5.2, 4.8),
            "better accuracy (65.0 against 60.0 %)",
            "95 % interval +4.5 to +5.5, 3 seeds; non-inferior within 2.0 points",
            "good",
        ),
        # shown to be lower, and by less than the margin
        (
            (-1.0, -1.2, -0.8),
            "the same accuracy within 2.0 points (59.0 against 60.0 %)",
            "95 % interval −1.5 to −0.5, 3 seeds; non-inferior within 2.0 points",
            "good",
        ),
        # s = 3: half-width 7.453
        (
            (-3.0, 0.0, 3.0),
            "accuracy undecided (60.0 against 60.0 %)",
            "95 % interval −7.5 to +7.5, 3 seeds; undecided within 2.0 points",
            "open",
        ),
    ],
)
def test_accuracy_is_lower_better_the_same_or_undecided(
    measured, points, words: str, detail: str, tone: str
) -> None:
    said = verdict(measured(points=points).report())
    assert said.headline.endswith(f", {words}.")
    assert said.cards[2].detail.endswith(f"; {detail}")
    assert said.tone == tone


def test_an_undecided_accuracy_says_how_many_seeds_would_decide(measured) -> None:
    """s = 3 and a mean of 0: n seeds decide within 2 points where t(n − 1)·3/√n < 2, from n = 12 on
    (2.201·3/√12 = 1.906; 2.228·3/√11 = 2.015)."""
    said = verdict(measured(points=(-3.0, 0.0, 3.0)).report())
    assert said.caveats == ("Some 12 seeds would decide the accuracy of vicreg-fast.",)


def test_one_seed_decides_nothing(new_run) -> None:
    said = verdict(new_run().accuracy("baseline", [60.0]).accuracy("fast", [63.0]).report())
    assert said.headline == (
        "vicreg-fast against baseline: accuracy undecided on one seed (63.0 against 60.0 %), "
        "speed and memory not compared."
    )
    assert said.cards[2].line == (
        "Linear accuracy: +3.0 points (63.0 against 60.0 %; one seed, so no interval; undecided within "
        "2.0 points)"
    )
    assert said.tone == "open"


def test_seeds_without_a_partner_are_not_compared(new_run) -> None:
    run = new_run(seeds=(0, 1)).accuracy("baseline", [60.0]).accuracy("fast", [61.0, 61.0])
    del run.records[1]
    said = verdict(run.report())
    assert said.headline.endswith("speed, memory and accuracy not compared.")
    assert said.cards[2].detail == "no common seed"
    assert "vicreg-fast was probed without 1 of 2 planned seeds." in said.caveats


@pytest.mark.parametrize(("rounds", "said_rounds"), [(1, "1 round"), (3, "3 rounds"), (5, "5 rounds")])
def test_few_rounds_decide_nothing(new_run, rounds: int, said_rounds: str) -> None:
    run = new_run(rounds=6).throughput("baseline", [100.0] * rounds).throughput("fast", [210.0] * rounds)
    said = verdict(run.report())
    assert said.headline.startswith(f"vicreg-fast against baseline: speed undecided (2.1× in {said_rounds}),")
    assert said.cards[0].tone == "open"
    assert f"vicreg-fast finished {rounds} of 6 rounds end to end." in said.caveats
    few = f"vicreg-fast has {rounds} rounds to compare: a 95 % interval of a median takes 6"
    assert any(line.startswith(few) for line in said.caveats) == (rounds > 1)


def test_nothing_measured_is_said_once(new_run) -> None:
    said = verdict(new_run().report())
    assert said.headline == "vicreg-fast against baseline: speed, memory and accuracy not compared."
    assert [card.value for card in said.cards] == ["not compared"] * 3
    assert said.tone == "open"
    assert said.sections == ()
    assert said.unmeasured == (
        "What bounds vicreg-fast was not measured: it takes rounds end to end and compute-only.",
        "The linear accuracy of vicreg-fast was not measured.",
    )


def test_what_was_not_measured_is_no_caveat_and_comes_last(measured) -> None:
    run = measured()
    run.plan["energy"] = "not measured: no counter"
    said = verdict(run.report())
    assert said.caveats == ()
    assert said.unmeasured == (
        "What bounds vicreg-fast was not measured: it takes rounds end to end and compute-only.",
        "No floor was probed, so how much of the accuracy is learnt is unknown.",
        "Energy was not measured: no counter.",
    )


def test_compute_alone_stands_in_only_under_its_name(new_run) -> None:
    run = new_run().throughput("baseline", [100.0] * 8, "compute-only")
    said = verdict(run.throughput("fast", halves(200.0, 220.0), "compute-only").report())
    assert said.headline == (
        "vicreg-fast against baseline: 2.1× the speed on compute alone, memory and accuracy not compared."
    )
    assert said.cards[0].value == "not compared"


def test_a_host_peak_is_never_divided_by_a_device_peak(new_run) -> None:
    said = verdict(new_run().memory("baseline", 2.0).memory("fast", 1.0, device=4.0).report())
    assert said.headline.endswith("speed, memory and accuracy not compared.")
    device = verdict(new_run().memory("baseline", 2.0, device=8.0).memory("fast", 3.0, device=4.0).report())
    assert ": 0.5× the device memory, " in device.headline


@pytest.mark.parametrize(
    ("setups", "said"),
    [
        ({"baseline": 6.0, "fast": 9.04}, "; set-up 9.0 s against 6.0 s"),
        ({"fast": 91.4}, "; set-up 91 s"),
        ({"baseline": 6.0}, ", 8 rounds"),
    ],
)
def test_the_speed_says_what_the_first_step_costs(measured, setups: dict[str, float], said: str) -> None:
    run = measured()
    run.records += [Startup(scenario=name, seconds=spent) for name, spent in setups.items()]
    assert verdict(run.report()).cards[0].detail.endswith(said)


@pytest.mark.parametrize("name", ["fast", "baseline"])
def test_a_failure_turns_the_verdict(measured, name: str) -> None:
    said = verdict(measured().failure(name, "linear probe", "out of memory").report())
    shown = {"fast": "vicreg-fast"}.get(name, name)
    assert said.headline.endswith(f"(60.4 against 60.0 %); {shown} failed during linear probe.")
    assert said.tone == "bad"
    assert said.caveats == (f"{shown} failed during linear probe: out of memory",)


def test_a_failure_of_another_scenario_is_a_caveat_only(measured) -> None:
    said = verdict(measured().failure("tuned", "throughput", "no compiler").report())
    assert said.tone == "good"
    assert said.caveats == ("tuned failed during throughput: no compiler",)


def test_problems_with_the_records_are_counted_in_the_headline(measured) -> None:
    assert verdict(measured().line("{\n").report()).headline.endswith(
        "; 1 problem with the records is listed below."
    )
    two = verdict(measured().line("{\n{\n").report())
    assert two.headline.endswith("; 2 problems with the records are listed below.")


def test_a_baseline_alone_is_not_compared_with_itself(new_run) -> None:
    run = new_run("baseline", contender="baseline").throughput("baseline", [120.0]).memory("baseline", 0.5)
    said = verdict(run.accuracy("baseline", [60.0]).report())
    assert said.headline == (
        "baseline makes 120 pairs/s end to end, peaks at 512 MiB and reaches 60.0 % linear accuracy; "
        "there is nothing to compare it with."
    )
    assert said.tone == "open"


def test_every_other_scenario_has_its_sentence(measured) -> None:
    said = verdict(measured().throughput("tuned", [130.0] * 8).memory("tuned", 1.7).report())
    assert said.others == (
        "tuned against baseline: 1.3× the speed, 0.85× the memory, accuracy not compared.",
    )
