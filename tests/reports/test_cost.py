"""What a report says of the cost of an epoch and of an accuracy."""

import dataclasses
import math
from typing import Any

import pytest

from reports.cost import cost_sentences, cost_table, costs
from reports.summary import summarise


def test_nothing_costs_anything_without_a_price(full_run: Any) -> None:
    full_run.plan["epoch_images"] = 1000
    summary = summarise(full_run.report())
    assert costs(summary) == ()
    assert cost_table(summary).rows == ()
    assert cost_sentences(summary) == ()


@pytest.mark.parametrize("price", [math.nan, math.inf, 0.0, -3.0])
def test_a_price_that_is_none_is_none(price: float, full_run: Any) -> None:
    summary = summarise(full_run.report())
    report = dataclasses.replace(
        summary.report, plan=summary.plan.model_copy(update={"price_per_hour": price})
    )
    assert costs(summarise(report)) == ()


def test_an_epoch_and_an_accuracy_cost_what_their_time_does(full_run: Any) -> None:
    full_run.plan |= {"epoch_images": 7200, "price_per_hour": 3.6, "currency": "EUR"}
    summary = summarise(full_run.report())
    found = {cost.scenario: cost for cost in costs(summary)}
    rate = summary.rates["fast", "end-to-end"].median.estimate
    assert found["fast"].epoch_seconds == pytest.approx(7200 / rate)
    assert found["baseline"].target_seconds == pytest.approx(260.0), "a seed at a time: where each one ends"
    row = {cells[0]: cells for cells in cost_table(summary).rows}
    assert row["baseline"][3:] == ("260 s", "0.26 EUR")
    # tuned's seed 1 ends 0.7 points below the baseline's
    assert row["tuned"][3:] == ("not in every seed", "–")
    assert row["fast"][2] == f"{3.6 * 7200 / rate / 3600:.3g} EUR"
    assert cost_table(summary).columns[3:] == ("to the final accuracy of baseline", "cost of that")
    (sentence,) = cost_sentences(summary)
    assert sentence.startswith("At 3.60 EUR an hour, an epoch of 7,200 images costs 0.0338 EUR with fast and")
    assert "fast does not reach the final accuracy of baseline in every seed" in sentence


def test_a_target_of_the_users_is_timed_from_the_curves(full_run: Any) -> None:
    full_run.plan |= {"price_per_hour": 3600.0, "target_accuracy_percent": 50.0}
    summary = summarise(full_run.report())
    found = {cost.scenario: cost for cost in costs(summary)}
    # 50 % after 40 of the baseline's seconds in two seeds (61.0 and 62.1 at the end): 61 − 22·0.75² = 48.6 at
    # 40 s, 51.7 at 60 s.
    assert found["baseline"].target_seconds == pytest.approx(60.0)
    assert found["fast"].target_seconds == pytest.approx(60.0 / 2.1)
    (sentence,) = cost_sentences(summary)
    assert (
        "reaching 50.0 % linear accuracy costs 28.57 USD with fast and 60.00 USD with baseline (0.48×)"
        in sentence
    )
