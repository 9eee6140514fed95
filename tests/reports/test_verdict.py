"""The wording of every case, against numbers computed by hand.

Intervals by hand: of eight rounds, four at a and four at b, the bootstrap's 2.5 % and 97.5 % quantiles of the
median are a and b themselves, since five draws or more of eight fall on one side with probability 0.36; the
estimate is √(ab). Of three seeds with differences of mean m and standard deviation s, Student's interval is
m ± 4.303·s/√3.
"""

import pytest

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


def test_faster_smaller_and_non_inferior(measured) -> None:
    said = verdict(measured().report())
    assert said.headline == (
        "fast is 2.1× as fast as baseline end to end (95 % interval 2.0–2.2), peaks at 0.40× its memory, "
        "and its linear accuracy is non-inferior within 2.0 points (+0.4 over 3 seeds, 95 % interval −0.6 to "
        "+1.4)."
    )
    assert said.tone == "good"
    assert [card.tone for card in said.cards] == ["good"] * 3
    assert [card.value for card in said.cards] == ["2.1×", "0.40×", "+0.4 points"]
    assert said.caveats == ()


def test_slower_is_said_to_be_slower(measured) -> None:
    said = verdict(measured(speeds=(75.0, 85.0)).report())
    # √(0.75·0.85) = 0.798
    expected = "fast is slower than baseline, at 0.80× its speed end to end (95 % interval 0.75–0.85), peaks"
    assert said.headline.startswith(expected)
    assert said.tone == "bad"


def test_an_interval_around_one_decides_nothing(measured) -> None:
    said = verdict(measured(speeds=(90.0, 110.0)).report())
    # √(0.9·1.1) = 0.99499
    expected = (
        "fast is shown neither faster nor slower than baseline end to end (0.99×, 95 % interval 0.90–1.10)"
    )
    assert said.headline.startswith(expected)
    assert said.tone == "open"
    # √(0.95·1.15) = 1.0452
    above = verdict(measured(speeds=(95.0, 115.0)).report())
    assert above.headline.startswith(
        "fast is shown neither faster nor slower than baseline end to end (1.05×"
    )


def test_a_narrow_interval_gets_the_digits_that_tell_its_ends_apart(measured) -> None:
    said = verdict(measured(speeds=(211.0, 213.0)).report())
    assert said.headline.startswith("fast is 2.1× as fast as baseline end to end (95 % interval 2.11–2.13)")
    assert "(95 % interval 2.112–2.114)" in verdict(measured(speeds=(211.2, 211.4)).report()).headline


def test_more_memory_is_said_with_a_but(measured) -> None:
    said = verdict(measured(host=3.0).report())
    assert ", but peaks at a larger 1.50× its memory, and" in said.headline
    assert said.tone == "bad"
    assert said.cards[1].detail == "3.00 GiB against 2.00 GiB"


@pytest.mark.parametrize(
    ("points", "words", "tone"),
    [
        # s = 0.2: half-width 4.303·0.2/√3 = 0.497
        (
            (-5.0, -5.2, -4.8),
            "its linear accuracy is inferior by more than 2.0 points (−5.0 over 3 seeds, 95 % interval "
            "−5.5 to −4.5)",
            "bad",
        ),
        # s = 3: half-width 7.453
        (
            (-3.0, 0.0, 3.0),
            "whether its linear accuracy is non-inferior within 2.0 points is undecided "
            "(0.0 over 3 seeds, 95 % interval −7.5 to +7.5)",
            "open",
        ),
    ],
)
def test_inferior_and_undecided_accuracy(measured, points, words: str, tone: str) -> None:
    said = verdict(measured(points=points).report())
    assert said.headline.endswith(f"and {words}.")
    assert said.tone == tone


def test_an_undecided_accuracy_says_how_many_seeds_would_decide(measured) -> None:
    """s = 3 and a mean of 0: n seeds decide within 2 points where t(n − 1)·3/√n < 2, from n = 12 on
    (2.201·3/√12 = 1.906; 2.228·3/√11 = 2.015)."""
    said = verdict(measured(points=(-3.0, 0.0, 3.0)).report())
    assert said.caveats == (
        "The accuracy of fast is undecided over 3 seeds: were the seeds to go on differing as these do, some "
        "12 would decide.",
    )


def test_one_seed_decides_nothing(new_run) -> None:
    said = verdict(new_run().accuracy("baseline", [60.0]).accuracy("fast", [63.0]).report())
    assert "differs by +3.0 points on one seed, which cannot decide within 2.0 points" in said.headline
    assert said.cards[2].detail == "undecided: one seed, so no interval"
    assert said.tone == "open"


def test_seeds_without_a_partner_are_said_to_be_so(new_run) -> None:
    run = new_run(seeds=(0, 1)).accuracy("baseline", [60.0]).accuracy("fast", [61.0, 61.0])
    del run.records[1]
    said = verdict(run.report())
    assert "its linear accuracy shares no seed with baseline to compare by" in said.headline
    assert "fast was probed without 1 of 2 planned seeds." in said.caveats


def test_one_round_and_few_rounds_have_their_weight_said(new_run) -> None:
    one = verdict(new_run().throughput("baseline", [100.0]).throughput("fast", [210.0]).report())
    assert "neither faster nor slower than baseline" not in one.headline
    assert "2.1× as fast as baseline end to end (one round only, so no interval)" in one.headline
    assert one.cards[0].tone == "open"
    few = verdict(
        new_run(rounds=5).throughput("baseline", [100.0] * 3).throughput("fast", [210.0] * 3).report()
    )
    assert "(95 % interval 2.1–2.1, of only 3 rounds)" in few.headline
    assert few.cards[0].tone == "open"
    assert "fast finished 3 of 5 rounds end to end." in few.caveats
    assert any(
        line.startswith("fast has 3 rounds to compare: a 95 % interval of a median takes 6")
        for line in few.caveats
    )


