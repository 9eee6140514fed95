"""What training costs at the price that the user gave: an epoch, and an accuracy. Nothing without a price."""

import math
import statistics
from dataclasses import dataclass

from reports.summary import Summary
from reports.tables import Table
from reports.text import NOTHING, amount, percent, times
from reports.time_to_accuracy import course, races


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Of one scenario, in seconds of the machine; None for what was not measured."""

    scenario: str
    epoch_seconds: float | None
    """Images of an epoch ÷ pairs/s end to end."""
    target_seconds: float | None
    """Median over seeds of the training time at the first probe that reaches the target, without the probes;
    None where a seed never does."""
    seeds: int
    """That could reach it: they have a curve."""


def price(summary: Summary) -> float | None:
    """Of an hour; None where none was given that one could reckon with."""
    given = summary.plan.price_per_hour
    return given if given is not None and math.isfinite(given) and given > 0 else None


def target(summary: Summary) -> float | None:
    """The accuracy whose cost the user asked for, in [0, 1]; None stands for where the baseline ends, seed by
    seed, as in `reports.time_to_accuracy`."""
    asked = summary.plan.target_accuracy_percent
    return asked / 100 if asked is not None and 0 < asked <= 100 else None


def costs(summary: Summary) -> tuple[Cost, ...]:
    """Of every scenario of which something is known; empty without a price."""
    if price(summary) is None:
        return ()
    found = []
    for name in summary.scenarios:
        rate, images = summary.rates.get((name, "end-to-end")), summary.plan.epoch_images
        reached = _reached(summary, name)
        there = [seconds for seconds in reached if seconds is not None]
        cost = Cost(
            scenario=name,
            epoch_seconds=images / rate.median.estimate
            if rate is not None and images and images > 0
            else None,
            target_seconds=statistics.median(there) if there and len(there) == len(reached) else None,
            seeds=len(reached),
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
        text = f"{plan.contender} does not reach {aim} in every seed"
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


def _reached(summary: Summary, name: str) -> list[float | None]:
    """Seconds to the target of each seed with a curve; None for a seed that never gets there."""
    goal = target(summary)
    if goal is None:
        return [race.seconds[name] for race in races(summary) if name in race.seconds]
    curves = [course(a) for a in summary.report.accuracies if a.subject == name and a.curve]
    return [next((at for at, level in points if level >= goal), None) for points in curves]


def _aim(summary: Summary) -> str:
    goal = target(summary)
    if goal is None:
        return f"the final accuracy of {summary.plan.baseline}"
    return f"{percent(goal)} linear accuracy"


def _time_to(cost: Cost) -> str:
    if cost.target_seconds is not None:
        return f"{amount(cost.target_seconds)} s"
    return "not in every seed" if cost.seeds else NOTHING


def _money(summary: Summary, seconds: float | None) -> str:
    hourly = price(summary)
    if seconds is None or hourly is None:
        return NOTHING
    money = hourly * seconds / 3600
    return f"{money:,.2f} {summary.plan.currency}" if money >= 1 else f"{money:.3g} {summary.plan.currency}"
