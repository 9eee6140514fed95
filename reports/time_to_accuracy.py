"""How long a scenario trains to get where the baseline ends.

Trainings may share the machine, and their own seconds then say nothing about it. So the time of a point of a
curve is its steps at the speed that the scenario was measured at, end to end: without set-up and probes.

The goal is the mean of the baseline's final accuracies over its seeds. The time to it is that of the first
point of a scenario's mean curve at or above it: nothing between two probes is guessed at, so coarse probes
make every time too long, the baseline's as well.
"""

import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from bench.record import Accuracy, AccuracyPoint
from reports.summary import Summary
from reports.tables import Table
from reports.text import NOTHING, listed, percent, plural, seconds, times

NEVER = "not reached"


@dataclass(frozen=True, kw_only=True)
class Clock:
    """What the curves of a report are laid out over."""

    unit: Literal["s", "steps"]
    step_seconds: Mapping[str, float]
    """Of each scenario whose speed was measured end to end."""
    recorded: tuple[str, ...]
    """Scenarios with a curve and without such a speed."""

    def at(self, scenario: str, point: AccuracyPoint) -> float:
        if self.unit == "steps":
            return float(point.step)
        if scenario in self.step_seconds:
            return point.step * self.step_seconds[scenario]
        return point.seconds

    def say(self, at: float) -> str:
        return seconds(at) if self.unit == "s" else plural(round(at), "step")

    def explain(self) -> str:
        """Where the times come from, for a caption."""
        names = listed(list(self.recorded)) if self.recorded else ""
        if self.unit == "steps":
            return f"In steps: no speed of {names} was measured, and trainings shared the machine."
        by_speed = "the steps so far at the speed that a scenario was measured at by itself, without set-up"
        as_recorded = "what its training recorded, without the probes"
        if not self.recorded:
            return f"Time: {by_speed}."
        if not self.step_seconds:
            return f"Time: {as_recorded}."
        return f"Time: {by_speed}; of {names}: {as_recorded}."


@dataclass(frozen=True, kw_only=True)
class MeanPoint:
    """Of a scenario's seeds at a step at which all of them were probed; accuracies in [0, 1]."""

    at: float
    """In the clock's unit."""
    mean: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Race:
    goal: float
    """The baseline's mean final accuracy, in [0, 1]."""
    reached: Mapping[str, float | None]
    """Scenario with a curve to where it gets there, in the clock's unit; None where it never does."""


def curves(summary: Summary, scenario: str) -> tuple[Accuracy, ...]:
    """The trainings of a scenario that were probed on their way, by seed."""
    return tuple(a for a in summary.report.accuracies if a.subject == scenario and a.curve)


@lru_cache(maxsize=2)
def clock(summary: Summary) -> Clock:
    """Seconds wherever they can be known of every scenario with a curve, else steps."""
    rates = {name: summary.rates.get((name, "end-to-end")) for name in summary.scenarios}
    step_seconds = {
        name: rate.batch_size / rate.median.estimate for name, rate in rates.items() if rate is not None
    }
    recorded = [name for name in summary.scenarios if name not in step_seconds and curves(summary, name)]
    shared = [name for name in recorded if any(curve.side_by_side > 1 for curve in curves(summary, name))]
    return Clock(
        unit="steps" if shared else "s",
        step_seconds=step_seconds,
        recorded=tuple(shared or recorded),
    )


def course(accuracy: Accuracy, clock: Clock) -> list[tuple[float, float]]:
    """(time or step, accuracy in [0, 1]) of one seed, in order."""
    return sorted((clock.at(accuracy.subject, point), point.linear_top1) for point in accuracy.curve)


def mean_course(summary: Summary, scenario: str) -> list[MeanPoint]:
    """In order of time; empty where the seeds share no step."""
    at = clock(summary)
    seeds = [{point.step: point for point in a.curve} for a in curves(summary, scenario)]
    common = sorted(set.intersection(*map(set, seeds))) if seeds else []
    found = []
    for step in common:
        levels = [seed[step].linear_top1 for seed in seeds]
        found.append(
            MeanPoint(
                at=statistics.fmean(at.at(scenario, seed[step]) for seed in seeds),
                mean=statistics.fmean(levels),
                low=min(levels),
                high=max(levels),
            )
        )
    return found


def final(summary: Summary, scenario: str) -> float:
    """Mean final accuracy over the seeds that have a curve."""
    return statistics.fmean(a.linear_top1 for a in curves(summary, scenario))


def reached(summary: Summary, scenario: str, goal: float) -> float | None:
    """Where the scenario's mean curve first is at or above the goal."""
    return next((point.at for point in mean_course(summary, scenario) if point.mean >= goal), None)


def race(summary: Summary) -> Race | None:
    """None where the baseline has no curve, or one that does not come to its own end."""
    baseline = summary.plan.baseline
    if not curves(summary, baseline):
        return None
    goal = final(summary, baseline)
    found = {name: reached(summary, name, goal) for name in summary.scenarios if curves(summary, name)}
    return Race(goal=goal, reached=found) if found[baseline] is not None else None


def race_sentence(summary: Summary, scenario: str) -> str | None:
    """Whether and when `scenario` gets where the baseline ends; None without a curve of both."""
    baseline, run, say = summary.plan.baseline, race(summary), clock(summary).say
    if run is None or scenario == baseline or scenario not in run.reached:
        return None
    mine, theirs = run.reached[scenario], run.reached[baseline]
    if mine is None or theirs is None:
        ends = f"it ends at {percent(final(summary, scenario))}, {baseline} at {percent(run.goal)}"
        return f"{scenario} does not reach the baseline's final accuracy: {ends}"
    return (
        f"{scenario} reaches the baseline's final accuracy after {say(mine)}, {baseline} after {say(theirs)}"
    )


def race_table(summary: Summary) -> Table:
    """A row a scenario: where it ends, and how long it takes to where the baseline does."""
    baseline, run = summary.plan.baseline, race(summary)
    times_to = run.reached if run is not None else {}
    theirs = times_to.get(baseline)
    rows = []
    for name, mine in times_to.items():
        after = NEVER if mine is None else clock(summary).say(mine)
        sooner = times(theirs / mine) if name != baseline and mine and theirs else NOTHING
        rows.append((name, percent(final(summary, name)), after, sooner, str(len(curves(summary, name)))))
    columns = ("scenario", "ends at", "at the baseline's end after", "as soon", "seeds")
    return Table(title="Time to the baseline's final accuracy", columns=columns, rows=tuple(rows))
