"""Every number of a report, computed once by `bench.compare`; others only write them down."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import get_args

from bench.compare import (
    AccuracyVerdict,
    Interval,
    accuracy_verdict,
    median_interval,
    memory_over_start,
    memory_ratio,
    paired_ratio,
)
from bench.record import Mode, Plan, Throughput
from reports.load import FLOORS, Report

MODES: tuple[Mode, ...] = get_args(Mode)


@dataclass(frozen=True, kw_only=True)
class Rate:
    """Throughput of one scenario in one mode, in pairs of views a second."""

    scenario: str
    mode: Mode
    batch_size: int
    """Pairs a step."""
    by_round: Mapping[int, float]
    """Round to the median of its windows."""
    median: Interval
    """Over rounds."""
    ratio: Interval | None
    """To the baseline, over the rounds both finished; None for the baseline and without such a round."""
    paired: tuple[float, ...]
    """The ratios that `ratio` is the median of, in the order of their rounds."""
    loader_wait: float | None
    """Share of the window's time, in [0, 1], that the step waited for the loader; None where not recorded."""


@dataclass(frozen=True, kw_only=True)
class Peak:
    """Memory of one scenario's process tree, in bytes: the largest of its records."""

    scenario: str
    host_over_start: int
    device: int | None
    ratio: float | None
    """To the baseline, on the device where both were measured there, else on the host; None without one."""
    compared: str
    """What `ratio` compares: `device` or `host`."""


@dataclass(frozen=True, kw_only=True)
class Probe:
    """Linear accuracy, in [0, 1], of a scenario or a floor."""

    subject: str
    by_seed: Mapping[int, float]
    mean: float
    sd: float | None
    """Over seeds, n − 1; None with one seed."""
    verdict: AccuracyVerdict | None
    """Against the baseline; None for the baseline, for floors, and without a common seed."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Summary:
    report: Report
    scenarios: tuple[str, ...]
    """The plan's, baseline first and contender second, then any that was measured without being planned."""
    rates: Mapping[tuple[str, Mode], Rate]
    peaks: Mapping[str, Peak]
    probes: Mapping[str, Probe]
    """Scenarios and floors."""
    free_loader: Mapping[str, Interval]
    """Scenario to its compute-only over its end-to-end throughput: what a free loader would bring."""
    setups: Mapping[str, float]
    """Scenario to the seconds until its first step is done."""

    @property
    def plan(self) -> Plan:
        return self.report.plan

    def colour(self, scenario: str) -> int:
        """The scenario's colour, by number, the same in every picture."""
        return self.scenarios.index(scenario)


@lru_cache(maxsize=2)
def summarise(report: Report) -> Summary:
    """All statistics of a report, kept for the latest two: a bootstrap of many rounds takes its time."""
    names = _scenario_names(report)
    rates = {(name, mode): rate for name in names for mode in MODES if (rate := _rate(report, name, mode))}
    return Summary(
        report=report,
        scenarios=names,
        rates=rates,
        peaks={name: peak for name in names if (peak := _peak(report, name))},
        probes={name: probe for name in (*names, *FLOORS) if (probe := _probe(report, name))},
        free_loader={name: gain for name in names if (gain := _free_loader(rates, name))},
        setups={startup.scenario: startup.seconds for startup in report.startups},
    )


def _scenario_names(report: Report) -> tuple[str, ...]:
    measured = [record.scenario for record in report.throughputs]
    measured += [record.scenario for record in report.memories]
    measured += [record.subject for record in report.accuracies if record.subject not in FLOORS]
    planned = [scenario.name for scenario in report.plan.scenarios]
    return tuple(dict.fromkeys([report.plan.baseline, report.plan.contender, *planned, *measured]))


@lru_cache(maxsize=2)
def _throughputs(report: Report) -> Mapping[tuple[str, Mode], Sequence[Throughput]]:
    """Each scenario's and mode's, in the order of their rounds."""
    found: dict[tuple[str, Mode], list[Throughput]] = {}
    for record in sorted(report.throughputs, key=lambda t: t.round):
        found.setdefault((record.scenario, record.mode), []).append(record)
    return found


@lru_cache(maxsize=256)
def _by_round(report: Report, scenario: str, mode: Mode) -> dict[int, float]:
    found = _throughputs(report).get((scenario, mode), ())
    return {record.round: statistics.median(record.pairs_per_second) for record in found}


def _rate(report: Report, scenario: str, mode: Mode) -> Rate | None:
    by_round = _by_round(report, scenario, mode)
    if not by_round:
        return None
    baseline = report.plan.baseline
    base = _by_round(report, baseline, mode) if scenario != baseline else {}
    common = [r for r in by_round if r in base]
    # What `bench.compare.throughput_ratio` computes, without its second pass over every window.
    ratio = paired_ratio([base[r] for r in common], [by_round[r] for r in common]) if common else None
    timed = [t for t in _throughputs(report)[scenario, mode] if t.loader_wait_seconds]
    waited = sum(sum(t.loader_wait_seconds) for t in timed)
    total = sum(sum(t.window_seconds) for t in timed)
    return Rate(
        scenario=scenario,
        mode=mode,
        batch_size=_throughputs(report)[scenario, mode][-1].batch_size,
        by_round=by_round,
        median=median_interval(list(by_round.values())),
        ratio=ratio,
        paired=tuple(by_round[r] / base[r] for r in common),
        loader_wait=waited / total if timed else None,
    )


def _peak(report: Report, scenario: str) -> Peak | None:
    mine = [record for record in report.memories if record.scenario == scenario]
    if not mine:
        return None
    baseline = report.plan.baseline
    theirs = [record for record in report.memories if record.scenario == baseline]
    kinds = {memory_over_start(record)[1] for record in (*mine, *theirs)}
    # A host peak over a device peak would be a ratio of unlike things.
    comparable = scenario != baseline and len(kinds) == 1
    on_device = [size for size, kind in map(memory_over_start, mine) if kind == "device"]
    return Peak(
        scenario=scenario,
        host_over_start=max(record.host_peak_bytes - record.host_before_bytes for record in mine),
        device=max(on_device, default=None),
        ratio=memory_ratio(report.memories, baseline, scenario) if comparable else None,
        compared="device" if kinds == {"device"} else "host",
    )


def _probe(report: Report, subject: str) -> Probe | None:
    by_seed = {
        a.seed: a.linear_top1 for a in sorted(report.accuracies, key=lambda a: a.seed) if a.subject == subject
    }
    if not by_seed:
        return None
    plan = report.plan
    compared = subject not in (plan.baseline, *FLOORS)
    margin = plan.accuracy_margin_points
    return Probe(
        subject=subject,
        by_seed=by_seed,
        mean=statistics.fmean(by_seed.values()),
        sd=statistics.stdev(by_seed.values()) if len(by_seed) > 1 else None,
        verdict=accuracy_verdict(report.accuracies, plan.baseline, subject, margin) if compared else None,
    )


def _free_loader(rates: Mapping[tuple[str, Mode], Rate], scenario: str) -> Interval | None:
    whole, compute = rates.get((scenario, "end-to-end")), rates.get((scenario, "compute-only"))
    if whole is None or compute is None:
        return None
    rounds = [r for r in whole.by_round if r in compute.by_round]
    if not rounds:
        return None
    return paired_ratio([whole.by_round[r] for r in rounds], [compute.by_round[r] for r in rounds])
