"""When a scenario gets to where the baseline ends, what its time is, and the picture of it."""

import re

import pytest

from bench.record import AccuracyPoint
from reports.curves import curve_picture
from reports.summary import summarise
from reports.time_to_accuracy import MeanPoint, clock, mean_course, race, race_sentence, race_table


def seeds(run, name: str, *levels: tuple[float, ...], step: float = 10.0, **fields):
    """A seed for each of `levels`, probed every `step` seconds and every 100 steps; the last is its final
    accuracy."""
    for seed, mine in enumerate(levels):
        points = tuple(
            AccuracyPoint(step=100 * (i + 1), seconds=step * (i + 1), linear_top1=level / 100)
            for i, level in enumerate(mine)
        )
        run.accuracy(name, [mine[-1]])
        run.records[-1] = run.records[-1].model_copy(update={"seed": seed, "curve": points, **fields})
    return run


def drawn(run):
    picture = curve_picture(summarise(run.report()))
    assert picture is not None
    return picture


def test_the_goal_is_where_the_baselines_seeds_end_on_average(new_run) -> None:
    run = seeds(new_run(), "baseline", (30.0, 50.0, 60.0), (20.0, 30.0, 40.0), step=20.0)
    seeds(run, "fast", (40.0, 61.0, 62.0), (30.0, 39.0, 39.0))
    found = race(summarise(run.report()))
    assert found is not None
    assert found.goal == pytest.approx(0.5)
    assert found.reached == {"baseline": 60.0, "fast": 20.0}  # (61 + 39) / 2 is at the goal


def test_a_baseline_that_passes_its_end_on_the_way_is_timed_there(new_run) -> None:
    run = seeds(seeds(new_run(), "baseline", (30.0, 65.0, 60.0)), "fast", (60.0, 61.0, 62.0))
    found = race(summarise(run.report()))
    assert found is not None
    assert found.reached == {"baseline": 20.0, "fast": 10.0}


@pytest.mark.parametrize(
    ("levels", "sentence"),
    [
        (
            ((50.0, 61.0), (50.0, 42.0)),
            "fast reaches the baseline's final accuracy after 10 s, baseline after 20 s",
        ),
        (
            ((50.0, 55.0), (30.0, 39.0)),
            "fast does not reach the baseline's final accuracy: it ends at 47.0 %, baseline at 50.0 %",
        ),
        (((50.0, 55.0),), "fast reaches the baseline's final accuracy after 10 s, baseline after 20 s"),
    ],
)
def test_the_sentence_is_of_the_means(new_run, levels, sentence: str) -> None:
    run = seeds(seeds(new_run(), "baseline", (50.0, 60.0), (30.0, 40.0)), "fast", *levels)
    summary = summarise(run.report())
    assert race_sentence(summary, "fast") == sentence
    assert race_sentence(summary, "baseline") is None
    assert drawn(run).title == sentence


def test_a_time_is_steps_at_the_speed_of_the_scenario_alone(new_run) -> None:
    """Trained side by side, in any number of seconds: 256 pairs a step at 512 and 1280 pairs/s."""
    run = new_run().throughput("baseline", [512.0] * 3).throughput("fast", [1280.0] * 3)
    seeds(run, "baseline", (30.0, 60.0), step=77.0, side_by_side=4)
    seeds(run, "fast", (60.0, 62.0), step=99.0, side_by_side=4)
    summary = summarise(run.report())
    assert clock(summary).unit == "s"
    found = race(summary)
    assert found is not None
    assert found.reached == {"baseline": pytest.approx(100.0), "fast": pytest.approx(20.0)}
    assert race_sentence(summary, "fast") == (
        "fast reaches the baseline's final accuracy after 20 s, baseline after 100 s"
    )
    picture = drawn(run)
    assert "Time: the steps so far at the speed that a scenario was measured at by itself" in picture.caption
    assert "training time (s)" in picture.svg
    assert re.findall(r">(20 s|100 s)</text>", picture.svg) == ["100 s", "20 s"]


def test_a_speed_on_compute_alone_is_no_speed_of_training(new_run) -> None:
    run = new_run().throughput("baseline", [512.0], "compute-only")
    assert clock(summarise(seeds(run, "baseline", (30.0, 60.0)).report())).step_seconds == {}