def test_nothing_measured_is_said_three_times(new_run) -> None:
    said = verdict(new_run().report())
    assert said.headline == (
        "fast has no round in common with baseline to compare its speed by, has no memory to compare, "
        "and its linear accuracy was not measured."
    )
    assert [card.value for card in said.cards] == ["not compared"] * 3
    assert said.tone == "open"


def test_compute_alone_stands_in_only_under_its_name(new_run) -> None:
    run = new_run().throughput("baseline", [100.0] * 8, "compute-only")
    said = verdict(run.throughput("fast", halves(200.0, 220.0), "compute-only").report())
    assert "on compute alone (95 % interval 2.0–2.2) with end to end not compared" in said.headline
    assert said.cards[0].value == "not compared"


def test_a_host_peak_is_never_divided_by_a_device_peak(new_run) -> None:
    said = verdict(new_run().memory("baseline", 2.0).memory("fast", 1.0, device=4.0).report())
    assert "has no memory to compare" in said.headline
    device = verdict(new_run().memory("baseline", 2.0, device=8.0).memory("fast", 3.0, device=4.0).report())
    assert "peaks at 0.50× its device memory" in device.headline


@pytest.mark.parametrize("name", ["fast", "baseline"])
def test_a_failure_turns_the_verdict(measured, name: str) -> None:
    said = verdict(measured().failure(name, "linear probe", "out of memory").report())
    assert said.headline.endswith(f"; {name} failed during linear probe.")
    assert said.tone == "bad"
    assert said.caveats == (f"{name} failed during linear probe: out of memory",)


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
        "tuned is 1.30× as fast as baseline end to end (95 % interval 1.30–1.30), peaks at 0.85× its memory, "
        "and its linear accuracy was not measured.",
    )


@pytest.mark.parametrize(("wait", "words"), [(0.02, "shares its cores with"), (0.4, "is held back by")])
def test_a_loader_that_takes_cores_is_told_from_one_that_starves(new_run, wait: float, words: str) -> None:
    run = new_run().throughput("fast", [100.0] * 8, wait=wait).throughput("fast", [180.0] * 8, "compute-only")
    assert f"fast {words} its loader" in verdict(run.report()).paces[0]


@pytest.mark.parametrize(
    ("compute", "words"),
    [
        (
            180.0,
            "fast is held back by its loader: with a free one it would be 1.80× as fast "
            "(95 % interval 1.80–1.80; 100 pairs/s",
        ),
        (
            105.0,
            "fast is bound by compute: a free loader would make it 1.05× as fast "
            "(95 % interval 1.05–1.05; 100 pairs/s",
        ),
    ],
)
def test_what_sets_the_pace(new_run, compute: float, words: str) -> None:
    run = new_run().throughput("fast", [100.0] * 8).throughput("fast", [compute] * 8, "compute-only")
    run.throughput("baseline", [60.0] * 8, "compute-only").throughput("fast", [103.0], "loader-only")
    said = verdict(run.report())
    assert said.paces[0].startswith(words)
    ratio = {180.0: "3.0", 105.0: "1.75"}[compute]
    assert (
        f"103 pairs/s from the loader alone); on compute alone it is {ratio}× as fast as baseline"
        in said.paces[0]
    )


def test_an_interval_across_the_threshold_leaves_the_pace_open(new_run) -> None:
    run = new_run().throughput("fast", [100.0] * 8).throughput("fast", halves(101.0, 130.0), "compute-only")
    # √(1.01·1.30) = 1.146
    said = verdict(run.report()).paces[0]
    assert said.startswith(
        "Whether loader or compute bounds fast is undecided: a free loader would make it 1.15×"
    )
    assert verdict(new_run().report()).paces[0].startswith("What bounds fast was not measured")


def test_few_rounds_leave_the_pace_open(new_run) -> None:
    run = new_run().throughput("fast", [100.0] * 5).throughput("fast", [180.0] * 5, "compute-only")
    (said,) = verdict(run.report()).paces
    assert said.startswith(
        "Whether loader or compute bounds fast is undecided: a free loader would make it 1.80×"
    )
    assert "of only 5 rounds" in said


def test_floors_above_and_below(new_run) -> None:
    run = (
        new_run()
        .accuracy("fast", [61.0, 63.0])
        .accuracy("random-trunk", [40.5])
        .accuracy("raw-pixels", [64.0])
    )
    assert verdict(run.report()).floors == (
        "The linear probe of fast reaches 62.0 %: 21.5 points above a random trunk (40.5 %) "
        "and 2.0 points below raw pixels (64.0 %)."
    )
    alone = verdict(new_run().accuracy("fast", [61.0]).report())
    assert "no floor was probed, so how much of it is learnt is unknown" in alone.floors


def test_the_machine_and_what_else_it_was_doing(new_run) -> None:
    run = new_run()
    run.environment |= {"gpu": "Test GPU", "gpu_count": 8, "uncommitted_changes": True, "load_average": 7.5}
    said = verdict(run.report())
    assert said.machine == (
        "Measured on Test CPU (8 cores, 32.0 GiB), 8 × Test GPU, Linux 6.1, torch 2.15.0, "
        "commit 0123456789ab with uncommitted changes."
    )
    assert said.caveats == ("The machine was already busy when a run began: load 7.5 on 8 cores.",)
