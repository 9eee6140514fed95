"""What a report of a regression run says in words: the judge's headline, what it rests on, what to do now."""

import shlex
from dataclasses import dataclass

from bench.compare import Interval
from bench.regression_judge import CaseJudgement, Status, gate_regressed
from reports.regression_load import RegressionReport
from reports.sentences import machine
from reports.text import plural, span, times
from reports.verdict import BUSY_LOAD, Card, Tone

TONES: dict[str, Tone] = {
    "fine": "good",
    "regression": "bad",
    "failed": "bad",
    "inconclusive": "open",
    "not comparable": "open",
}
STATUS_MARKS: dict[Status, str] = {
    "regressed": "▲",
    "failed": "✗",
    "missing": "✗",
    "inconclusive": "?",
    "new": "+",
    "faster": "▼",
    "unchanged": "=",
}
"""A sign beside each status, so that colour is never alone in saying it; in order of what to read first."""
CLOCKS = {
    "wall": "by wall time",
    "cpu": "by the time that each process computed",
    "cuda-events": "between events of the GPU's stream",
}
ADVICE = {
    "fine": "",
    "regression": "A slowdown is called one only where its interval lies above τ after Holm's correction and "
    "a second run says so too; a count that grew is exact. Exit code 1.",
    "inconclusive": "Not every benchmark has a verdict; its row says why. Run it again, on a quieter machine "
    "or with more --rounds. Exit code 0, with --strict 3.",
    "failed": "A benchmark ended with an error, so it has no verdict: mend that first. Exit code 4.",
    "not comparable": "Times of different machines or libraries say nothing about the code. Measure the base "
    "where the head is measured: --against with a revision does. Exit code 5.",
}


@dataclass(frozen=True, kw_only=True)
class RegressionSaid:
    headline: str
    tone: Tone
    cards: tuple[Card, ...]
    context: tuple[str, ...]
    caveats: tuple[str, ...]


def regression_said(report: RegressionReport) -> RegressionSaid:
    """Everything that is said in words about a regression run."""
    judgement = report.judgement
    return RegressionSaid(
        headline=judgement.headline,
        tone=TONES[judgement.verdict],
        cards=_cards(report),
        context=tuple(
            sentence
            for sentence in (ADVICE[judgement.verdict], _compared(report), _machine(report))
            if sentence
        ),
        caveats=_caveats(report),
    )


def ordered(cases: tuple[CaseJudgement, ...]) -> tuple[CaseJudgement, ...]:
    """What is to be read first comes first: regressions, then what has no verdict, slowest first."""
    order = list(STATUS_MARKS)
    return tuple(
        sorted(
            cases, key=lambda case: (order.index(case.status), -(case.ratio.estimate if case.ratio else 0))
        )
    )


def change(ratio: float) -> str:
    """A ratio of times as a signed percentage: 1.104 is +10.4 %."""
    if ratio >= 2:
        return times(ratio)
    text = f"{abs(100 * (ratio - 1)):.1f}"
    sign = "" if float(text) == 0 else "+" if ratio > 1 else "−"
    return f"{sign}{text} %"


def reproduce(report: RegressionReport) -> str:
    """The command line that makes this comparison again: the one that made it, with commits in the place of
    names that move on, and without where it wrote to.
    """
    plan = report.plan
    if plan.source != "revision" or not plan.base_commit or not plan.head_commit:
        return plan.command
    try:
        words = shlex.split(plan.command)
    except ValueError:
        return plan.command
    for option in ("--out", "--junit", "--summary"):
        if option in words:
            del words[words.index(option) : words.index(option) + 2]
    if "--against" in words[:-1]:
        words[words.index("--against") + 1] = plan.base_commit[:12]
    return f"git checkout {plan.head_commit[:12]} && {shlex.join(words)}"


def _cards(report: RegressionReport) -> tuple[Card, ...]:
    judgement = report.judgement
    compared = [(case, case.ratio) for case in judgement.cases if case.ratio is not None]
    regressed = sum(case.status == "regressed" for case in judgement.cases)
    undecided = sum(case.status == "inconclusive" for case in judgement.cases)
    cards = [
        Card(
            label="Benchmarks regressed",
            value=f"{regressed} of {len(judgement.cases)}",
            detail=f"{undecided} inconclusive" if undecided else f"{len(compared)} compared in time",
            tone="bad" if regressed else "open" if undecided or not compared else "good",
        )
    ]
    if compared:
        slowest, ratio = max(compared, key=lambda pair: pair[1].estimate)
        cards.append(
            Card(
                label="Slowest against its base",
                value=change(ratio.estimate),
                detail=f"{slowest.case}, {interval(ratio)}",
                tone="bad" if slowest.status == "regressed" else "good",
            )
        )
    grown = sum(map(gate_regressed, judgement.gates))
    cards.append(
        Card(
            label="Counts that differ",
            value=f"{len(judgement.gates)} of {judgement.gates_compared}",
            detail=f"{grown} grew" if judgement.gates else "operators, FLOPs, bytes, kernels",
            tone="bad" if grown else "open" if judgement.gates or not judgement.gates_compared else "good",
        )
    )
    return tuple(cards)


def interval(ratio: Interval) -> str:
    """The interval in words, or that one sample has none."""
    return "one pair, no interval" if ratio.samples == 1 else f"interval {span(ratio)}"


def _compared(report: RegressionReport) -> str:
    plan = report.plan
    head = f"head {_commit(plan.head_commit)}"
    base = f"base {_commit(plan.base_commit)} ({plan.against})"
    sources = {
        "revision": "",
        "records": ", from stored records",
        "pytest-benchmark": ", from pytest-benchmark",
    }
    how = "exact counts only: nothing was timed"
    if report.samples:
        rounds = (
            f"{plan.rounds} to {plan.most_rounds} rounds"
            if plan.most_rounds
            else plural(plan.rounds, "round")
        )
        how = f"{rounds} of {plural(plan.pairs, 'pair')} a case"
        how += f" beside the frozen naive loss, {CLOCKS[plan.clock]}"
    where = f"on {plan.device} with {plural(plan.threads, 'thread')}"
    return f"Compared: {head} with {base}{sources[plan.source]}, {where}; {how}."


def _commit(commit: str | None) -> str:
    return commit[:12] if commit else "of an unknown commit"


def _machine(report: RegressionReport) -> str:
    return machine(report.environments) if report.environments else ""


def _caveats(report: RegressionReport) -> tuple[str, ...]:
    caveats = [
        f"{failure.scenario} failed in {failure.stage}: {failure.message}" for failure in report.failures
    ]
    for environment in report.environments:
        load = environment.load_average
        if load is not None and load > BUSY_LOAD * environment.cores:
            cores = plural(environment.cores, "core")
            caveats.append(f"The machine was already busy when the run began: load {load:.1f} on {cores}.")
    if not report.environments:
        caveats.append("The records do not say on what machine they were measured.")
    for field in sorted(report.plan.base_fingerprint.keys() | report.plan.head_fingerprint.keys()):
        base, head = (
            fingerprint.get(field, "not recorded")
            for fingerprint in (report.plan.base_fingerprint, report.plan.head_fingerprint)
        )
        if base != head:
            caveats.append(f"The sides differ in {field}: base {base}, head {head}.")
    return tuple(caveats)
