"""Reading the records of `bench loss` into one report, with everything that could not be used named.

A file is one run; of several files, rounds are numbered on, so that a pair is always two measurements of one
run.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.loss_compare import Place, place_of
from bench.loss_record import PHASES, LossPhase, LossSubject
from bench.record import (
    Ceiling,
    Environment,
    Failure,
    LossComparison,
    LossFloor,
    LossGate,
    LossMemory,
    LossProfile,
    LossRankTiming,
    LossTiming,
    Plan,
    Record,
    read_records,
)
from reports.load import MOST_SECONDS
from reports.merging import latest, require_each_once, unlike_environments
from vicreg_fast.errors import RecordError

BASELINE = "official"
OURS = ("auto", "gram", "covariance", "gram-triton", "covariance-triton")
"""Names of ours, best known first, in records that do not say."""


@dataclass(frozen=True, kw_only=True, eq=False)
class LossReport:
    """What one or several record files of `bench loss` hold, ready to be said."""

    environments: tuple[Environment, ...]
    comparisons: tuple[LossComparison, ...]
    """One a run; none where the records are from before there was such a record."""
    gates: tuple[LossGate, ...]
    timings: tuple[LossTiming, ...]
    memories: tuple[LossMemory, ...]
    floors: tuple[LossFloor, ...]
    ceilings: tuple[Ceiling, ...]
    failures: tuple[Failure, ...]
    problems: tuple[str, ...]
    """One line for each thing that could not be read or used."""
    profiles: tuple[LossProfile, ...] = ()
    ranks: tuple[LossRankTiming, ...] = ()

    @property
    def records(self) -> tuple[Record, ...]:
        """All that was used: written as JSON Lines, it loads as this report."""
        measured: tuple[tuple[Record, ...], ...] = (self.gates, self.memories, self.floors, self.ceilings)
        measured += (self.timings, self.ranks, self.profiles, self.failures)
        return (*self.environments, *self.comparisons, *(record for part in measured for record in part))

    @property
    def subjects(self) -> dict[str, LossSubject]:
        """Every loss that was to be measured, baseline first, by name."""
        found = {s.name: s for comparison in self.comparisons for s in comparison.subjects}
        for timing in self.timings:
            found.setdefault(
                timing.provider,
                LossSubject(
                    name=timing.provider,
                    ours=timing.provider in OURS,
                    source="not recorded",
                    preset=BASELINE,
                ),
            )
        return dict(sorted(found.items(), key=lambda item: item[0] != BASELINE))

    @property
    def places(self) -> tuple[Place, ...]:
        """Where anything was measured, in the order it was."""
        checked, timed = map(place_of, self.gates), map(place_of, self.timings)
        return tuple(dict.fromkeys((*checked, *timed)))

    @property
    def phases(self) -> tuple[LossPhase, ...]:
        """Those that were timed."""
        timed = {timing.phase for timing in self.timings}
        return tuple(phase for phase in PHASES if phase in timed)


def holds_losses(paths: Sequence[Path]) -> bool:
    """Whether the first file is of `bench loss`. Raises RecordError when it cannot be read."""
    records, _ = read_records(paths[0]) if paths else ([], [])
    return any(isinstance(record, LossTiming | LossComparison) for record in records) and not any(
        isinstance(record, Plan) for record in records
    )


def load_loss_report(paths: Sequence[Path]) -> LossReport:
    """The report of record files written by `vicreg-fast bench loss`.

    Raises RecordError, in one line with the mend, when a file cannot be read, is given twice, or is not such
    a file.
    """
    require_each_once(paths)
    records: list[Record] = []
    problems: list[str] = []
    for path in paths:
        read, unreadable = read_records(path)
        if not any(isinstance(record, Environment) for record in read):
            raise RecordError(f"{path}: no environment record; give the whole file that `bench loss` wrote")
        if not any(isinstance(record, LossTiming | LossComparison) for record in read):
            raise RecordError(f"{path}: no record of a loss; report it apart from those of `bench loss`")
        problems += unreadable
        first = max((r.round + 1 for r in records if isinstance(r, LossTiming)), default=0)
        for record in read:
            if isinstance(record, LossTiming | LossRankTiming) and (fault := _fault(record)):
                problems.append(f"{path.name}: {fault}; left out")
                continue
            if isinstance(record, LossTiming):
                record = record.model_copy(update={"round": record.round + first}) if first else record
            records.append(record)
    environments = tuple(record for record in records if isinstance(record, Environment))
    comparisons = tuple(record for record in records if isinstance(record, LossComparison))
    if len({comparison.caches for comparison in comparisons}) > 1:
        raise RecordError(f"{paths[-1]}: of these runs some had warm caches and some cold; report them apart")
    timed = [record for record in records if isinstance(record, LossTiming)]
    return LossReport(
        environments=environments,
        comparisons=comparisons,
        gates=tuple(record for record in records if isinstance(record, LossGate)),
        timings=tuple(latest(timed, _key, _name, problems)),
        memories=tuple(record for record in records if isinstance(record, LossMemory)),
        floors=tuple(record for record in records if isinstance(record, LossFloor)),
        ceilings=tuple(record for record in records if isinstance(record, Ceiling)),
        failures=tuple(record for record in records if isinstance(record, Failure)),
        problems=(*problems, *unlike_environments(environments)),
        profiles=tuple(record for record in records if isinstance(record, LossProfile)),
        ranks=tuple(record for record in records if isinstance(record, LossRankTiming)),
    )


def _fault(timing: LossTiming | LossRankTiming) -> str | None:
    """Why a timing that could be read cannot be a measurement; None when it can."""
    if timing.seconds and all(0 < second < MOST_SECONDS for second in timing.seconds):  # NaN is not
        return None
    return f"{_name(timing)}: " + ("a time that no call takes" if timing.seconds else "no sample")


def _name(timing: LossTiming | LossRankTiming) -> str:
    if isinstance(timing, LossRankTiming):
        return f"a rank's share of {timing.provider} at {timing.n} × {timing.d}, {timing.dtype}"
    return f"{timing.phase} of {timing.provider} at {timing.n} × {timing.d}, {timing.dtype}"


def _key(timing: LossTiming) -> tuple[object, ...]:
    return timing.provider, place_of(timing), timing.phase, timing.pid, timing.round


def shown_error(error: float | None) -> str:
    """A relative error, or that it is not a number."""
    return "not finite" if error is None or not math.isfinite(error) else f"{error:.1e}"
