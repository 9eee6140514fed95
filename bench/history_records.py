"""From a file of our own records to the points of a history.

Where a run holds what its times are compared with (the frozen naive loss, the official loss, the baseline),
the ratio to it is taken and not the time: a machine that had a slow day slows both.
"""

import math
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.history_point import Measured, Point, RunInfo, point_of, ratios, utc
from bench.loss_compare import place_of
from bench.record import (
    Environment,
    LossComparison,
    LossTiming,
    Plan,
    Record,
    RegressionPlan,
    RegressionSample,
    Throughput,
    read_records,
)

OFFICIAL = "official"
"""What other losses are compared with, in records that do not say."""


def record_points(path: Path, name: str) -> tuple[list[Point], list[str]]:
    """Every point of a record file, which is called `name`, and what could not be used of it, a line each.
    Raises RecordError when the file cannot be read.
    """
    records, unreadable = read_records(path)
    problems = unreadable[:1]
    if len(unreadable) > 1:
        problems = [f"{unreadable[0]}; and {len(unreadable) - 1} more lines of it"]
    points: list[Point] = []
    for run in _runs(records):
        if not isinstance(run[0], Environment):
            if any(isinstance(record, RegressionSample | LossTiming | Throughput) for record in run):
                problems.append(f"{name}: {len(run)} records before any environment: of no known machine")
            continue
        try:
            info = _info(run, run[0], name)
        except ValueError:
            problems.append(f"{name}: {run[0].time!r} is no time in ISO 8601; that run is left out")
            continue
        for measured in (*_regression(run), *_losses(run), *_throughput(run)):
            try:
                points.append(point_of(info, measured))
            except ValueError as error:
                problems.append(f"{name}: {measured.case}: {error}; left out")
    return points, problems


def _runs(records: Sequence[Record]) -> Iterator[list[Record]]:
    """A file may hold several runs, one after the other: each begins with its environment."""
    run: list[Record] = []
    for record in records:
        if isinstance(record, Environment) and run:
            yield run
            run = []
        run.append(record)
    if run:
        yield run


def _info(run: Sequence[Record], environment: Environment, file: str) -> RunInfo:
    gpus = f"{environment.gpu_count} × {environment.gpu}" if environment.gpu else "no GPU"
    conditions = {**environment.versions, **environment.environment_variables, "system": environment.system}
    conditions |= {"driver": environment.driver} if environment.driver else {}
    commit = next((r.head_commit for r in run if isinstance(r, RegressionPlan)), None)
    return RunInfo(
        time=utc(environment.time),
        machine=f"{environment.processor}, {environment.cores} cores, {gpus}",
        commit=commit or environment.commit,
        uncommitted=bool(environment.uncommitted_changes),
        conditions=conditions,
        file=file,
    )


def _regression(run: Sequence[Record]) -> Iterator[Measured]:
    """The head of `bench loss --against`: each process a group."""
    plan = next((record for record in run if isinstance(record, RegressionPlan)), None)
    if plan is None:
        return
    groups: dict[str, list[list[float]]] = {}
    for record in run:
        if isinstance(record, RegressionSample) and record.side == "head":
            groups.setdefault(record.case, []).append(ratios(record.seconds, record.naive_seconds))
    for case, values in groups.items():
        setting = _setting(plan.device, plan.threads)
        yield Measured(case=case, setting=setting, unit="÷ naive loss", groups=values)


def _losses(run: Sequence[Record]) -> Iterator[Measured]:
    """`bench loss`: each process and round a group, paired with the baseline of the same where there is
    one.
    """
    asked = next((record for record in run if isinstance(record, LossComparison)), None)
    baseline = OFFICIAL if asked is None else asked.baseline
    timings = [record for record in run if isinstance(record, LossTiming)]
    base = {(place_of(t), t.phase, t.pid, t.round): t.seconds for t in timings if t.provider == baseline}
    groups: dict[tuple[str, str, str], list[Sequence[float]]] = {}
    for timing in timings:
        case = f"{timing.provider}, {timing.phase}, {timing.n} × {timing.d}, {timing.dtype}"
        setting = timing.device if asked is None else _setting(timing.device, asked.threads)
        beside = base.get((place_of(timing), timing.phase, timing.pid, timing.round), ())
        if timing.provider == baseline or len(beside) != len(timing.seconds):
            groups.setdefault((case, setting, "s"), []).append(timing.seconds)
        else:
            groups.setdefault((case, setting, f"÷ {baseline}"), []).append(ratios(timing.seconds, beside))
    for (case, setting, unit), values in groups.items():
        yield Measured(case=case, setting=setting, unit=unit, groups=values)


def _throughput(run: Sequence[Record]) -> Iterator[Measured]:
    """`bench --compare`, and `bench loader`, which has no baseline: each round a group, paired with the
    baseline's where it has that round.
    """
    plan = next((record for record in run if isinstance(record, Plan)), None)
    measured = [record for record in run if isinstance(record, Throughput)]
    rates = {(record.scenario, record.mode, record.round): _middle_rate(record) for record in measured}
    groups: dict[tuple[str, str, str], list[list[float]]] = {}
    for record in measured:
        case = f"{record.scenario}, {record.mode}"
        setting = f"batch {record.batch_size}, {record.image_size} px"
        if plan is not None:
            setting = f"{plan.device}, {plan.data}, recipe {plan.recipe_fingerprint}"
        rate = rates[record.scenario, record.mode, record.round]
        beside = None if plan is None else rates.get((plan.baseline, record.mode, record.round))
        if plan is None or beside is None or record.scenario == plan.baseline:
            groups.setdefault((case, setting, "pairs/s"), []).append([rate])
        else:
            groups.setdefault((case, setting, f"× {plan.baseline}"), []).append(ratios([rate], [beside]))
    for (case, setting, unit), values in groups.items():
        yield Measured(case=case, setting=setting, unit=unit, groups=values, larger_is_slower=False)


def _setting(device: str, threads: int) -> str:
    return f"{device}, {threads} thread{'s' * (threads != 1)}"


def _middle_rate(record: Throughput) -> float:
    try:
        return statistics.median(record.pairs_per_second)
    except (ZeroDivisionError, OverflowError, statistics.StatisticsError):
        return math.nan
