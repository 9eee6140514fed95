"""The sentences of a report. Each claims no more than the records hold.

A speed other than the baseline's is claimed only where the whole 95 % interval of six rounds or more lies on
one side of 1. An accuracy is "the same" only where it is non-inferior: the interval's lower end stays above
minus the margin, over two seeds or more. It is "better" where that end is above 0.
"""

import re
from collections.abc import Sequence
from typing import Literal

from bench.compare import FEWEST_ROUNDS as FEWEST_ROUNDS
from bench.compare import Interval
from bench.record import Environment, Mode
from reports.load import FLOORS
from reports.summary import Summary
from reports.text import amount, listed, memory, percent, plural, span, times

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
        found = {
            "speed": _speed(summary, scenario),
            "memory": _memory(summary, scenario),
            "accuracy": _accuracy(summary, scenario),
        }
        said = [phrase for phrase in found.values() if phrase]
        if missing := [what for what, phrase in found.items() if not phrase]:
            said.append(f"{listed(missing)} not compared")
        sentence = f"{scenario} against {baseline}: {', '.join(said)}"
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


def _speed(summary: Summary, scenario: str) -> str | None:
    places: tuple[tuple[Mode, str], ...] = (("end-to-end", ""), ("compute-only", " on compute alone"))
    for mode, where in places:
        rate = summary.rates.get((scenario, mode))
        if rate is not None and rate.ratio is not None:
            return _speed_of(rate.ratio) + where
    return None


def _speed_of(ratio: Interval) -> str:
    value = _brief(ratio.estimate)
    if ratio.samples < FEWEST_ROUNDS:
        return f"speed undecided ({value} in {plural(ratio.samples, 'round')})"
    if ratio.low > 1:
        return f"{value} the speed"
    if ratio.high < 1:
        return f"slower, at {value} the speed"
    return f"speed not shown to differ ({value})"


def _memory(summary: Summary, scenario: str) -> str | None:
    peak = summary.peaks.get(scenario)
    if peak is None or peak.ratio is None:
        return None
    how_much = "the same" if round(peak.ratio, 2) == 1 else f"{_brief(peak.ratio)} the"
    return f"{how_much} {'device ' if peak.compared == 'device' else ''}memory"


def _accuracy(summary: Summary, scenario: str) -> str | None:
    probe = summary.probes.get(scenario)
    if probe is None or probe.verdict is None:
        return None
    found, gap = probe.verdict, probe.verdict.difference_points
    words = "accuracy undecided"
    if found.verdict == "inferior":
        words = "lower accuracy"
    elif found.verdict == "non-inferior":
        words = "better accuracy" if gap.low > 0 else "the same accuracy"
        if gap.high < 0:
            words += f" within {found.margin_points:.1f} points"
    alone = " on one seed" if gap.samples == 1 else ""
    return f"{words}{alone} ({both_means(summary, scenario)})"


def both_means(summary: Summary, scenario: str) -> str:
    """Mean linear accuracies: `88.2 against 86.0 %`."""
    mine, theirs = (summary.probes[name].mean for name in (scenario, summary.plan.baseline))
    return f"{100 * mine:.1f} against {percent(theirs)}"


def _brief(value: float) -> str:
    """As said aloud: `0.4×` for 0.40×."""
    return re.sub(r"(\.\d)0×$", r"\1×", times(value))


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


def bottleneck(summary: Summary, scenario: str) -> str | None:
    """What bounds a scenario, what a perfect loader would give it, and its speed on compute alone; None where
    that was not measured."""
    bound = pace(summary, scenario)
    if bound is None:
        return None
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


def floors(summary: Summary, scenario: str) -> str | None:
    """How far the probe stands above what needs no pretraining; None without a probe or a floor."""
    probe = summary.probes.get(scenario)
    floors = [summary.probes[name] for name in FLOORS if name in summary.probes]
    if probe is None or not floors:
        return None
    parts = []
    for floor in floors:
        gap = round(100 * (probe.mean - floor.mean), 1)
        name = "a random trunk" if floor.subject == "random-trunk" else "raw pixels"
        side = "above" if gap > 0 else "below" if gap < 0 else "from"
        parts.append(f"{abs(gap):.1f} points {side} {name} ({percent(floor.mean)})")
    return f"The linear probe of {scenario} reaches {percent(probe.mean)}: {listed(parts)}."


def unmeasured(summary: Summary) -> tuple[str, ...]:
    """What the records leave open without a fault of anyone: it belongs at a report's end."""
    name, said = summary.plan.contender, []
    if pace(summary, name) is None:
        said.append(f"What bounds {name} was not measured: it takes rounds end to end and compute-only.")
    if name not in summary.probes:
        said.append(f"The linear accuracy of {name} was not measured.")
    elif floors(summary, name) is None:
        said.append("No floor was probed, so how much of the accuracy is learnt is unknown.")
    return tuple(said)


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
