"""What training costs at the price that the user gave: an epoch, and an accuracy. Nothing without a price."""

import math
from dataclasses import dataclass

from reports.summary import Summary
from reports.tables import Table
from reports.text import NOTHING, amount, percent, times
from reports.time_to_accuracy import NEVER, clock, curves, race, reached


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Of one scenario, in seconds of the machine; None for what was not measured."""

    scenario: str
    epoch_seconds: float | None
    """Images of an epoch ÷ pairs/s end to end."""
    target_seconds: float | None
    """Training time at the first probe at which the mean over seeds reaches the target; None where it never
    does."""
    seeds: int
    """That could reach it: they have a curve whose time is known."""


def price(summary: Summary) -> float | None:
    """Of an hour; None where none was given that one could reckon with."""
    given = summary.plan.price_per_hour
    return given if given is not None and math.isfinite(given) and given > 0 else None


def target(summary: Summary) -> float | None:
    """The accuracy whose cost is shown, in [0, 1]: what the user asked for, else where the baseline ends.

    None where neither is known."""
    if (asked := _asked(summary)) is not None:
        return asked
    run = race(summary)
    return run.goal if run is not None else None


def costs(summary: Summary) -> tuple[Cost, ...]:
    """Of every scenario of which something is known; empty without a price."""
    if price(summary) is None:
        return ()
    goal = target(summary) if clock(summary).unit == "s" else None
    found = []
    for name in summary.scenarios:
        rate, images = summary.rates.get((name, "end-to-end")), summary.plan.epoch_images
        epoch = images / rate.median.estimate if rate is not None and images and images > 0 else None
        cost = Cost(
            scenario=name,
            epoch_seconds=epoch,
            target_seconds=None if goal is None else reached(summary, name, goal),
            seeds=0 if goal is None else len(curves(summary, name)),
        )
        if cost.epoch_seconds is not None or cost.seeds:
            found.append(cost)
    return tuple(found)


def cost_table(summary: Summary) -> Table:
    """What an epoch and an accuracy cost; of an accuracy only where one was measured."""
    shown = 5 if any(cost.seeds for cost in costs(summary)) else 3
    rows = tuple(
        (
            cost.scenario,
            NOTHING if cost.epoch_seconds is None else f"{amount(cost.epoch_seconds)} s",
            _money(summary, cost.epoch_seconds),
            _time_to(cost),
            _money(summary, cost.target_seconds),
        )[:shown]
        for cost in costs(summary)
    )
    columns = ("scenario", "epoch", "cost of an epoch", f"to {_aim(summary)}", "cost of that")
    return Table(title="Cost", columns=columns[:shown], rows=rows)


def cost_sentences(summary: Summary) -> tuple[str, ...]:
    """The contender's cost beside the baseline's; none without a price."""
    hourly, found = price(summary), {cost.scenario: cost for cost in costs(summary)}
    plan, aim = summary.plan, _aim(summary)
    mine, theirs = found.get(plan.contender), found.get(plan.baseline)
    if hourly is None or mine is None:
        return ()
    said = []
    if mine.epoch_seconds is not None:
        text = f"an epoch of {plan.epoch_images:,} images costs {_money(summary, mine.epoch_seconds)} with "
        said.append(text + plan.contender + _beside(summary, mine.epoch_seconds, theirs, "epoch_seconds"))
    if mine.seeds:
        text = f"{plan.contender} does not reach {aim}"
        if mine.target_seconds is not None:
            text = f"reaching {aim} costs {_money(summary, mine.target_seconds)} with {plan.contender}"
            text += _beside(summary, mine.target_seconds, theirs, "target_seconds")
        said.append(text)
    if not said:
        return ()
    return (f"At {_money(summary, 3600)} an hour, {', and '.join(said)}.",)


def _beside(summary: Summary, mine: float, theirs: Cost | None, field: str) -> str:
    other = None if theirs is None or theirs.scenario == summary.plan.contender else getattr(theirs, field)
    if not other:
        return ""
    return f" and {_money(summary, other)} with {summary.plan.baseline} ({times(mine / other)})"


def _asked(summary: Summary) -> float | None:
    asked = summary.plan.target_accuracy_percent
    return asked / 100 if asked is not None and 0 < asked <= 100 else None


def _aim(summary: Summary) -> str:
    asked = _asked(summary)
    return "the baseline's final accuracy" if asked is None else f"{percent(asked)} linear accuracy"


def _time_to(cost: Cost) -> str:
    if cost.target_seconds is not None:
        return f"{amount(cost.target_seconds)} s"
    return NEVER if cost.seeds else NOTHING


def _money(summary: Summary, seconds: float | None) -> str:
    hourly = price(summary)
    if seconds is None or hourly is None:
        return NOTHING
    money = hourly * seconds / 3600
    return f"{money:,.2f} {summary.plan.currency}" if money >= 1 else f"{money:.3g} {summary.plan.currency}"
