"""What a proof measured of each quantity that a claim is about: its value, its interval and its floor.

Nothing is computed here that a part's own report does not compute; it is only looked up.
"""

from dataclasses import dataclass
from functools import singledispatch

from bench.compare import Interval, throughput_ratio, unpaired_ratio
from bench.ladder import read_ladder
from bench.loss_compare import Place, times_as_fast
from bench.proof_claims import (
    BusyShare,
    FailedTests,
    LinearGain,
    LoaderOverStep,
    LossFloorShare,
    LossMemoryShare,
    LossSpeed,
    MemoryRatio,
    Quantity,
    RungGain,
    Speed,
    SpeedRatio,
)
from bench.record import Mode
from reports.limits import limits, milliseconds
from reports.linear_summary import floors_of, gain, spoken
from reports.loss_summary import LossSummary, Row
from reports.proof_load import ProofFolder
from reports.summary import Summary
from reports.text import listed, memory, percent, plural, times

HALF = "bfloat16"
"""What the claims about the loss are in."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One quantity, in its claim's unit; shares in [0, 1]."""

    value: float
    interval: Interval | None = None
    """None for what is counted or comes from one peak or one trace, and has none."""
    floor: str = ""
    """The least that it could be, and how much of that is reached."""
    note: str = ""
    """What else the reader is to know."""


@dataclass(frozen=True, kw_only=True)
class Unmeasured:
    """Why there is no number, beyond how the part ended; empty where that says it."""

    why: str = ""


Found = Measured | Unmeasured


@singledispatch
def measure(quantity: Quantity, part: str, proof: ProofFolder) -> Found:
    """What the part of a proof measured of the quantity. Raises TypeError for a quantity of no known kind."""
    raise TypeError(f"nothing measures {type(quantity).__name__}")


@measure.register
def _(quantity: FailedTests, part: str, proof: ProofFolder) -> Found:
    tests = proof.tests(part)
    if tests is None:
        return Unmeasured()
    skipped = sum(tests.skipped.values())
    if tests.passed + tests.failed + tests.errors == 0:
        reasons = "; ".join(f"{reason} ({count})" for reason, count in tests.skipped.items())
        return Unmeasured(why=f"no test ran{f': {reasons}' if reasons else ''}")
    note = f"{tests.passed:,} passed, {tests.failed:,} failed, {tests.errors:,} ended with an error"
    if skipped:
        note += f", {skipped:,} skipped"
    return Measured(value=float(tests.failed + tests.errors), note=note)


@measure.register
def _(quantity: LossSpeed, part: str, proof: ProofFolder) -> Found:
    if quantity.global_rows is not None:
        return Unmeasured(why="no loss of one rank's share was timed")
    found = _at(proof.losses(part), quantity.rows, quantity.dimensions)
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


@measure.register
def _(quantity: LossFloorShare, part: str, proof: ProofFolder) -> Found:
    found = _at(proof.losses(part), quantity.rows, quantity.dimensions)
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


@measure.register
def _(quantity: LossMemoryShare, part: str, proof: ProofFolder) -> Found:
    found = _at(proof.losses(part), quantity.rows, quantity.dimensions)
    if isinstance(found, Unmeasured):
        return found
    summary, place, ours = found
    theirs = summary.row("official", place)
    if not ours.peak_bytes or theirs is None or not theirs.peak_bytes:
        return Unmeasured(why="no peak memory of both was measured")
    beside = f"{memory(ours.peak_bytes, theirs.peak_bytes)} beside {memory(theirs.peak_bytes)}"
    return Measured(value=ours.peak_bytes / theirs.peak_bytes, note=beside)


@measure.register
def _(quantity: SpeedRatio, part: str, proof: ProofFolder) -> Found:
    summary = proof.comparison(part)
    if summary is None:
        return Unmeasured()
    ratio = throughput_ratio(summary.report.throughputs, quantity.than, quantity.scenario, quantity.mode)
    if ratio is None:
        return Unmeasured(why=_unfinished(summary, (quantity.than, quantity.scenario), quantity.mode))
    floor = _step_floor(summary, quantity.scenario, quantity.mode)
    return Measured(value=ratio.estimate, interval=ratio, floor=floor)


@measure.register
def _(quantity: Speed, part: str, proof: ProofFolder) -> Found:
    summary = proof.comparison(part)
    if summary is None:
        return Unmeasured()
    rate = summary.rates.get((quantity.scenario, quantity.mode))
    if rate is None:
        return Unmeasured(why=_unfinished(summary, (quantity.scenario,), quantity.mode))
    floor = _step_floor(summary, quantity.scenario, quantity.mode)
    return Measured(value=rate.median.estimate, interval=rate.median, floor=floor)


