"""One rank's share of a loss, timed without the other ranks: how many times as fast as the authors' it is."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from bench.compare import Interval, median_interval, paired_ratio
from bench.loss_record import LossRankTiming
from reports.loss_load import BASELINE, OURS, LossReport
from reports.tables import Table
from reports.text import NOTHING, amount, span, times


class Share(NamedTuple):
    """What a rank is timed on."""

    device: str
    dtype: str
    rows: int
    """Of this rank."""
    dimensions: int
    world_size: int


@dataclass(frozen=True, kw_only=True)
class RankRow:
    """One loss as one rank of several."""

    provider: str
    ours: bool
    form: str
    backend: str
    seconds: Interval
    speedup: Interval | None
    """Times as fast as the authors' in the same run; None for theirs and without it."""


def rank_rows(report: LossReport) -> dict[Share, tuple[RankRow, ...]]:
    """Every loss at every share, the authors' first; of one that was timed twice the last counts."""
    found: dict[Share, dict[str, LossRankTiming]] = {}
    for timing in report.ranks:
        share = Share(timing.device, timing.dtype, timing.n, timing.d, timing.world_size)
        found.setdefault(share, {})[timing.provider] = timing
    return {share: tuple(_rows(report, there)) for share, there in found.items()}


def standing_for_ours(rows: Sequence[RankRow]) -> RankRow | None:
    """What the plan takes by itself, else the fastest of ours."""
    ours = [row for row in rows if row.ours]
    chosen = [row for row in ours if row.provider == OURS[0]]
    return next(iter(chosen), None) or min(ours, key=lambda row: row.seconds.estimate, default=None)


def rank_tables(report: LossReport) -> tuple[Table, ...]:
    """One a share."""
    columns = ("loss", "as", "ms", "95 % interval", f"× {BASELINE}", "95 % interval")
    return tuple(
        Table(
            title=f"One rank of {share.world_size}: {share.rows} rows of "
            f"{share.rows * share.world_size} × {share.dimensions}, {share.dtype}, {share.device}, "
            "without the links between them",
            columns=columns,
            rows=tuple(map(_cells, rows)),
            names=2,
        )
        for share, rows in rank_rows(report).items()
    )


def _rows(report: LossReport, timings: dict[str, LossRankTiming]) -> Iterable[RankRow]:
    base = timings.get(BASELINE)
    for name in sorted(timings, key=lambda name: name != BASELINE):
        timing = timings[name]
        known = report.subjects.get(name)
        paired = base is not None and base is not timing and _in_one_run(base, timing)
        yield RankRow(
            provider=name,
            ours=known.ours if known else name in OURS,
            form=timing.form,
            backend=timing.backend,
            seconds=median_interval(timing.seconds),
            speedup=paired_ratio(timing.seconds, base.seconds) if base is not None and paired else None,
        )


def _in_one_run(a: LossRankTiming, b: LossRankTiming) -> bool:
    return a.pid == b.pid and len(a.seconds) == len(b.seconds)


def _cells(row: RankRow) -> tuple[str, ...]:
    milliseconds = Interval(
        estimate=1e3 * row.seconds.estimate,
        low=1e3 * row.seconds.low,
        high=1e3 * row.seconds.high,
        samples=row.seconds.samples,
    )
    return (
        row.provider,
        row.form + (f" ({row.backend})" if row.backend != "torch" else ""),
        amount(milliseconds.estimate),
        span(milliseconds),
        NOTHING if row.speedup is None else times(row.speedup.estimate),
        NOTHING if row.speedup is None else span(row.speedup),
    )
