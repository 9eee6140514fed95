"""Reading the records of `bench loader` into one report, with everything that could not be used named.

A file is one run; of several files, rounds are numbered on, so that a pair is always two measurements of one
run. Files from before there were LoaderRate records hold Throughput, one batch a worker in each window.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from bench.loader_kinds import BASELINE, usual_subject
from bench.loader_record import LoaderFidelity, LoaderPlan, LoaderRate, LoaderSubject
from bench.record import Environment, Failure, Record, Throughput, read_records
from reports.load import MOST_SECONDS
from reports.merging import latest, require_each_once, unlike_environments
from vicreg_fast.errors import RecordError

CONTENDERS = ("dali", "torchvision")
"""Ours, the one that stands for us first."""


class Place(NamedTuple):
    """Where a rate is taken."""

    image_size: int
    batch_size: int
    threads: int

    def __str__(self) -> str:
        return (
            f"{self.image_size} px, batch {self.batch_size}, {self.threads} thread{'s' * (self.threads != 1)}"
        )


def place_of(rate: LoaderRate) -> Place:
    return Place(rate.image_size, rate.batch_size, rate.threads)


@dataclass(frozen=True, kw_only=True, eq=False)
class LoaderReport:
    """What one or several record files of `bench loader` hold, ready to be said."""

    environments: tuple[Environment, ...]
    plans: tuple[LoaderPlan, ...]
    """One a run; none where the records are from before there was such a record."""
    rates: tuple[LoaderRate, ...]
    fidelities: tuple[LoaderFidelity, ...]
    failures: tuple[Failure, ...]
    problems: tuple[str, ...]
    """One line for each thing that could not be read or used."""

    @property
    def records(self) -> tuple[Record, ...]:
        """All that was used: written as JSON Lines, it loads as this report."""
        return (*self.environments, *self.plans, *self.fidelities, *self.rates, *self.failures)

    @property
    def subjects(self) -> dict[str, LoaderSubject]:
        """Every loader that was to be measured, by name, the baseline first."""
        found = {subject.name: subject for plan in self.plans for subject in plan.subjects}
        on_gpu = any(environment.gpu for environment in self.environments)
        for rate in self.rates:
            if rate.subject not in found:
                found[rate.subject] = usual_subject(rate.subject, on_gpu=on_gpu)
        return dict(sorted(found.items(), key=lambda item: item[0] != self.baseline))

    @property
    def baseline(self) -> str:
        return self.plans[0].baseline if self.plans else BASELINE

    @property
    def places(self) -> tuple[Place, ...]:
        """Where anything was timed, in order."""
        return tuple(sorted({place_of(rate) for rate in self.rates}))

    @property
    def rounds(self) -> int:
        """Planned over all runs; 0 where no plan says."""
        return sum(plan.rounds for plan in self.plans)


def holds_loaders(path: Path) -> bool:
    """Whether a file is of `bench loader`; no where it cannot be read."""
    try:
        records, _ = read_records(path)
    except RecordError:
        return False
    if any(isinstance(record, LoaderPlan | LoaderRate) for record in records):
        return True
    modes = {record.mode for record in records if isinstance(record, Throughput)}
    return modes == {"loader-only"} and all(
        isinstance(record, Environment | Throughput | Failure) for record in records
    )


def load_loader_report(paths: Sequence[Path]) -> LoaderReport:
    """The report of record files written by `vicreg-fast bench loader`.

    Raises RecordError, in one line with the mend, when a file cannot be read, is given twice, or is not such
    a file.
    """
    require_each_once(paths)
    records: list[Record] = []
    problems: list[str] = []
    for path in paths:
        read, unreadable = read_records(path)
        if not any(isinstance(record, Environment) for record in read):
            raise RecordError(f"{path}: no environment record; give the whole file that `bench loader` wrote")
        problems += unreadable
        rates = [rate for record in read if (rate := _as_rate(record)) is not None]
        if not rates and not any(isinstance(record, LoaderPlan) for record in read):
            raise RecordError(f"{path}: no record of a loader; report it apart from those of `bench loader`")
        first = max((record.round + 1 for record in records if isinstance(record, LoaderRate)), default=0)
        for rate in rates:
            if fault := _fault(rate):
                problems.append(f"{path.name}: {fault}; left out")
            else:
                records.append(rate.model_copy(update={"round": rate.round + first}) if first else rate)
        records += [r for r in read if isinstance(r, Environment | LoaderPlan | LoaderFidelity | Failure)]
    environments = tuple(record for record in records if isinstance(record, Environment))
    plans = tuple(record for record in records if isinstance(record, LoaderPlan))
    timed = [record for record in records if isinstance(record, LoaderRate)]
    return LoaderReport(
        environments=environments,
        plans=plans,
        rates=tuple(latest(timed, lambda r: (r.subject, place_of(r), r.round), _name, problems)),
        fidelities=tuple(record for record in records if isinstance(record, LoaderFidelity)),
        failures=tuple(record for record in records if isinstance(record, Failure)),
        problems=(*problems, *_unlike(environments, plans)),
    )


def _as_rate(record: Record) -> LoaderRate | None:
    if isinstance(record, LoaderRate):
        return record
    if isinstance(record, Throughput) and record.mode == "loader-only":
        return LoaderRate(
            time=record.time,
            subject=record.scenario,
            threads=record.steps_per_window,
            image_size=record.image_size,
            batch_size=record.batch_size,
            round=record.round,
            position=record.position,
            pid=record.pid,
            batches_per_window=record.steps_per_window,
            window_seconds=record.window_seconds,
        )
    return None


def _fault(rate: LoaderRate) -> str | None:
    """Why a rate that could be read cannot be a measurement; None when it can."""
    if min(rate.threads, rate.batch_size, rate.image_size, rate.batches_per_window) < 1:
        return f"{_name(rate)}: a number of threads, pairs, pixels or batches below 1"
    if not rate.window_seconds:
        return f"{_name(rate)}: no window"
    if not all(0 < second < MOST_SECONDS for second in rate.window_seconds):  # NaN is not
        return f"{_name(rate)}: a time that no window takes"
    if rate.cpu_seconds is not None and not 0 <= rate.cpu_seconds < MOST_SECONDS:
        return f"{_name(rate)}: a processor time that nothing takes"
    return None


def _name(rate: LoaderRate) -> str:
    return f"{rate.subject} at {place_of(rate)}, round {rate.round}"


def _unlike(environments: Sequence[Environment], plans: Sequence[LoaderPlan]) -> list[str]:
    return unlike_environments(environments) + [
        f"the runs differ in {field}: medians mix what is not the same work"
        for field in ("data", "augmentation", "device")
        if any(getattr(plan, field) != getattr(plans[0], field) for plan in plans)
    ]
