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
    rates = {
        name: summary.rates[name, "end-to-end"].median.estimate for name in ("baseline", "tuned", "fast")
    }
    assert found["fast"].epoch_seconds == pytest.approx(7200 / rates["fast"])
    # The curve's last probe is at step 13, of 256 pairs each.
    to_end = 13 * 256 / rates["baseline"]
    assert found["baseline"].target_seconds == pytest.approx(to_end)
    row = {cells[0]: cells for cells in cost_table(summary).rows}
    assert row["baseline"][3:] == ("33.1 s", f"{3.6 * to_end / 3600:.3g} EUR")
    assert row["fast"][2] == f"{3.6 * 7200 / rates['fast'] / 3600:.3g} EUR"
    assert cost_table(summary).columns[3:] == ("to the baseline's final accuracy", "cost of that")
    (sentence,) = cost_sentences(summary)
    assert sentence.startswith("At 3.60 EUR an hour, an epoch of 7,200 images costs 0.0338 EUR with fast and")
    assert "and reaching the baseline's final accuracy costs 0.0156 EUR with fast and 0.0331 EUR" in sentence


def test_an_end_that_is_not_reached_has_no_cost(full_run: Any) -> None:
    full_run.plan |= {"price_per_hour": 3.6}
    full_run.records = [
        record.model_copy(update={"curve": record.curve[:-4]}) if record.subject == "fast" else record
        for record in full_run.records
        if record.kind == "accuracy"
    ] + [record for record in full_run.records if record.kind != "accuracy"]
    summary = summarise(full_run.report())
    row = {cells[0]: cells for cells in cost_table(summary).rows}
    assert row["fast"][3:] == ("not reached", "–")
    assert cost_sentences(summary) == (
        "At 3.60 USD an hour, fast does not reach the baseline's final accuracy.",
    )


def test_steps_of_no_known_time_have_no_cost(full_run: Any) -> None:
    """Trained side by side, and no speed end to end."""
    full_run.plan |= {"price_per_hour": 3.6}
    full_run.records = [
        record.model_copy(update={"side_by_side": 2})
        for record in full_run.records
        if record.kind == "accuracy"
    ]
    summary = summarise(full_run.report())
    assert costs(summary) == ()
    assert cost_sentences(summary) == ()


def test_a_target_of_the_users_is_timed_from_the_curves(full_run: Any) -> None:
    full_run.plan |= {"price_per_hour": 3600.0, "target_accuracy_percent": 50.0}
    summary = summarise(full_run.report())
    found = {cost.scenario: cost for cost in costs(summary)}
    # The baseline's seeds end at 61.2 % on average: 61.2 − 22·0.75² = 48.8 at step 2, 51.9 at step 3.
    for name in ("baseline", "fast"):
        rate = summary.rates[name, "end-to-end"].median.estimate
        assert found[name].target_seconds == pytest.approx(3 * 256 / rate)
    (sentence,) = cost_sentences(summary)
    assert (
        "reaching 50.0 % linear accuracy costs 3.61 USD with fast and 7.65 USD with baseline (0.47×)"
        in sentence
    )
