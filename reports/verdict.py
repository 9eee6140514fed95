"""The verdict: a headline, three numbers to be shown large, and what to know before believing them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from bench.compare import Interval, seeds_to_decide
from reports.limits import limits_caveats, limits_sentences
from reports.load import Report
from reports.sentences import (
    FEWEST_ROUNDS,
    bottleneck,
    compare,
    failed_stages,
    floors,
    interval_text,
    machine,
)
from reports.summary import Summary, summarise
from reports.text import memory, plural, signed, times
from reports.waterfall import ladder_sentences, ladders

Tone = Literal["good", "bad", "open"]

FEW = 3
"""Scenarios that are spoken of one by one in a terminal, in Markdown and in a page before it is unfolded."""
BUSY_LOAD = 0.5
"""Load per core, when the run began, from which the machine counts as busy with something else."""


@dataclass(frozen=True, kw_only=True)
class Card:
    """One metric of the verdict, to be shown large."""

    label: str
    value: str
    detail: str
    tone: Tone


@dataclass(frozen=True, kw_only=True)
class Verdict:
    headline: str
    """Speed, memory and accuracy of the contender against the baseline, and what failed, in one sentence."""
    tone: Tone
    """`good` only where it is shown to be faster, with no more memory, and non-inferior, and nothing of it
    failed."""
    cards: tuple[Card, ...]
    others: tuple[str, ...]
    """The same sentence for every other scenario against the baseline."""
    paces: tuple[str, ...]
    """What bounds each scenario, the contender first, and what a perfect loader would give it."""
    ladder: tuple[str, ...]
    """What each change of a ladder brings; empty where none was climbed."""
    floors: str
    limits: tuple[str, ...]
    """How close it comes to its machine's limits, its energy and its cost."""
    machine: str
    caveats: tuple[str, ...]
    """What a reader has to know before believing the above; empty at best."""

    @property
    def context(self) -> tuple[str, ...]:
        """What follows the headline in a terminal and in Markdown: of many scenarios, the first few."""
        others = () if self.ladder else first_few(self.others)
        return (*self.ladder, *others, *first_few(self.paces), self.floors, *self.limits, self.machine)


def first_few(sentences: Sequence[str]) -> tuple[str, ...]:
    """`FEW` of the sentences, and how many more the page has."""
    if len(sentences) <= FEW:
        return tuple(sentences)
    return (*sentences[:FEW], f"The same of {len(sentences) - FEW} more scenarios is in the page.")


def verdict(report: Report) -> Verdict:
    """Everything that is said in words about a report."""
    summary = summarise(report)
    plan = report.plan
    cards = _cards(summary, plan.contender)
    failed = failed_stages(summary, plan.contender) or failed_stages(summary, plan.baseline)
    tones = [card.tone for card in cards]
    tone: Tone = "good" if tones == ["good"] * 3 else "bad" if "bad" in tones else "open"
    others = [name for name in summary.scenarios if name not in (plan.baseline, plan.contender)]
    return Verdict(
        headline=_headline(summary),
        tone="bad" if failed else tone,
        cards=cards,
        others=tuple(compare(summary, name) for name in others),
        paces=_paces(summary),
        ladder=tuple(dict.fromkeys(said for ladder in ladders(summary) for said in ladder_sentences(ladder))),
        floors=floors(summary, plan.contender),
        limits=limits_sentences(summary),
        machine=machine(report.environments),
        caveats=(*_caveats(summary), *limits_caveats(summary)),
    )


def _paces(summary: Summary) -> tuple[str, ...]:
    names = dict.fromkeys((summary.plan.contender, *summary.scenarios))
    measured = [name for name in names if name in summary.free_loader]
    return tuple(bottleneck(summary, name) for name in measured or (summary.plan.contender,))


def _headline(summary: Summary) -> str:
    sentence = compare(summary, summary.plan.contender)
    count = len(summary.report.problems)
    if count:
        problems = f"{plural(count, 'problem')} with the records {'is' if count == 1 else 'are'} listed below"
        sentence = f"{sentence[:-1]}; {problems}."
    return sentence


