"""Reading record files into one report, with everything that could not be used named in `problems`.

A file is one run or several appended; several files of the same plan are one report. Rounds are numbered on
from run to run, so that a pair is always two measurements of one round of one run, never a round of today
with a round of yesterday.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from bench.limits_record import Energy, StepWork, TraceShares
from bench.loss_record import Ceiling
from bench.record import (
    Accuracy,
    AccuracyPoint,
    Environment,
    Failure,
    Memory,
    Plan,
    Record,
    Startup,
    Throughput,
    read_records,
)
from reports.limits_load import limits_fault
from reports.merging import latest, require_each_once, unlike_environments
from vicreg_fast.errors import RecordError

FLOORS = ("random-trunk", "raw-pixels")
"""Subjects of accuracy records that are no scenario: what a probe reaches without pretraining."""

MOST_SECONDS = 1e9
MOST_RATE = 1e12
MOST_STEPS = 1e12
"""No measurement reaches these: what lies beyond is a broken record, and would break its axis."""

_SAME_PLAN = ("recipe_fingerprint", "data", "device", "baseline", "contender", "accuracy_margin_points")

R = TypeVar("R", bound=Record)


@dataclass(frozen=True, kw_only=True, eq=False)
class Report:
    """What one or several record files hold, ready to be said."""

    environments: tuple[Environment, ...]
    """One a run, in the order of the files."""
    plan: Plan
    """The plan of every run: their scenarios and seeds together, their rounds added up."""
    throughputs: tuple[Throughput, ...]
    memories: tuple[Memory, ...]
    accuracies: tuple[Accuracy, ...]
    failures: tuple[Failure, ...]
    problems: tuple[str, ...]
    """One line for each thing that could not be read or used."""
    works: tuple[StepWork, ...] = ()
    """One a scenario, the last that was counted."""
    ceilings: tuple[Ceiling, ...] = ()
    energies: tuple[Energy, ...] = ()
    traces: tuple[TraceShares, ...] = ()
    """One a scenario, the last."""
    startups: tuple[Startup, ...] = ()
    """One a scenario, the last."""

    @property
    def records(self) -> tuple[Record, ...]:
        """All that was used, the plans folded into one: written as JSON Lines, it loads as this report."""
        parts: tuple[tuple[Record, ...], ...] = (self.throughputs, self.memories, self.accuracies)
        parts += (self.works, self.ceilings, self.energies, self.traces, self.startups, self.failures)
        return (*self.environments, self.plan, *(record for part in parts for record in part))


def load_report(paths: Sequence[Path]) -> Report:
    """The report of record files written by `vicreg-fast bench`.

    Raises RecordError, in one line with the mend, when a file cannot be read or is given twice, when it
    holds no environment or no plan, or when the files' plans are not of the same work.
    """
    require_each_once(paths)
    records: list[Record] = []
    plans: list[tuple[str, Plan]] = []
    problems: list[str] = []
    for path in paths:
        read, unreadable = read_records(path)
        unreadable += [f"{path.name}: {fault}; left out" for record in read if (fault := _fault(record))]
        found = [record for record in read if not _fault(record)]
        for kind, name in ((Environment, "environment"), (Plan, "plan")):
            if not any(isinstance(record, kind) for record in found):
                why = f" ({unreadable[0]})" if unreadable else ""
                raise RecordError(
                    f"{path}: no {name} record{why}; give the whole file that `vicreg-fast bench` wrote"
                )
        problems += unreadable
        plans += [(path.name, record) for record in found if isinstance(record, Plan)]
        records += _numbered_on(found, first=_next_round(records))
    environments = tuple(_of(records, Environment))
    throughputs = latest(_of(records, Throughput), lambda t: (t.scenario, t.mode, t.round), _name, problems)
    accuracies = latest(_of(records, Accuracy), lambda a: (a.subject, a.seed), _name, problems)
    problems += _unlike(environments, throughputs)
    return Report(
        environments=environments,
        plan=_merged(plans, problems),
        throughputs=tuple(throughputs),
        memories=tuple(_of(records, Memory)),
        accuracies=tuple(accuracies),
        failures=tuple(_of(records, Failure)),
        problems=tuple(problems),
        works=tuple({work.scenario: work for work in _of(records, StepWork)}.values()),
        ceilings=tuple(_of(records, Ceiling)),
        energies=tuple(_of(records, Energy)),
        startups=tuple({startup.scenario: startup for startup in _of(records, Startup)}.values()),
        traces=tuple({trace.scenario: trace for trace in _of(records, TraceShares)}.values()),
    )


def _of(records: Iterable[Record], kind: type[R]) -> list[R]:
    return [record for record in records if isinstance(record, kind)]


def _next_round(records: Iterable[Record]) -> int:
    return max((record.round + 1 for record in records if isinstance(record, Throughput)), default=0)


def _numbered_on(records: Iterable[Record], first: int) -> list[Record]:
    """The records with rounds counted from `first`, and on from there at each further plan."""
    numbered: list[Record] = []
    offset = next_round = first
    for record in records:
        if isinstance(record, Plan):
            offset = next_round
        elif isinstance(record, Throughput | Energy):
            record = record.model_copy(update={"round": record.round + offset}) if offset else record
            next_round = max(next_round, record.round + 1)
        numbered.append(record)
    return numbered


def _name(record: Record) -> str:
    if isinstance(record, Throughput):
        return f"throughput of {record.scenario}, {record.mode}, round {record.round}"
    if isinstance(record, Accuracy):
        return f"accuracy of {record.subject}, seed {record.seed}"
    return f"{record.kind} of {getattr(record, 'scenario', 'the run')}"


def _fault(record: Record) -> str | None:
    """Why a record that could be read cannot be a measurement; None when it can."""
    if isinstance(record, Throughput):
        return _throughput_fault(record)
    if isinstance(record, Plan) and not 0 <= record.accuracy_margin_points <= 100:  # also catches NaN
        return f"plan: a margin of {record.accuracy_margin_points} points of accuracy"
    if isinstance(record, Startup) and not 0 < record.seconds < MOST_SECONDS:
        return f"{_name(record)}: {record.seconds} seconds is not a time"
    if isinstance(record, Memory | Environment):
        sizes = [value for name, value in record if name.endswith("_bytes") and value is not None]
        if not all(0 <= size < 2**63 for size in sizes):
            return f"{_name(record)}: a number of bytes that no machine has"
    if isinstance(record, Accuracy):
        if not 0 <= record.linear_top1 <= 1:  # also catches NaN
            return f"{_name(record)}: linear_top1 = {record.linear_top1} is not within 0 and 1"
        if record.knn_top1 is not None and not 0 <= record.knn_top1 <= 1:
            return f"{_name(record)}: knn_top1 = {record.knn_top1} is not within 0 and 1"
        if not all(_is_point(point) for point in record.curve):
            return f"{_name(record)}: a point of its curve is not a number in range"
    return limits_fault(record)


def _is_point(point: AccuracyPoint) -> bool:
    within = 0 <= point.seconds < MOST_SECONDS and 0 <= point.step < MOST_STEPS
    return within and 0 <= point.linear_top1 <= 1


def _throughput_fault(record: Throughput) -> str | None:
    waits = record.loader_wait_seconds
    try:
        rates = record.pairs_per_second
    except (ZeroDivisionError, OverflowError):
        return f"{_name(record)}: a window of no time at all"
    if not rates:
        return f"{_name(record)}: no window was timed"
    if not all(0 < seconds < MOST_SECONDS for seconds in record.window_seconds):
        return f"{_name(record)}: a window of {min(record.window_seconds)} seconds is not a time"
    if not all(0 < rate < MOST_RATE for rate in rates):
        return f"{_name(record)}: {max(rates)} pairs/s is no speed that could have been measured"
    if waits and len(waits) != len(rates):
        return f"{_name(record)}: {len(waits)} loader waits for {len(rates)} windows"
    if not all(0 <= wait < math.inf for wait in waits):
        return f"{_name(record)}: a loader wait is not a time"
    return None


def _merged(plans: Sequence[tuple[str, Plan]], problems: list[str]) -> Plan:
    first_name, first = plans[0]
    scenarios = {scenario.name: scenario for scenario in first.scenarios}
    for name, plan in plans[1:]:
        for field in _SAME_PLAN:
            if getattr(plan, field) != getattr(first, field):
                raise RecordError(
                    f"{name}: its plan's {field} ({getattr(plan, field)}) is not that of {first_name} "
                    f"({getattr(first, field)}), so they are not the same work; report them apart"
                )
        for scenario in plan.scenarios:
            if scenarios.setdefault(scenario.name, scenario) != scenario:
                problems.append(f"{name}: scenario {scenario.name} ran otherwise than described first")
    return first.model_copy(
        update={
            "scenarios": tuple(scenarios.values()),
            "rounds": sum(plan.rounds for _, plan in plans),
            "seeds": tuple(dict.fromkeys(seed for _, plan in plans for seed in plan.seeds)),
        }
    )


def _unlike(environments: Sequence[Environment], throughputs: Iterable[Throughput]) -> list[str]:
    """What keeps the runs, or the scenarios, from being like for like."""
    unlike = unlike_environments(environments)
    sizes = {(t.batch_size, t.image_size) for t in throughputs}
    if len(sizes) > 1:
        shown = ", ".join(f"{batch} × {side} px" for batch, side in sorted(sizes))
        unlike.append(f"the throughputs are not of one batch and image size ({shown}), so not like for like")
    return unlike