def test_without_a_speed_a_training_alone_goes_by_its_own_seconds(new_run) -> None:
    run = new_run().throughput("baseline", [512.0] * 3)
    seeds(seeds(run, "baseline", (30.0, 60.0), step=77.0), "fast", (60.0, 62.0), step=9.0)
    found = race(summarise(run.report()))
    assert found is not None
    assert found.reached == {"baseline": pytest.approx(100.0), "fast": 9.0}
    assert drawn(run).caption.endswith("; of fast: what its training recorded, without the probes.")
    only = seeds(new_run(), "fast", (60.0, 62.0))
    assert drawn(only).caption.endswith("Time: what its training recorded, without the probes.")


def test_without_a_speed_trainings_side_by_side_are_laid_out_over_steps(new_run) -> None:
    run = new_run().throughput("baseline", [512.0] * 3)
    seeds(run, "baseline", (30.0, 60.0), side_by_side=2)
    seeds(run, "fast", (60.0, 62.0), side_by_side=2)
    summary = summarise(run.report())
    assert race_sentence(summary, "fast") == (
        "fast reaches the baseline's final accuracy after 100 steps, baseline after 200 steps"
    )
    picture = drawn(run)
    assert "training steps" in picture.svg
    assert "training time" not in picture.svg
    assert picture.caption.endswith(
        "In steps: no speed of fast was measured, and trainings shared the machine."
    )
    assert [row[2] for row in race_table(summary).rows] == ["200 steps", "100 steps"]


def test_a_curve_that_stops_before_its_end_sets_no_goal(new_run) -> None:
    run = new_run().accuracy("baseline", [60.0], [(10.0, 50.0)])
    assert race(summarise(seeds(run, "fast", (61.0,)).report())) is None


def test_without_a_curve_of_both_there_is_no_race(new_run) -> None:
    run = seeds(new_run(), "fast", (50.0, 60.0))
    run.accuracy("baseline", [60.0])
    summary = summarise(run.report())
    assert race_sentence(summary, "fast") is None
    assert race_table(summary).rows == ()
    assert drawn(run).title == "fast ends at 60.0 %"
    assert curve_picture(summarise(new_run().report())) is None


def test_the_table_has_a_row_a_scenario(new_run) -> None:
    run = seeds(seeds(new_run("baseline", "fast", "tuned"), "baseline", (30.0, 60.0)), "fast", (61.0, 62.0))
    seeds(run, "tuned", (1.0, 2.0), (3.0, 4.0))
    assert race_table(summarise(run.report())).rows == (
        ("baseline", "60.0 %", "20 s", "–", "1"),
        ("fast", "62.0 %", "10 s", "2.0×", "1"),
        ("tuned", "3.0 %", "not reached", "–", "2"),
    )


def test_mean_and_band_are_of_the_steps_that_all_seeds_share(new_run) -> None:
    run = seeds(new_run(), "fast", (10.0, 20.0, 30.0))
    (short,) = seeds(new_run(), "fast", (20.0, 40.0), step=20.0).records
    run.records.append(short.model_copy(update={"seed": 1}))
    assert mean_course(summarise(run.report()), "fast") == [
        MeanPoint(at=15.0, mean=pytest.approx(0.15), low=0.1, high=0.2),
        MeanPoint(at=30.0, mean=pytest.approx(0.3), low=0.2, high=0.4),
    ]


def test_courses_that_share_no_step_have_no_mean(new_run) -> None:
    run = seeds(new_run(), "fast", (50.0,), (50.0,))
    late = AccuracyPoint(step=999, seconds=9.0, linear_top1=0.5)
    run.records[-1] = run.records[-1].model_copy(update={"curve": (late,)})
    assert mean_course(summarise(run.report()), "fast") == []
    assert "50.0 % after 10 s (2 seeds)" in drawn(run).alt


def test_floors_and_what_the_marks_are_are_said(full_run) -> None:
    picture = drawn(full_run)
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", picture.svg)
    assert "random trunk 40.8 %" in texts
    assert "raw pixels 37.1 %" in texts
    assert "Band: from the least seed to the greatest" in picture.caption
    assert "Diamonds: where each mean gets to baseline's final accuracy (dotted)." in picture.caption
    assert "Without pretraining: random trunk 40.8 %, raw pixels 37.1 %" in picture.alt
