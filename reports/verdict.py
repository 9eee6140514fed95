"""The verdict: a headline, three numbers to be shown large, and what to know before believing them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from bench.compare import Interval, seeds_to_decide
from reports.energy import energy_unmeasured
from reports.limits import limits_caveats, limits_sentences
from reports.load import Report
from reports.names import as_shown
from reports.sentences import (
    FEWEST_ROUNDS,
    both_means,
    bottleneck,
    compare,
    failed_stages,
    floors,
    interval_text,
    machine,
    unmeasured,
)
from reports.summary import Summary, summarise
from reports.text import memory, plural, seconds, signed, times
from reports.waterfall import ladder_sentences, ladder_unmeasured, ladders

Tone = Literal["good", "bad", "open"]

FEW = 3
"""Scenarios that are spoken of one by one in a terminal, and in a page before it is unfolded."""
BUSY_LOAD = 0.5
"""Load per core, when the run began, from which the machine counts as busy with something else."""


@dataclass(frozen=True, kw_only=True)
class Card:
    """One metric of the verdict, to be shown large."""

    label: str
    value: str
    detail: str
    tone: Tone

    @property
    def line(self) -> str:
        return f"{self.label}: {self.value} ({self.detail})"


@dataclass(frozen=True, kw_only=True)
class Verdict:
    headline: str
    """Speed, memory and accuracy of the contender against the baseline, and what failed, in one sentence
    without intervals: the cards have them."""
    tone: Tone
    """`good` only where it is shown to be faster, with no more memory, and non-inferior, and nothing of it
    failed."""
    cards: tuple[Card, ...]
    others: tuple[str, ...]
    """The same sentence for every other scenario against the baseline; a ladder's have sentences of their
    own."""
    sections: tuple[tuple[str, tuple[str, ...]], ...]
    """What the numbers mean, under titles: the others, who is the bottleneck, what each change of a ladder
    brings, how close it comes to its machine's limits, and how much is learnt."""
    caveats: tuple[str, ...]
    """What a reader has to know before believing the above; empty at best."""
    machine: str
    unmeasured: tuple[str, ...]
    """What the records leave open and is no fault."""


def first_few(sentences: Sequence[str]) -> tuple[str, ...]:
    """`FEW` of the sentences, and how many more the page has."""
    if len(sentences) <= FEW:
        return tuple(sentences)
    return (*sentences[:FEW], f"The same of {len(sentences) - FEW} more scenarios is in the page.")


def verdict(report: Report) -> Verdict:
    """Everything that is said in words about a report."""
    summary = summarise(as_shown(report))
    plan = summary.plan
    cards = _cards(summary, plan.contender)
    failed = failed_stages(summary, plan.contender) or failed_stages(summary, plan.baseline)
    tones = [card.tone for card in cards]
    tone: Tone = "good" if tones == ["good"] * 3 else "bad" if "bad" in tones else "open"
    ladder = _ladder(summary)
    rest = [name for name in summary.scenarios if name not in (plan.baseline, plan.contender)]
    others = () if ladder else tuple(compare(summary, name) for name in rest)
    sections = (
        ("The other scenarios", others),
        ("What each change brings", ladder),
        ("What sets the pace", _paces(summary)),
        ("How close to the machine's limits", limits_sentences(summary)),
        ("How much is learnt", tuple(filter(None, [floors(summary, plan.contender)]))),
    )
    return Verdict(
        headline=_headline(summary),
        tone="bad" if failed else tone,
        cards=cards,
        others=others,
        sections=tuple((title, said) for title, said in sections if said),
        caveats=(*_caveats(summary), *limits_caveats(summary)),
        machine=machine(report.environments),
        unmeasured=_unmeasured(summary),
    )


def _paces(summary: Summary) -> tuple[str, ...]:
    names = dict.fromkeys((summary.plan.contender, *summary.scenarios))
    return tuple(said for name in names if (said := bottleneck(summary, name)))


def _unmeasured(summary: Summary) -> tuple[str, ...]:
    gone = (said for ladder in ladders(summary) if (said := ladder_unmeasured(ladder)))
    return tuple(dict.fromkeys((*unmeasured(summary), *gone, *energy_unmeasured(summary))))


def _ladder(summary: Summary) -> tuple[str, ...]:
    return tuple(dict.fromkeys(said for ladder in ladders(summary) for said in ladder_sentences(ladder)))


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
    detail = interval_text(ratio) + (f", {ratio.samples} rounds" if ratio.samples >= FEWEST_ROUNDS else "")
    return Card(
        label="Speed, end to end",
        value=times(ratio.estimate),
        detail=detail + _setup(summary, scenario),
        tone=_side(ratio),
    )


def _setup(summary: Summary, scenario: str) -> str:
    """What the first step costs, beside the baseline's: a speed leaves it out."""
    known = [summary.setups.get(name) for name in (scenario, summary.plan.baseline)]
    said = " against ".join(seconds(one) for one in known if one is not None)
    return f"; set-up {said}" if known[0] is not None else ""


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
    found, gap = probe.verdict, probe.verdict.difference_points
    decided: dict[str, tuple[Tone, str]] = {
        "non-inferior": ("good", "non-inferior within"),
        "inferior": ("bad", "inferior by more than"),
        "undecided": ("open", "undecided within"),
    }
    tone, words = decided[found.verdict]
    spread = "one seed, so no interval"
    if gap.samples > 1:
        spread = f"95 % interval {signed(gap.low)} to {signed(gap.high)}, {plural(gap.samples, 'seed')}"
    return Card(
        label="Linear accuracy",
        value=f"{signed(gap.estimate)} points",
        detail=f"{both_means(summary, scenario)}; {spread}; {words} {found.margin_points:.1f} points",
        tone=tone,
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
            caveats.append(f"Some {needed} seeds would decide the accuracy of {name}.")
    return tuple(caveats)


def _side(ratio: Interval) -> Tone:
    if ratio.samples < FEWEST_ROUNDS:
        return "open"
    return "good" if ratio.low > 1 else "bad" if ratio.high < 1 else "open"