@measure.register
def _(quantity: BusyShare, part: str, proof: ProofFolder) -> Found:
    summary = proof.comparison(part)
    if summary is None:
        return Unmeasured()
    trace = next((t for t in summary.report.traces if t.scenario == quantity.scenario), None)
    if trace is None:
        return Unmeasured(why=f"no step of {quantity.scenario} was traced")
    if trace.device_work is None or "idle" not in trace.device_work:
        return Unmeasured(why="no kernel of a GPU is in the trace")
    return Measured(value=1 - trace.device_work["idle"], note=f"of {plural(trace.steps, 'traced step')}")


@measure.register
def _(quantity: LoaderOverStep, part: str, proof: ProofFolder) -> Found:
    loaders = proof.loaders(part)
    if loaders is None:
        return Unmeasured()
    place, ours = loaders.main_place, loaders.contender
    row = loaders.row(ours, place) if ours and place else None
    if row is None or not row.subject.startswith("dali"):
        return Unmeasured(why="DALI was not timed")
    steps = proof.comparison(quantity.steps_of)
    rate = steps.rates.get((quantity.scenario, "compute-only")) if steps else None
    if rate is None:
        return Unmeasured(why=f"the part {quantity.steps_of} has no step of {quantity.scenario} to compare")
    ratio = unpaired_ratio(list(rate.by_round.values()), list(row.by_round.values()))
    loader = f"{row.subject} {row.rate.estimate:,.0f} pairs/s at {place}"
    return Measured(
        value=ratio.estimate, interval=ratio, note=f"{loader}, the step {rate.median.estimate:,.0f}"
    )


@measure.register
def _(quantity: MemoryRatio, part: str, proof: ProofFolder) -> Found:
    for where in (part, quantity.instead):
        summary = proof.comparison(where)
        peak = summary.peaks.get(quantity.scenario) if summary else None
        base = summary.peaks.get(quantity.than) if summary else None
        if peak and base and peak.ratio is not None and peak.compared == "device":
            ours, theirs = peak.device or 0, base.device or 0
            return Measured(
                value=peak.ratio, note=f"{memory(ours, theirs)} beside {memory(theirs, ours)}, in {where}"
            )
    return Unmeasured(why="no peak of both on a device was measured")


@measure.register
def _(quantity: RungGain, part: str, proof: ProofFolder) -> Found:
    summary = proof.comparison(part)
    if summary is None:
        return Unmeasured()
    planned = [rung for rung in summary.plan.ladder if rung.change.startswith(quantity.change)]
    if not planned:
        return Unmeasured(why=f"the ladder has no rung {quantity.change}")
    if planned[0].missing is not None:
        return Unmeasured(why=planned[0].missing)
    ladder = read_ladder(summary.plan, summary.report.throughputs, "compute-only")
    rungs = [rung for rung in ladder.rungs if rung.change == planned[0].change] if ladder else []
    effect = next((e for rung in rungs for e in (rung.forwards, rung.backwards) if e is not None), None)
    if effect is None:
        return Unmeasured(why="its scenarios have no common round")
    return Measured(value=effect.estimate, interval=effect)


@measure.register
def _(quantity: LinearGain, part: str, proof: ProofFolder) -> Found:
    result = proof.linear(part)
    if result is None:
        return Unmeasured()
    floor = floors_of(result).get(quantity.over)
    found = gain(floor, result.test_images) if floor else None
    if floor is None or found is None:
        return Unmeasured(why=f"{spoken(quantity.over)} was not measured on the same images")
    trunk = result.results["backbone"].linear_top1
    return Measured(
        value=100 * found.estimate,
        interval=Interval(
            estimate=100 * found.estimate, low=100 * found.low, high=100 * found.high, samples=found.samples
        ),
        floor=f"{percent(floor.linear_top1)} {spoken(quantity.over)}",
        note=f"{percent(trunk)} after {result.checkpoint_step:,} steps, {result.data}",
    )


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


def _step_floor(summary: Summary, scenario: str, mode: Mode) -> str:
    found = next(
        (limit for limit in limits(summary) if (limit.scenario, limit.mode) == (scenario, mode)), None
    )
    if found is None:
        return ""
    return f"{milliseconds(found.floor.seconds)} a step, {percent(found.of_floor)} of its time"


def _unfinished(summary: Summary, scenarios: tuple[str, ...], mode: Mode) -> str:
    failures = [f for f in summary.report.failures if f.scenario in scenarios]
    if failures:
        return f"{failures[0].scenario} failed during {failures[0].stage}: {failures[0].message}"
    without = [name for name in scenarios if (name, mode) not in summary.rates]
    if not without:
        return "no round that both finished"
    return f"{listed(without)} {'has' if len(without) == 1 else 'have'} no round {mode}"
