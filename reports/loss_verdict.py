"""What a report of losses says in words. Each sentence claims no more than the records hold.

Ours is the fastest at a shape only where the whole 95 % interval of its ratio to every rival timed there lies
above 1.
"""

from dataclasses import dataclass

from bench.compare import Interval
from reports.loss_load import BASELINE, LossReport, shown_error
from reports.loss_summary import BOTH, Duel, LossSummary, Row, summarise_losses
from reports.sentences import FEWEST_ROUNDS, machine
from reports.text import amount, listed, memory, percent, plural, span, times
from reports.verdict import BUSY_LOAD, Card, Tone


@dataclass(frozen=True, kw_only=True)
class LossVerdict:
    headline: str
    tone: Tone
    """`good` only where ours is the fastest everywhere, and every loss is the one it says it is."""
    cards: tuple[Card, ...]
    context: tuple[str, ...]
    caveats: tuple[str, ...]


def loss_verdict(report: LossReport) -> LossVerdict:
    """Everything that is said in words about a report of losses."""
    summary = summarise_losses(report)
    tone = _tone(summary)
    return LossVerdict(
        headline=_headline(summary),
        tone=tone,
        cards=tuple(
            card for card in (_speed_card(summary), _memory_card(summary), _floor_card(summary)) if card
        ),
        context=tuple(sentence for sentence in _context(summary) if sentence),
        caveats=_caveats(summary),
    )


def _tone(summary: LossSummary) -> Tone:
    refused = any(not gate.passed for gate in summary.report.gates)
    if refused or summary.report.failures or any(duel.lost for duel in summary.duels):
        return "bad"
    decided = all(duel.won and duel.speedup.samples >= FEWEST_ROUNDS for duel in summary.duels)
    return "good" if summary.duels and decided else "open"


def _headline(summary: LossSummary) -> str:
    sentence = _fastest(summary)
    if refused := [gate for gate in summary.report.gates if not gate.passed]:
        names = listed(list(dict.fromkeys(gate.provider for gate in refused)))
        sentence += f"; {names} failed the check against the oracle and was not timed there"
    if failures := summary.report.failures:
        names = listed(list(dict.fromkeys(failure.scenario for failure in failures)))
        sentence += f"; {names} ended with an error"
    return sentence + "."


def _fastest(summary: LossSummary) -> str:
    duels = summary.duels
    if not duels:
        return "Ours was not timed beside another loss, so there is no verdict on speed"
    places = list(dict.fromkeys(duel.place for duel in duels))
    won = [p for p in places if all(duel.won for duel in duels if duel.place == p)]
    name = listed(list(dict.fromkeys(duel.ours for duel in duels)))
    what = f"Ours ({name})" + ("" if summary.phase == BOTH else f", timed {summary.phase} only,")
    parts = []
    if len(won) == len(places) == 1:
        parts.append(f"{what} is the fastest at {summary.label(places[0])}")
    elif len(won) == len(places):
        parts.append(f"{what} is the fastest at every one of {len(places)} shapes")
    elif won:
        parts.append(f"{what} is the fastest at {len(won)} of {len(places)} shapes")
    else:
        parts.append(f"{what} is not shown to be the fastest at any of {plural(len(places), 'shape')}")
    if by := _official_range(summary):
        parts[0] += f": {by}"
    parts += [_not_won(summary, duel) for duel in duels if not duel.won]
    nearest = min(duels, key=lambda duel: duel.speedup.estimate)
    if nearest.won and nearest.rival == BASELINE and len({duel.rival for duel in duels}) > 1:
        parts.append(f"{BASELINE} is the nearest rival")
    elif nearest.won and nearest.rival != BASELINE:
        where = f" at {summary.label(nearest.place)}" if len(places) > 1 else ""
        parts.append(
            f"the nearest rival is {nearest.rival}: ours is {_ratio(nearest.speedup)} as fast{where}"
        )
    return "; ".join(parts)


def _official_range(summary: LossSummary) -> str:
    found = sorted(
        (duel for duel in summary.duels if duel.rival == BASELINE), key=lambda duel: duel.speedup.estimate
    )
    if not found:
        return ""
    if len(found) == 1:
        return f"{_ratio(found[0].speedup)} as fast as {BASELINE}"
    ends = (f"{times(duel.speedup.estimate)} ({summary.label(duel.place)})" for duel in (found[0], found[-1]))
    return f"{' to '.join(ends)} as fast as {BASELINE}"


def _not_won(summary: LossSummary, duel: Duel) -> str:
    where = f"at {summary.label(duel.place)}"
    if duel.lost:
        return f"{where} {duel.rival} is faster: ours is {_ratio(duel.speedup)} as fast"
    return f"{where} it is shown neither faster nor slower than {duel.rival} ({_ratio(duel.speedup)})"


def _ratio(interval: Interval) -> str:
    """The estimate, with its interval where there is one."""
    if interval.samples == 1:
        return f"{times(interval.estimate)} (one pair, no interval)"
    return f"{times(interval.estimate)} ({span(interval)})"


def _ours(summary: LossSummary) -> list[tuple[str, Row, Row | None]]:
    """(label, ours, the baseline) at every place where ours was timed."""
    return [
        (summary.label(place), ours, summary.row(BASELINE, place))
        for place in summary.rows
        if (ours := summary.ours_at(place)) is not None
    ]