def _cards(summary: Summary, scenario: str) -> tuple[Card, ...]:
    return (
        _speed_card(summary, scenario),
        _memory_card(summary, scenario),
        _accuracy_card(summary, scenario),
    )


def _speed_card(summary: Summary, scenario: str) -> Card:
    rate = summary.rates.get((scenario, "end-to-end"))
    if rate is None or rate.ratio is None:
        return Card(label="Speed, end to end", value="not compared", detail="no common round", tone="open")
    ratio = rate.ratio
    return Card(
        label="Speed, end to end",
        value=times(ratio.estimate),
        detail=interval_text(ratio) + (f", {ratio.samples} rounds" if ratio.samples >= FEWEST_ROUNDS else ""),
        tone=_side(ratio),
    )


def _memory_card(summary: Summary, scenario: str) -> Card:
    peak, base = summary.peaks.get(scenario), summary.peaks.get(summary.plan.baseline)
    if peak is None or base is None or peak.ratio is None:
        return Card(label="Memory", value="not compared", detail="no common measurement", tone="open")
    device = peak.compared == "device"
    ours, theirs = ((p.device if device else p.host_over_start) or 0 for p in (peak, base))
    return Card(
        label="Memory, device peak" if device else "Memory, host peak over start",
        value=times(peak.ratio),
        detail=f"{memory(ours, theirs)} against {memory(theirs, ours)}",
        tone="good" if round(peak.ratio, 2) <= 1 else "bad",
    )


def _accuracy_card(summary: Summary, scenario: str) -> Card:
    probe = summary.probes.get(scenario)
    if probe is None or probe.verdict is None:
        return Card(label="Linear accuracy", value="not compared", detail="no common seed", tone="open")
    found = probe.verdict
    gap = found.difference_points
    tones: dict[str, Tone] = {"non-inferior": "good", "inferior": "bad", "undecided": "open"}
    spread = "one seed, so no interval"
    if gap.samples > 1:
        spread = f"{signed(gap.low)} to {signed(gap.high)}, {plural(gap.samples, 'seed')}"
    return Card(
        label=f"Linear accuracy, margin {found.margin_points:.1f} points",
        value=f"{signed(gap.estimate)} points",
        detail=f"{found.verdict}: {spread}",
        tone=tones[found.verdict],
    )


def _caveats(summary: Summary) -> tuple[str, ...]:
    plan = summary.plan
    caveats = [
        f"{failure.scenario} failed during {failure.stage}: {failure.message}"
        for failure in summary.report.failures
    ]
    for environment in summary.report.environments:
        load = environment.load_average
        if load is not None and load > BUSY_LOAD * environment.cores:
            cores = plural(environment.cores, "core")
            caveats.append(f"The machine was already busy when a run began: load {load:.1f} on {cores}.")
    for name in summary.scenarios:
        rate = summary.rates.get((name, "end-to-end"))
        if rate is not None and len(rate.by_round) < plan.rounds:
            caveats.append(
                f"{name} finished {len(rate.by_round)} of {plural(plan.rounds, 'round')} end to end."
            )
        if rate is not None and rate.ratio is not None and 1 < rate.ratio.samples < FEWEST_ROUNDS:
            caveats.append(
                f"{name} has {rate.ratio.samples} rounds to compare: a 95 % interval of a median takes "
                f"{FEWEST_ROUNDS}, so this one is narrower than it should be."
            )
        probe = summary.probes.get(name)
        if probe is not None and plan.seeds and (missing := len(set(plan.seeds) - set(probe.by_seed))):
            caveats.append(
                f"{name} was probed without {missing} of {plural(len(plan.seeds), 'planned seed')}."
            )
        if probe is not None and probe.verdict and (needed := seeds_to_decide(probe.verdict)):
            caveats.append(
                f"The accuracy of {name} is undecided over {plural(len(probe.by_seed), 'seed')}: were the "
                f"seeds to go on differing as these do, some {needed} would decide."
            )
    return tuple(caveats)


def _side(ratio: Interval) -> Tone:
    if ratio.samples < FEWEST_ROUNDS:
        return "open"
    return "good" if ratio.low > 1 else "bad" if ratio.high < 1 else "open"
