"""What the rounds drew: joules a pair of views, and the device's clocks, temperature and throttling."""

import statistics
from dataclasses import dataclass
from functools import lru_cache

from bench.compare import Interval, median_interval, paired_ratio
from bench.limits_record import Energy
from bench.record import Mode
from reports.sentences import WHERE, interval_text
from reports.summary import MODES, Summary
from reports.tables import Table
from reports.text import NOTHING, amount, listed, percent, plural, span, times


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """One scenario in one mode, over its rounds."""

    scenario: str
    mode: Mode
    rounds: tuple[Energy, ...]
    joules_per_pair: Interval | None
    """None where the device has no counter."""
    watts: float | None
    ratio: Interval | None
    """Joules a pair to the baseline's, over the rounds of both; None for the baseline and without such."""

    @property
    def throttled(self) -> tuple[Energy, ...]:
        return tuple(record for record in self.rounds if record.throttled_by)


@lru_cache(maxsize=2)
def drawn(summary: Summary) -> tuple[Drawn, ...]:
    """Of every scenario and mode that has a record."""
    found = []
    for mode in MODES:
        base = _joules_per_pair(summary, summary.plan.baseline, mode)
        for name in summary.scenarios:
            rounds = tuple(e for e in summary.report.energies if (e.scenario, e.mode) == (name, mode))
            if not rounds:
                continue
            mine = _joules_per_pair(summary, name, mode)
            common = [r for r in mine if r in base and base[r] > 0 and mine[r] > 0]
            compared = common and name != summary.plan.baseline
            measured = [e for e in rounds if e.joules]
            found.append(
                Drawn(
                    scenario=name,
                    mode=mode,
                    rounds=rounds,
                    joules_per_pair=median_interval(list(mine.values())) if mine else None,
                    watts=statistics.median(sum(e.joules) / sum(e.window_seconds) for e in measured)
                    if measured
                    else None,
                    ratio=paired_ratio([base[r] for r in common], [mine[r] for r in common])
                    if compared
                    else None,
                )
            )
    return tuple(found)


def energy_table(summary: Summary) -> Table:
    rows = tuple(
        (
            one.scenario,
            one.mode,
            NOTHING if one.joules_per_pair is None else amount(one.joules_per_pair.estimate),
            NOTHING if one.ratio is None else times(one.ratio.estimate),
            NOTHING if one.ratio is None or one.ratio.samples == 1 else span(one.ratio),
            NOTHING if one.watts is None else amount(one.watts),
            _range([e.sm_clock_mhz for e in one.rounds]),
            _range([e.temperature_celsius for e in one.rounds]),
            f"{len(one.throttled)} of {len(one.rounds)}" if one.rounds[0].source == "nvml" else NOTHING,
        )
        for one in drawn(summary)
    )
    columns = (
        "scenario",
        "mode",
        "J a pair",
        "× baseline",
        "95 % interval",
        "W",
        "SM clock (MHz)",
        "°C",
        "rounds throttled",
    )
    return Table(title="Energy and clocks", columns=columns, rows=rows, names=2)


def energy_sentences(summary: Summary) -> tuple[str, ...]:
    """The contender's joules a pair beside the baseline's; none where they were not measured."""
    plan = summary.plan
    mine = [one for one in drawn(summary) if one.scenario == plan.contender and one.joules_per_pair]
    if not mine:
        return ()
    first = mine[0]
    assert first.joules_per_pair is not None
    text = f"{plan.contender} takes {amount(first.joules_per_pair.estimate)} J a pair {WHERE[first.mode]}"
    if first.ratio is not None:
        text += f", {times(first.ratio.estimate)} what {plan.baseline} takes ({interval_text(first.ratio)})"
    return (f"{text}; measured by {plan.energy or 'the device'}.",)


def energy_unmeasured(summary: Summary) -> tuple[str, ...]:
    """Why there are no joules, where a record says so."""
    why = summary.plan.energy
    measured = any(one.joules_per_pair for one in drawn(summary))
    return (f"Energy was {why}.",) if why.startswith("not measured") and not measured else ()


def energy_caveats(summary: Summary) -> tuple[str, ...]:
    """Rounds at whose end the GPU held its clocks back."""
    caveats = []
    for one in drawn(summary):
        if one.throttled:
            reasons = list(dict.fromkeys(why for record in one.throttled for why in record.throttled_by))
            count = f"{len(one.throttled)} of {plural(len(one.rounds), 'round')}"
            share = percent(len(one.throttled) / len(one.rounds))
            caveats.append(
                f"{one.scenario}, {WHERE[one.mode]}: the GPU held its clocks back at the end of {count} "
                f"({share}), by {listed(reasons)}."
            )
    return tuple(caveats)


def _joules_per_pair(summary: Summary, scenario: str, mode: Mode) -> dict[int, float]:
    return {
        e.round: sum(e.joules) / (e.pairs_per_window * len(e.joules))
        for e in summary.report.energies
        if e.joules and (e.scenario, e.mode) == (scenario, mode)
    }


def _range(values: list[int | None]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return NOTHING
    low, high = min(known), max(known)
    return f"{low}" if low == high else f"{low}–{high}"
