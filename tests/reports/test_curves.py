"""When a scenario gets to where the baseline ends, and the picture of it."""

import re

import numpy as np
import pytest

from reports.curves import curve_picture, mean_and_band
from reports.summary import summarise
from reports.time_to_accuracy import course, race_sentence, race_table, races


def seeds(run, name: str, *levels: tuple[float, ...], step: float = 10.0):
    """A seed for each of `levels`, probed every `step` seconds; the last is its final accuracy."""
    for seed, mine in enumerate(levels):
        run.accuracy(name, [mine[-1]], [(step * (i + 1), level) for i, level in enumerate(mine)])
        run.records[-1] = run.records[-1].model_copy(update={"seed": seed})
    return run


def test_each_seed_has_the_goal_of_its_own_baseline(new_run) -> None:
    run = seeds(new_run(), "baseline", (30.0, 50.0, 60.0), (20.0, 30.0, 40.0), step=20.0)
    seeds(run, "fast", (50.0, 61.0, 62.0), (30.0, 35.0, 39.0))
    found = races(summarise(run.report()))
    assert [(race.seed, race.goal) for race in found] == [(0, 0.6), (1, 0.4)]
    assert found[0].seconds == {"baseline": 60.0, "fast": 20.0}
    assert found[1].seconds == {"baseline": 60.0, "fast": None}


def test_a_baseline_that_passes_its_end_on_the_way_is_timed_there(new_run) -> None:
    run = seeds(seeds(new_run(), "baseline", (30.0, 65.0, 60.0)), "fast", (60.0, 61.0, 62.0))
    (race,) = races(summarise(run.report()))
    assert race.seconds == {"baseline": 20.0, "fast": 10.0}


@pytest.mark.parametrize(
    ("levels", "sentence"),
    [
        (
            ((50.0, 61.0), (40.0, 42.0)),
            "fast reaches the final accuracy of baseline after 15.0 s, baseline after 20.0 s "
            "(medians of 2 seeds)",
        ),
        (
            ((50.0, 61.0), (30.0, 39.0)),
            "fast reaches the final accuracy of baseline in 1 of 2 seeds, there after 20.0 s against 20.0 s",
        ),
        (
            ((50.0, 55.0), (30.0, 39.0)),
            "fast does not reach the final accuracy of baseline in any of 2 seeds",
        ),
        (
            ((60.0, 55.0),),
            "fast reaches the final accuracy of baseline after 10.0 s, baseline after 20.0 s",
        ),
    ],
)
def test_the_sentence_counts_seeds(new_run, levels, sentence: str) -> None:
    run = seeds(seeds(new_run(), "baseline", (50.0, 60.0), (30.0, 40.0)), "fast", *levels)
    summary = summarise(run.report())
    assert race_sentence(summary, "fast") == sentence
    assert race_sentence(summary, "baseline") is None
    picture = curve_picture(summary)
    assert picture is not None
    assert picture.title == sentence


def test_a_curve_that_stops_before_its_end_sets_no_goal(new_run) -> None:
    run = new_run().accuracy("baseline", [60.0], [(10.0, 50.0)])
    assert races(summarise(seeds(run, "fast", (61.0,)).report())) == ()


def test_without_a_curve_of_both_there_is_no_race(new_run) -> None:
    run = seeds(new_run(), "fast", (50.0, 60.0))
    run.accuracy("baseline", [60.0])
    summary = summarise(run.report())
    assert race_sentence(summary, "fast") is None
    assert race_table(summary).rows == ()
    picture = curve_picture(summary)
    assert picture is not None
    assert picture.title == "fast ends at 60.0 %"
    assert curve_picture(summarise(new_run().report())) is None


def test_the_table_has_a_row_a_scenario_and_seed(new_run) -> None:
    run = seeds(seeds(new_run(), "baseline", (30.0, 60.0), (30.0, 40.0)), "fast", (61.0, 62.0), (1.0, 2.0))
    assert race_table(summarise(run.report())).rows == (
        ("baseline", "0", "60.0 %", "20.0 s", "–"),
        ("baseline", "1", "40.0 %", "20.0 s", "–"),
        ("fast", "0", "60.0 %", "10.0 s", "2.0×"),
        ("fast", "1", "40.0 %", "not reached", "–"),
    )


def test_the_end_of_training_belongs_to_the_course(new_run) -> None:
    (record,) = new_run().accuracy("fast", [60.0], [(20.0, 50.0), (10.0, 40.0)]).records
    later = record.model_copy(update={"pretrain_seconds": 30.0})
    assert course(later) == [(10.0, 0.4), (20.0, 0.5), (30.0, 0.6)]
    assert course(record) == [(10.0, 0.4), (20.0, 0.5)]


def test_mean_and_band_by_hand() -> None:
    times, mean, low, high = mean_and_band([[(0.0, 10.0), (10.0, 20.0)], [(5.0, 5.0), (15.0, 25.0)]])
    assert times.tolist() == [5.0, 10.0]  # from the last to begin to the first to end
    np.testing.assert_allclose(mean, [(15 + 5) / 2, (20 + 15) / 2])
    np.testing.assert_allclose(low, [5.0, 15.0])
    np.testing.assert_allclose(high, [15.0, 20.0])


def test_courses_that_share_no_time_have_no_mean(new_run) -> None:
    times, *_ = mean_and_band([[(0.0, 1.0), (1.0, 2.0)], [(5.0, 1.0), (6.0, 2.0)]])
    assert times.size == 0
    run = new_run().accuracy("fast", [60.0], [(1.0, 50.0)]).accuracy("fast", [60.0], [(9.0, 50.0)])
    run.records[-1] = run.records[-1].model_copy(update={"seed": 1})
    assert curve_picture(summarise(run.report())) is not None


def test_floors_the_margin_and_what_the_band_is_are_said(full_run) -> None:
    picture = curve_picture(summarise(full_run.report()))
    assert picture is not None
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", picture.svg)
    assert "random trunk 40.8 %" in texts
    assert "raw pixels 37.1 %" in texts
    assert "Band: from the least seed to the greatest" in picture.caption
    assert "up to 2.0 points below baseline's" in picture.caption
    assert "Without pretraining: random trunk 40.8 %, raw pixels 37.1 %" in picture.alt
