"""The sentences of a report. Each claims no more than the records hold.

Speed is "as fast as" or "slower" only where the whole 95 % interval lies on one side of 1. Accuracy is
non-inferior only where the interval's lower end stays above minus the margin, over two seeds or more. What
was not measured is said to be so.
"""

from collections.abc import Sequence
from typing import Literal

from bench.compare import FEWEST_ROUNDS as FEWEST_ROUNDS
from bench.compare import AccuracyVerdict, Interval
from bench.record import Environment, Mode
from reports.load import FLOORS
from reports.summary import Peak, Summary
from reports.text import amount, listed, memory, percent, plural, signed, span, times

WHERE: dict[Mode, str] = {
    "end-to-end": "end to end",
    "compute-only": "on compute alone",
    "loader-only": "from the loader alone",
}
LOADER_WAIT = 0.1
"""A step that waits for its loader a smaller share of the time than this is not starved by it."""
LOADER_BOUND = 1.1
"""A free loader has to bring at least so much before the loader is what holds a scenario back."""


def compare(summary: Summary, scenario: str) -> str:
    """One sentence: `scenario` against the baseline in speed, memory and accuracy, and what failed."""
    baseline = summary.plan.baseline
    if scenario == baseline:
        sentence = _alone(summary, scenario)
    else:
        speed = _speed(summary, scenario)
        sentence = f"{speed}, {_memory(summary, scenario)}, and {_accuracy(summary, scenario)}"
    for name in dict.fromkeys((scenario, baseline)):
        if stages := failed_stages(summary, name):
            sentence += f"; {name} failed during {listed(stages)}"
    return sentence + "."


def interval_text(interval: Interval) -> str:
    """The interval in words, and that it is of few rounds where it is."""
    if interval.samples == 1:
        return "one round only, so no interval"
    few = f", of only {interval.samples} rounds" if interval.samples < FEWEST_ROUNDS else ""
    return f"95 % interval {span(interval)}{few}"


def _speed(summary: Summary, scenario: str) -> str:
    baseline = summary.plan.baseline
    places: tuple[tuple[Mode, str, str], ...] = (
        ("end-to-end", "end to end", ""),
        ("compute-only", "on compute alone", " with end to end not compared"),
    )
    for mode, where, rest in places:
        rate = summary.rates.get((scenario, mode))
        if rate is not None and rate.ratio is not None:
            return _speed_of(rate.ratio, scenario, baseline, where) + rest
    return f"{scenario} has no round in common with {baseline} to compare its speed by"


def _speed_of(ratio: Interval, scenario: str, baseline: str, where: str) -> str:
    value, interval = times(ratio.estimate), interval_text(ratio)
    alone = ratio.samples == 1
    if ratio.low > 1 or (alone and ratio.estimate == 1):
        return f"{scenario} is {value} as fast as {baseline} {where} ({interval})"
    if ratio.high < 1:
        return f"{scenario} is slower than {baseline}, at {value} its speed {where} ({interval})"
    return f"{scenario} is shown neither faster nor slower than {baseline} {where} ({value}, {interval})"


def _memory(summary: Summary, scenario: str) -> str:
    peak = summary.peaks.get(scenario)
    if peak is None or peak.ratio is None:
        return "has no memory to compare"
    more = "but peaks at a larger" if round(peak.ratio, 2) > 1 else "peaks at"
    return f"{more} {times(peak.ratio)} its {_kind(peak)}memory"


def _kind(peak: Peak) -> str:
    return "device " if peak.compared == "device" else ""


def _points(found: AccuracyVerdict) -> str:
    gap = found.difference_points
    interval = f"95 % interval {signed(gap.low)} to {signed(gap.high)}"
    return f"{signed(gap.estimate)} over {plural(gap.samples, 'seed')}, {interval}"


def _accuracy(summary: Summary, scenario: str) -> str:
    probe = summary.probes.get(scenario)
    if probe is None:
        return "its linear accuracy was not measured"
    found = probe.verdict
    if found is None:
        return f"its linear accuracy shares no seed with {summary.plan.baseline} to compare by"
    margin = f"{found.margin_points:.1f} points"
    if found.difference_points.samples == 1:
        gap = signed(found.difference_points.estimate)
        return f"its linear accuracy differs by {gap} points on one seed, which cannot decide within {margin}"
    if found.verdict == "non-inferior":
        return f"its linear accuracy is non-inferior within {margin} ({_points(found)})"
    if found.verdict == "inferior":
        return f"its linear accuracy is inferior by more than {margin} ({_points(found)})"
    return f"whether its linear accuracy is non-inferior within {margin} is undecided ({_points(found)})"