def _memory_shares(summary: LossSummary) -> list[tuple[float, str, int, int]]:
    """(ours ÷ baseline, label, ours, baseline), least share first."""
    return sorted(
        (ours.peak_bytes / base.peak_bytes, label, ours.peak_bytes, base.peak_bytes)
        for label, ours, base in _ours(summary)
        if ours.peak_bytes is not None and base is not None and base.peak_bytes
    )


def _floor_shares(summary: LossSummary) -> list[tuple[float, str]]:
    return sorted((o.floor_share, label) for label, o, _ in _ours(summary) if o.floor_share is not None)


def _speed_card(summary: LossSummary) -> Card | None:
    found = sorted(d.speedup.estimate for d in summary.duels if d.rival == BASELINE)
    if not found:
        return None
    lost = any(duel.lost for duel in summary.duels)
    won = all(duel.won for duel in summary.duels)
    value = times(found[0]) if len(found) == 1 else f"{times(found[0])}–{times(found[-1])}"
    return Card(
        label=f"As fast as {BASELINE}",
        value=value,
        detail=f"over {plural(len(found), 'shape')}, {summary.phase}",
        tone="bad" if lost else "good" if won else "open",
    )


def _memory_card(summary: LossSummary) -> Card | None:
    shares = _memory_shares(summary)
    if not shares:
        return None
    least, label, ours, theirs = shares[0]
    return Card(
        label=f"Peak extra memory at {label}",
        value=f"{times(least)} {BASELINE}'s",
        detail=f"{memory(ours)} against {memory(theirs)}",
        tone="good" if shares[-1][0] <= 1 else "bad",
    )


def _floor_card(summary: LossSummary) -> Card | None:
    shares = _floor_shares(summary)
    if not shares:
        return None
    return Card(
        label="Of the floor",
        value=percent(shares[-1][0]),
        detail=f"at {shares[-1][1]}; least {percent(shares[0][0])} at {shares[0][1]}",
        tone="open",
    )


def _context(summary: LossSummary) -> list[str]:
    report = summary.report
    sentences = []
    if any(comparison.caches == "cold" for comparison in report.comparisons):
        sentences.append("The caches were flushed before each call that was timed.")
    if shares := _memory_shares(summary):
        least, label, ours, theirs = shares[0]
        sentence = f"Peak extra memory of ours is {times(least)} that of {BASELINE} at {label} "
        sentence += f"({memory(ours)} against {memory(theirs)})"
        if len(shares) > 1:
            sentence += f", and at most {times(shares[-1][0])} anywhere ({shares[-1][1]})"
        sentences.append(sentence + ".")
    if floors := _floor_shares(summary):
        reached = percent(floors[0][0]) + (f" to {percent(floors[-1][0])}" if len(floors) > 1 else "")
        best = {c.dtype: c for c in sorted(report.ceilings, key=lambda c: c.flops_per_second)}
        rates = [f"{amount(c.flops_per_second / 1e9)} GFLOP/s in {c.dtype}" for c in best.values()]
        bandwidth = max((c.bytes_per_second for c in report.ceilings), default=0)
        ceilings = ", ".join([*rates, f"{amount(bandwidth / 1e9)} GB/s"])
        sentences.append(
            f"Ours reaches {reached} of the floor: the least work of the exact loss, at what the machine "
            f"reached in the same run ({ceilings})."
        )
    for subject in report.subjects.values():
        if subject.obstacle:
            sentences.append(f"{subject.name} was not measured: {subject.obstacle}.")
        elif subject.convention:
            sentences.append(
                f"{subject.name} is held to the preset {subject.preset}: {subject.convention}"
                f"{_apart(report, subject.name)}."
            )
    return [*sentences, machine(report.environments)]


def _apart(report: LossReport, name: str) -> str:
    ratios = sorted(
        g.value_over_official for g in report.gates if g.provider == name and g.value_over_official
    )
    if not ratios:
        return ""
    values = times(ratios[0]) + (f" to {times(ratios[-1])}" if ratios[-1] > 1.005 * ratios[0] else "")
    return f"; on these views its value is {values} the official one"


def _caveats(summary: LossSummary) -> tuple[str, ...]:
    report = summary.report
    caveats = [
        f"{failure.scenario} failed in {failure.stage}: {failure.message}" for failure in report.failures
    ]
    for gate in report.gates:
        if not gate.passed:
            caveats.append(
                f"{gate.provider} was not timed at {gate.n} × {gate.d}, {gate.dtype}: "
                f"its value {_off(gate.value_error, gate.value_allowed)}, "
                f"its gradient {_off(gate.gradient_error, gate.gradient_allowed)}."
            )
    for environment in report.environments:
        load = environment.load_average
        if load is not None and load > BUSY_LOAD * environment.cores:
            cores = plural(environment.cores, "core")
            caveats.append(f"The machine was already busy when a run began: load {load:.1f} on {cores}.")
    few = min((duel.speedup.samples for duel in summary.duels), default=FEWEST_ROUNDS)
    if few < FEWEST_ROUNDS:
        caveats.append(
            f"Some ratios are of {plural(few, 'pair')} only: a 95 % interval of a median takes "
            f"{FEWEST_ROUNDS}, so theirs is narrower than it should be."
        )
    return tuple(caveats)


def _off(error: float | None, allowed: float) -> str:
    shown = shown_error(error)
    return f"is {shown}" if error is None else f"is off by {shown} ({shown_error(allowed)} allowed)"
