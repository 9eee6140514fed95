"""Every number of a report of losses, computed once by `bench.loss_compare`; others only write them down."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from bench.compare import Interval
from bench.loss_compare import Place, place_of, seconds_of, times_as_fast
from bench.loss_record import LossFloor, LossGate, LossPhase
from reports.loss_load import BASELINE, OURS, LossReport

BOTH: LossPhase = "forward+backward"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One loss at one place."""

    provider: str
    ours: bool
    form: str
    backend: str
    seconds: Mapping[LossPhase, Interval]
    """Median a call over samples."""
    speedup: Interval | None
    """Times as fast as the baseline, in the phase judged by; None for it and without a common run."""
    peak_bytes: int | None
    floor_share: float | None
    """Floor ÷ median time, in the phase judged by."""
    gate: LossGate | None

    @property
    def refused(self) -> bool:
        return self.gate is not None and not self.gate.passed


@dataclass(frozen=True, kw_only=True)
class Duel:
    """Ours against one rival at one place."""

    place: Place
    ours: str
    rival: str
    speedup: Interval
    """Times as fast as the rival ours is."""

    @property
    def won(self) -> bool:
        return self.speedup.low > 1

    @property
    def lost(self) -> bool:
        return self.speedup.high < 1


@dataclass(frozen=True, kw_only=True, eq=False)
class LossSummary:
    report: LossReport
    phase: LossPhase
    """What is judged by: both directions where they were timed, else the first phase that was."""
    rows: Mapping[Place, tuple[Row, ...]]
    duels: tuple[Duel, ...]
    """Ours against every rival at every place where both were timed."""

    def row(self, provider: str, place: Place) -> Row | None:
        return next((row for row in self.rows[place] if row.provider == provider), None)

    def label(self, place: Place) -> str:
        """`N × D`, and what else tells the place from the others."""
        text = f"{place.n} × {place.d}"
        if len({other.dtype for other in self.rows}) > 1:
            text += f" {place.dtype}"
        if len({other.device for other in self.rows}) > 1:
            text += f" on {place.device}"
        return text

    def ours_at(self, place: Place) -> Row | None:
        """The one of ours that stands for all: what its plan takes by itself, else the fastest one timed."""
        return _ours(self.rows[place], self.phase)

    def colour(self, provider: str) -> int:
        return list(self.report.subjects).index(provider)


@lru_cache(maxsize=8)
def summarise_losses(report: LossReport) -> LossSummary:
    """All statistics of a report, kept for the latest few: a bootstrap takes its time."""
    phase = BOTH if BOTH in report.phases or not report.phases else report.phases[0]
    rows = {place: _rows(report, place, phase) for place in report.places}
    duels = []
    for place, there in rows.items():
        ours = _ours(there, phase)
        for rival in there:
            if ours is None or rival.ours or phase not in rival.seconds:
                continue
            speedup = times_as_fast(report.timings, ours.provider, rival.provider, place, phase)
            if speedup is not None:
                duels.append(Duel(place=place, ours=ours.provider, rival=rival.provider, speedup=speedup))
    return LossSummary(report=report, phase=phase, rows=rows, duels=tuple(duels))


def _rows(report: LossReport, place: Place, phase: LossPhase) -> tuple[Row, ...]:
    floor = next((f for f in report.floors if (place_of(f), f.phase) == (place, phase)), None)
    rows = [_row(report, name, place, phase, floor) for name in report.subjects]
    return tuple(row for row in rows if row is not None)


def _row(
    report: LossReport, name: str, place: Place, phase: LossPhase, floor: LossFloor | None
) -> Row | None:
    timed = [t for t in report.timings if (t.provider, place_of(t)) == (name, place)]
    gates = [g for g in report.gates if (g.provider, place_of(g)) == (name, place)]
    if not timed and not gates:
        return None
    seconds = {
        each: found
        for each in report.phases
        if (found := seconds_of(report.timings, name, place, each)) is not None
    }
    peaks = [m.peak_bytes for m in report.memories if (m.provider, place_of(m)) == (name, place)]
    compared = name != BASELINE
    return Row(
        provider=name,
        ours=report.subjects[name].ours,
        form=timed[-1].form if timed else "",
        backend=timed[-1].backend if timed else "",
        seconds=seconds,
        speedup=times_as_fast(report.timings, name, BASELINE, place, phase) if compared else None,
        peak_bytes=max(peaks, default=None),
        floor_share=floor.seconds / seconds[phase].estimate if floor and phase in seconds else None,
        gate=next((g for g in gates if not g.passed), gates[-1] if gates else None),
    )


def _ours(rows: tuple[Row, ...], phase: LossPhase) -> Row | None:
    timed = [row for row in rows if row.ours and phase in row.seconds]
    chosen = [row for row in timed if row.provider == OURS[0]]
    return next(iter(chosen), None) or min(timed, key=lambda row: row.seconds[phase].estimate, default=None)