def _alone(summary: Summary, scenario: str) -> str:
    found = []
    if rate := summary.rates.get((scenario, "end-to-end")):
        found.append(f"makes {amount(rate.median.estimate)} pairs/s end to end")
    if peak := summary.peaks.get(scenario):
        found.append(f"peaks at {memory(peak.device or peak.host_over_start)}")
    if probe := summary.probes.get(scenario):
        found.append(f"reaches {percent(probe.mean)} linear accuracy")
    return f"{scenario} {listed(found) if found else 'was not measured'}; there is nothing to compare it with"


Pace = Literal["loader", "shared cores", "compute", "undecided"]
"""What bounds a scenario. On a CPU a loader slows a step down without making it wait: it takes its cores."""


def pace(summary: Summary, scenario: str) -> Pace | None:
    """What bounds a scenario, from its rounds with real data and with one cached batch; None where they have
    no round in common.
    """
    gain = summary.free_loader.get(scenario)
    if gain is None:
        return None
    if gain.samples < FEWEST_ROUNDS:
        return "undecided"
    if gain.high <= LOADER_BOUND:
        return "compute"
    if gain.low <= LOADER_BOUND:
        return "undecided"
    waits = summary.rates[scenario, "end-to-end"].loader_wait
    return "shared cores" if waits is not None and waits < LOADER_WAIT else "loader"


def bottleneck(summary: Summary, scenario: str) -> str:
    """What bounds a scenario, what a perfect loader would give it, and its speed on compute alone."""
    bound = pace(summary, scenario)
    if bound is None:
        return f"What bounds {scenario} was not measured: that takes rounds both end to end and compute-only."
    gain = summary.free_loader[scenario]
    worth = times(gain.estimate)
    waits = summary.rates[scenario, "end-to-end"].loader_wait
    text = {
        "loader": f"{scenario} is held back by its loader: with a free one it would be {worth} as fast",
        "shared cores": f"{scenario} shares its cores with its loader, and waits for it "
        f"{percent(waits or 0)} of the time: with a free one it would be {worth} as fast",
        "compute": f"{scenario} is bound by compute: a free loader would make it {worth} as fast",
        "undecided": f"Whether loader or compute bounds {scenario} is undecided: a free loader would make it "
        f"{worth} as fast",
    }[bound]
    rates = ", ".join(
        f"{amount(rate.median.estimate)} pairs/s {where}"
        for mode, where in WHERE.items()
        if (rate := summary.rates.get((scenario, mode)))
    )
    text += f" ({interval_text(gain)}; {rates})"
    ratio = summary.rates[scenario, "compute-only"].ratio
    if ratio is not None:
        text += f"; on compute alone it is {times(ratio.estimate)} as fast as {summary.plan.baseline} "
        text += f"({interval_text(ratio)})"
    return text + "."


def floors(summary: Summary, scenario: str) -> str:
    """How far the probe stands above what needs no pretraining."""
    probe = summary.probes.get(scenario)
    floors = [summary.probes[name] for name in FLOORS if name in summary.probes]
    if probe is None:
        return f"The linear accuracy of {scenario} was not measured, so it says nothing about the floors."
    reached = f"The linear probe of {scenario} reaches {percent(probe.mean)}"
    if not floors:
        return f"{reached}; no floor was probed, so how much of it is learnt is unknown."
    parts = []
    for floor in floors:
        gap = round(100 * (probe.mean - floor.mean), 1)
        name = "a random trunk" if floor.subject == "random-trunk" else "raw pixels"
        side = "above" if gap > 0 else "below" if gap < 0 else "from"
        parts.append(f"{abs(gap):.1f} points {side} {name} ({percent(floor.mean)})")
    return f"{reached}: {listed(parts)}."


def machine(environments: Sequence[Environment]) -> str:
    """The machine in one sentence, with what else kept it busy."""
    first = environments[0]
    gpu = "no GPU"
    if first.gpu:
        gpu = first.gpu if first.gpu_count <= 1 else f"{first.gpu_count} × {first.gpu}"
    parts = [
        f"{first.processor} ({plural(first.cores, 'core')}, {memory(first.memory_bytes)})",
        gpu,
        first.system,
    ]
    parts += [f"{name} {first.versions[name]}" for name in ("torch", "nvidia-dali") if name in first.versions]
    if first.commit:
        parts.append(
            f"commit {first.commit[:12]}" + (" with uncommitted changes" if first.uncommitted_changes else "")
        )
    text = f"Measured on {', '.join(parts)}"
    if len(environments) > 1:
        text += f", in {len(environments)} runs"
    return text + "."


def failed_stages(summary: Summary, scenario: str) -> list[str]:
    return list(
        dict.fromkeys(failure.stage for failure in summary.report.failures if failure.scenario == scenario)
    )
