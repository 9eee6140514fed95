"""How long a scenario trains to get where the baseline ends, seed for seed.

The goal of a seed is the baseline's own final accuracy with that seed, and the time is that of the first
probe at or above it, without the probes' own: nothing between two probes is guessed at, so coarse probes
make every time too long, the baseline's as well. A baseline that passes its final accuracy on the way is
timed there.
"""

import statistics
from collections.abc import Mapping
from dataclasses import dataclass

from bench.record import Accuracy
from reports.summary import Summary
from reports.tables import Table
from reports.text import NOTHING, amount, percent, plural, times

NEVER = "not reached"


@dataclass(frozen=True, kw_only=True)
class Race:
    """One seed."""

    seed: int
    goal: float
    """The baseline's final linear accuracy, in [0, 1]."""
    seconds: Mapping[str, float | None]
    """Scenario with a curve to its seconds of training; None where it never gets there."""


def course(accuracy: Accuracy) -> list[tuple[float, float]]:
    """(seconds, accuracy in [0, 1]) in order of time, the end included."""
    points = sorted((point.seconds, point.linear_top1) for point in accuracy.curve)
    if points and accuracy.pretrain_seconds > points[-1][0]:
        points.append((accuracy.pretrain_seconds, accuracy.linear_top1))
    return points


def races(summary: Summary) -> tuple[Race, ...]:
    """Of each seed with a curve of the baseline, in their order."""
    runs = {
        (accuracy.subject, accuracy.seed): accuracy
        for accuracy in summary.report.accuracies
        if accuracy.curve and accuracy.subject in summary.scenarios
    }
    found = []
    for seed in sorted({seed for name, seed in runs if name == summary.plan.baseline}):
        goal = runs[summary.plan.baseline, seed].linear_top1
        seconds = {
            name: next((at for at, level in course(runs[name, seed]) if level >= goal), None)
            for name in summary.scenarios
            if (name, seed) in runs
        }
        if seconds[summary.plan.baseline] is not None:  # else its records do not say when it got there
            found.append(Race(seed=seed, goal=goal, seconds=seconds))
    return tuple(found)


def race_sentence(summary: Summary, scenario: str) -> str | None:
    """Whether and when `scenario` gets where the baseline ends; None where no seed has both curves."""
    baseline = summary.plan.baseline
    run = [race for race in races(summary) if scenario in race.seconds]
    if not run or scenario == baseline:
        return None
    there = [race for race in run if race.seconds[scenario] is not None]
    where = f"the final accuracy of {baseline}"
    if not there:
        return f"{scenario} does not reach {where} in any of {plural(len(run), 'seed')}"
    mine, theirs = (
        statistics.median([race.seconds[name] or 0.0 for race in there]) for name in (scenario, baseline)
    )
    medians = "" if len(there) == 1 else f" (medians of {len(there)} seeds)"
    if len(there) == len(run):
        return (
            f"{scenario} reaches {where} after {amount(mine)} s, {baseline} after {amount(theirs)} s{medians}"
        )
    return (
        f"{scenario} reaches {where} in {len(there)} of {plural(len(run), 'seed')}, there after "
        f"{amount(mine)} s against {amount(theirs)} s{medians}"
    )


def race_table(summary: Summary) -> Table:
    """A row a scenario and seed: how long to the baseline's final accuracy with that seed."""
    baseline = summary.plan.baseline
    rows = []
    for name in summary.scenarios:
        for race in races(summary):
            if name not in race.seconds:
                continue
            mine, theirs = race.seconds[name], race.seconds[baseline]
            sooner = NOTHING
            if name != baseline and mine and theirs:
                sooner = times(theirs / mine)
            shown = NEVER if mine is None else f"{amount(mine)} s"
            rows.append((name, str(race.seed), percent(race.goal), shown, sooner))
    columns = ("scenario", "seed", f"{baseline} ends at", "reached after", "as soon")
    return Table(title="Time to the baseline's accuracy", columns=columns, rows=tuple(rows), names=2)
