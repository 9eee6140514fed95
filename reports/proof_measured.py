"""What a proof measured of each quantity that a claim is about: its value, its interval and its floor.

Nothing is computed here that a part's own report does not compute; it is only looked up.
"""

from functools import singledispatch

from bench.compare import Interval, throughput_ratio, unpaired_ratio
from bench.ladder import read_ladder
from bench.proof_quantities import (
    BusyShare,
    FailedTests,
    LinearGain,
    LoaderOverStep,
    LossFloorShare,
    LossMemoryShare,
    LossSpeed,
    MemoryRatio,
    Quantity,
    RankSpeed,
    RungGain,
    Speed,
    SpeedRatio,
)
from bench.record import Mode
from reports.limits import limits, milliseconds
from reports.linear_summary import floors_of, gain, spoken
from reports.names import shown_name
from reports.proof_found import Found, Measured, Unmeasured
from reports.proof_load import ProofFolder
from reports.proof_losses import loss_floor_share, loss_memory_share, loss_speed, rank_speed
from reports.summary import Summary
from reports.text import listed, memory, percent, plural


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
    return loss_speed(quantity, proof.losses(part))


@measure.register
def _(quantity: RankSpeed, part: str, proof: ProofFolder) -> Found:
    return rank_speed(quantity, proof.losses(part))


@measure.register
def _(quantity: LossFloorShare, part: str, proof: ProofFolder) -> Found:
    return loss_floor_share(quantity, proof.losses(part))


@measure.register
def _(quantity: LossMemoryShare, part: str, proof: ProofFolder) -> Found:
    return loss_memory_share(quantity, proof.losses(part))


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
        return Unmeasured(why=f"no step of {shown_name(quantity.scenario)} was traced")
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
        name = shown_name(quantity.scenario)
        return Unmeasured(why=f"the part {quantity.steps_of} has no step of {name} to compare")
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
    without, changed = planned[0].forwards or planned[0].backwards or ("", "")
    return Measured(
        value=effect.estimate, interval=effect, note=f"{shown_name(changed)} beside {shown_name(without)}"
    )


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
        return f"{shown_name(failures[0].scenario)} failed during {failures[0].stage}: {failures[0].message}"
    without = [shown_name(name) for name in scenarios if (name, mode) not in summary.rates]
    if not without:
        return "no round that both finished"
    return f"{listed(without)} {'has' if len(without) == 1 else 'have'} no round {mode}"
