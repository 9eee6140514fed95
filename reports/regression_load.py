"""Reading the records of `bench loss --against` into one judged report, with everything that could not be
used named.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bench.record import (
    Environment,
    Failure,
    Record,
    RegressionGate,
    RegressionPlan,
    RegressionSample,
    read_records,
)
from bench.regression_analysis import faulty_sample
from bench.regression_judge import RegressionJudgement, judge
from vicreg_fast.errors import RecordError


@dataclass(frozen=True, kw_only=True, eq=False)
class RegressionReport:
    """One run of `bench loss --against` and what is judged of it."""

    judgement: RegressionJudgement
    records: tuple[Record, ...]
    """All that was used: written as JSON Lines, it loads as this report."""
    problems: tuple[str, ...] = ()
    """One line for each thing that could not be read or used."""

    @property
    def plan(self) -> RegressionPlan:
        return self.judgement.plan

    @property
    def environments(self) -> tuple[Environment, ...]:
        return tuple(record for record in self.records if isinstance(record, Environment))

    @property
    def gates(self) -> tuple[RegressionGate, ...]:
        """Every exact count, those that differ first."""
        found = [record for record in self.records if isinstance(record, RegressionGate)]
        return tuple(sorted(found, key=lambda gate: gate.base == gate.head))

    @property
    def samples(self) -> tuple[RegressionSample, ...]:
        return tuple(record for record in self.records if isinstance(record, RegressionSample))

    @property
    def failures(self) -> tuple[Failure, ...]:
        return tuple(record for record in self.records if isinstance(record, Failure))


@dataclass(frozen=True, kw_only=True)
class RoundRatio:
    """One pair of processes of one case: the median of one over the other's, both over the naive loss's."""

    attempt: int
    round: int
    estimate: float
    low: float
    """The lower quartile of the samples over the other side's median."""
    high: float
    """The upper quartile."""


def regression_report(records: Sequence[Record], problems: Sequence[str] = ()) -> RegressionReport:
    """The report of one run's records. Raises RecordError when there is no plan of a regression run among
    them, or more than one, or they hold numbers that cannot be judged.
    """
    plans = sum(isinstance(record, RegressionPlan) for record in records)
    if plans != 1:
        raise RecordError(f"{plans or 'no'} plans of a regression run: a report is of exactly one run")
    try:
        judgement = judge(records)
    except OverflowError as error:
        raise RecordError("the records hold times that no run measures: their ratios overflow") from error
    return RegressionReport(judgement=judgement, records=tuple(records), problems=tuple(problems))


def load_regression(paths: Sequence[Path]) -> RegressionReport:
    """The report of the one record file that `vicreg-fast bench loss --against` wrote.

    Raises RecordError, in one line with the mend, when it cannot be read, is not such a file, or there are
    several.
    """
    if len(paths) != 1:
        raise RecordError(
            f"{len(paths)} record files of `bench loss --against`: each is a verdict; report them one by one"
        )
    (path,) = paths
    records, problems = read_records(path)
    if not any(isinstance(record, RegressionPlan) for record in records):
        why = f" ({problems[0]})" if problems else ""
        raise RecordError(
            f"{path}: no plan of a regression run{why}; give the whole file that `bench loss --against` wrote"
        )
    if sum(isinstance(record, RegressionPlan) for record in records) > 1:
        raise RecordError(f"{path}: holds several runs; give the file of one")
    return regression_report(records, problems)


def round_ratios(report: RegressionReport, case: str, side: Literal["head", "control"]) -> list[RoundRatio]:
    """The head over the base, or the control over the side it repeats, in every round and attempt that has
    both, in order. A stored base was measured at another time: each round is then over the median of all
    its rounds.
    """
    stored = report.plan.source != "revision"
    over = "head" if stored and side == "control" else "base"
    logs: dict[str, dict[tuple[int, int], list[float]]] = {over: {}, side: {}}
    for sample in report.samples:
        if sample.case == case and sample.side in logs and faulty_sample([sample]) is None:
            logs[sample.side][sample.attempt, sample.round] = _logs(sample)
    if not logs[over] or not logs[side]:
        return []
    middles = {key: statistics.median(values) for key, values in logs[over].items()}
    if stored and side == "head":
        middles = dict.fromkeys(logs[side], statistics.median(middles.values()))
    return [
        _round_ratio(key, [value - middles[key] for value in logs[side][key]])
        for key in sorted(middles.keys() & logs[side].keys())
    ]


def _round_ratio(key: tuple[int, int], logs: list[float]) -> RoundRatio:
    low, _, high = statistics.quantiles(logs, n=4, method="inclusive") if len(logs) > 1 else logs * 3
    return RoundRatio(
        attempt=key[0],
        round=key[1],
        estimate=math.exp(statistics.median(logs)),
        low=math.exp(low),
        high=math.exp(high),
    )


def _logs(sample: RegressionSample) -> list[float]:
    pairs = zip(sample.seconds, sample.naive_seconds, strict=True)
    return [math.log(seconds / naive) for seconds, naive in pairs]
