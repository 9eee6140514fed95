"""What a proof measured of the loss: its speed, its share of the floor and its memory."""

from collections.abc import Sequence

from bench.compare import Interval
from bench.loss_compare import Place, times_as_fast
from bench.proof_quantities import LossFloorShare, LossMemoryShare, LossSpeed, RankSpeed
from reports.limits import milliseconds
from reports.loss_load import BASELINE
from reports.loss_ranks import RankRow, rank_rows, standing_for_ours
from reports.loss_summary import LossSummary, Row
from reports.proof_found import Found, Measured, Unmeasured
from reports.text import memory, percent, times

HALF = "bfloat16"
"""What the claims about the loss are in."""


def loss_speed(quantity: LossSpeed, summary: LossSummary | None) -> Found:
    found = _at(summary, quantity.rows, quantity.dimensions)
    if isinstance(found, Unmeasured):
        return found
    summary, place, ours = found
    timings = summary.report.timings
    ratio = times_as_fast(timings, ours.provider, quantity.than, place, summary.phase)
    if ratio is None:
        return Unmeasured(why=_untimed(summary, quantity.than, place))
    return Measured(
        value=ratio.estimate,
        interval=ratio,
        floor=_loss_floor(summary, place, ours),
        note=_fastest(summary, place, ours),
    )


def rank_speed(quantity: RankSpeed, summary: LossSummary | None) -> Found:
    if summary is None:
        return Unmeasured()
    wanted = (HALF, quantity.rows, quantity.dimensions, quantity.world_size)
    shares = rank_rows(summary.report)
    rows = next((rows for share, rows in shares.items() if share[1:] == wanted), ())
    ours = standing_for_ours(rows)
    if ours is None or ours.speedup is None:
        failure = next((f for f in summary.report.failures if "rank" in f.scenario), None)
        return Unmeasured(why=failure.message if failure else "one rank's share was not timed beside theirs")
    return Measured(value=ours.speedup.estimate, interval=ours.speedup, note=_shared(ours, rows))


def loss_floor_share(quantity: LossFloorShare, summary: LossSummary | None) -> Found:
    found = _at(summary, quantity.rows, quantity.dimensions)
    if isinstance(found, Unmeasured):
        return found
    summary, place, ours = found
    if ours.floor_share is None:
        return Unmeasured(why="no floor was measured there")
    seconds = ours.seconds[summary.phase]
    least = ours.floor_share * seconds.estimate
    # The floor has no interval of its own: the best product and the best copy of the run.
    share = Interval(
        estimate=ours.floor_share,
        low=least / seconds.high,
        high=least / seconds.low,
        samples=seconds.samples,
    )
    return Measured(
        value=ours.floor_share,
        interval=share,
        floor=f"{milliseconds(least)} of {milliseconds(seconds.estimate)}",
        note=_fastest(summary, place, ours),
    )


def loss_memory_share(quantity: LossMemoryShare, summary: LossSummary | None) -> Found:
    found = _at(summary, quantity.rows, quantity.dimensions)
    if isinstance(found, Unmeasured):
        return found
    summary, place, ours = found
    theirs = summary.row(BASELINE, place)
    if not ours.peak_bytes or theirs is None or not theirs.peak_bytes:
        return Unmeasured(why="no peak memory of both was measured")
    beside = f"{memory(ours.peak_bytes, theirs.peak_bytes)} beside {memory(theirs.peak_bytes)}"
    return Measured(value=ours.peak_bytes / theirs.peak_bytes, note=beside)


def _at(
    summary: LossSummary | None, rows: int, dimensions: int
) -> tuple[LossSummary, Place, Row] | Unmeasured:
    """The place of that shape in half precision, and the row that stands for ours."""
    if summary is None:
        return Unmeasured()
    wanted = (rows, dimensions, HALF)
    place = next((place for place in summary.rows if (place.n, place.d, place.dtype) == wanted), None)
    if place is None:
        return Unmeasured(why=f"{rows} × {dimensions} was not measured in {HALF}")
    ours = summary.ours_at(place)
    if ours is None:
        return Unmeasured(why=f"ours was not timed at {rows} × {dimensions}")
    return summary, place, ours


def _shared(ours: RankRow, rows: Sequence[RankRow]) -> str:
    """How ours ran, and which other of ours is faster, if one is."""
    said = f"{ours.provider} ran as {ours.form}, {ours.backend}, {milliseconds(ours.seconds.estimate)}"
    best = min((row for row in rows if row.ours), key=lambda row: row.seconds.estimate)
    return said if best is ours else f"{said}; {best.provider} takes {milliseconds(best.seconds.estimate)}"


def _untimed(summary: LossSummary, provider: str, place: Place) -> str:
    subject = summary.report.subjects.get(provider)
    if subject is not None and subject.obstacle:
        return f"{provider}: {subject.obstacle}"
    row = summary.row(provider, place)
    if row is not None and row.refused:
        return f"{provider} failed the check against the oracle"
    failure = next((f for f in summary.report.failures if f.scenario == provider), None)
    return f"{provider}: {failure.message}" if failure else f"{provider} was not timed there"


def _loss_floor(summary: LossSummary, place: Place, ours: Row) -> str:
    if ours.floor_share is None:
        return ""
    least = ours.floor_share * ours.seconds[summary.phase].estimate
    return f"{milliseconds(least)}, {percent(ours.floor_share)} of its time"


def _fastest(summary: LossSummary, place: Place, ours: Row) -> str:
    """How ours ran, and which other of ours is faster, if one is: the next thing to mend."""
    took = milliseconds(ours.seconds[summary.phase].estimate)
    said = f"{ours.provider} ran as {ours.form}, {ours.backend}, {took}"
    others = [row for row in summary.rows[place] if row.ours and summary.phase in row.seconds]
    best = min(others, key=lambda row: row.seconds[summary.phase].estimate)
    if best.provider == ours.provider:
        return said
    gained = times_as_fast(summary.report.timings, best.provider, ours.provider, place, summary.phase)
    return f"{said}; {best.provider} is {times(gained.estimate)} as fast" if gained else said
