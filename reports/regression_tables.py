"""The numbers of a report of a regression run as people read them, and every raw sample as CSV."""

import csv
import io
from itertools import zip_longest

from bench.compare import Interval
from bench.record import RegressionGate
from reports.regression_load import RegressionReport
from reports.regression_words import STATUS_MARKS, change, ordered
from reports.tables import Table
from reports.text import NOTHING, percent, span

CONFIRMED = {True: "yes", False: "no", None: NOTHING}


def case_table(report: RegressionReport) -> Table:
    """One row a case, what is to be read first on top: status and why, change of time, its interval, τ."""
    rows = tuple(
        (
            case.case,
            f"{STATUS_MARKS[case.status]} {case.status}",
            case.reason,
            NOTHING if case.ratio is None else change(case.ratio.estimate),
            _span(case.ratio),
            _span(case.control),
            NOTHING if case.tau is None else percent(case.tau),
            CONFIRMED[case.confirmed],
        )
        for case in ordered(report.judgement.cases)
    )
    columns = ("case", "status", "why", "time", "head ÷ base", "control", "τ", "confirmed")
    return Table(title="Benchmarks", columns=columns, rows=rows, names=3)


def gate_table(report: RegressionReport, *, only_differing: bool) -> Table:
    """Exact counts of both sides, those that differ first or alone."""
    gates = report.judgement.gates if only_differing else report.gates
    rows = tuple(
        (gate.case, gate.quantity, _count(gate.base), _count(gate.head), _difference(gate)) for gate in gates
    )
    title = "Exact counts that differ" if only_differing else "Every exact count"
    return Table(title=title, columns=("where", "quantity", "base", "head", "change"), rows=rows, names=2)


def samples_csv(report: RegressionReport) -> str:
    """Every raw time, one pair a row, numbers in full."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    columns = ["case", "side", "attempt", "round", "position", "pid", "calls", "naive_calls", "pair"]
    writer.writerow([*columns, "seconds", "naive_seconds"])
    for sample in report.samples:
        place = [getattr(sample, column) for column in columns[:-1]]
        pairs = zip_longest(sample.seconds, sample.naive_seconds, fillvalue="")  # as they are, faulty or not
        writer.writerows([*place, number, *pair] for number, pair in enumerate(pairs))
    return out.getvalue()


def _span(interval: Interval | None) -> str:
    if interval is None or interval.samples == 1:
        return NOTHING
    # Ratios near 1 are what this is about: two decimals would hide a change of half a percent.
    if interval.low > 0.5 and interval.high < 2:
        return f"{interval.low:.3f}–{interval.high:.3f}"
    return span(interval)


def _count(count: int | None) -> str:
    return NOTHING if count is None else f"{count:,}"


def _difference(gate: RegressionGate) -> str:
    if gate.base is None or gate.head is None:
        return "head only" if gate.base is None else "base only"
    if gate.base == gate.head:
        return "equal"
    more = f"{gate.head - gate.base:+,}".replace("-", "−")
    return more if gate.base == 0 else f"{more} ({change(gate.head / gate.base)})"
