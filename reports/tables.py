"""The numbers as people read them: rows of text for a terminal (rich), Markdown or HTML.

`reports.frames` has the same rows as numbers. What was not measured is a dash.
"""

import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rich import box
from rich.table import Table as RichTable
from rich.text import Text

from bench.compare import Interval
from bench.record import Environment
from reports.frames import Measured, environment_frame, memory_frame
from reports.load import Report
from reports.sentences import pace
from reports.summary import MODES, Summary
from reports.text import GIB, NOTHING, amount, percent, printable, seconds, signed, span, times


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows of text under their headings; the first `names` columns are words, the others numbers."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    names: int = 1


def throughput_table(summary: Summary) -> Table:
    rows = []
    for name in summary.scenarios:
        for mode in MODES:
            if rate := summary.rates.get((name, mode)):
                wait = NOTHING if rate.loader_wait is None else percent(rate.loader_wait)
                row: tuple[str, ...] = (
                    name,
                    mode,
                    *_estimate(rate.median, amount),
                    *_estimate(rate.ratio, times),
                    wait,
                )
                row += (str(len(rate.by_round)),)
                if summary.setups:  # with real data, so of no other mode
                    setup = summary.setups.get(name) if mode == "end-to-end" else None
                    row += (NOTHING if setup is None else seconds(setup),)
                rows.append(row)
    columns: tuple[str, ...] = ("scenario", "mode", "pairs/s", "95 % interval", "× baseline", "95 % interval")
    columns += ("loader wait", "rounds", "set-up") if summary.setups else ("loader wait", "rounds")
    return Table(title="Throughput", columns=columns, rows=tuple(rows), names=2)


def memory_table(summary: Summary) -> Table:
    rows = tuple(
        _texts(row, (str, _gib, _gib, times)) for row in memory_frame(summary).itertuples(index=False)
    )
    columns = ("scenario", "host peak over start", "device peak", "× baseline")
    return Table(title="Memory", columns=columns, rows=rows)


def accuracy_table(summary: Summary) -> Table:
    rows = []
    for name, probe in summary.probes.items():
        mean = f"{100 * probe.mean:.1f}" + (f" ± {100 * probe.sd:.1f}" if probe.sd is not None else "") + " %"
        gap, interval, found = NOTHING, NOTHING, NOTHING
        if probe.verdict:
            points = probe.verdict.difference_points
            gap, found = signed(points.estimate), probe.verdict.verdict
            interval = f"{signed(points.low)} to {signed(points.high)}" if points.samples > 1 else NOTHING
        seeds = ", ".join(f"{100 * value:.1f} ({seed})" for seed, value in probe.by_seed.items())
        rows.append((name, mean, gap, interval, found, seeds))
    columns = (
        "subject",
        "linear top-1, mean ± sd",
        "points to baseline",
        "95 % interval",
        "verdict",
        "% (seed)",
    )
    return Table(title="Linear accuracy", columns=columns, rows=tuple(rows))


def pace_table(summary: Summary) -> Table:
    """What bounds each scenario: its rate with real data, with one cached batch and of its loader alone."""
    rows = []
    for name in summary.scenarios:
        gain = summary.free_loader.get(name)
        if gain is None:
            continue
        rates = [summary.rates.get((name, mode)) for mode in MODES]
        medians = [NOTHING if rate is None else amount(rate.median.estimate) for rate in rates]
        wait = summary.rates[name, "end-to-end"].loader_wait
        free, free_span = _estimate(gain, times)
        waited = NOTHING if wait is None else percent(wait)
        rows.append((name, pace(summary, name) or NOTHING, *medians, waited, free, free_span))
    columns = (
        *("scenario", "bound by", "end to end, pairs/s", "one cached batch", "loader alone"),
        *("waits for its loader", "a free loader gives", "95 % interval"),
    )
    return Table(title="What sets the pace", columns=columns, rows=tuple(rows), names=2)


def environment_table(report: Measured) -> Table:
    frame = environment_frame(report)
    rows = []
    for field, *values in frame.itertuples(index=False):
        name = str(field)
        sized = name.endswith("_bytes")
        shown = [NOTHING if v is None else f"{v / GIB:.1f} GiB" if sized else str(v) for v in values]
        # A package or a variable keeps its name as it is.
        label = name.removesuffix("_bytes").replace("_", " ") if name in Environment.model_fields else name
        rows.append((label, *shown))
    return Table(
        title="Environment", columns=tuple(frame.columns), rows=tuple(rows), names=len(frame.columns)
    )


def scenario_table(report: Report) -> Table:
    """What each scenario is, as it really ran."""
    columns = (
        "scenario",
        "pipeline",
        "precision",
        "layout",
        "loss",
        "optimiser",
        "capture",
        "compile",
        "workers",
        "notes",
    )
    rows = tuple(
        (
            *(s.name, s.pipeline, s.precision, s.memory_format, s.loss, s.optimizer, s.capture),
            *("on" if s.compile else "off", str(s.workers), "; ".join(s.notes) or NOTHING),
        )
        for s in report.plan.scenarios
    )
    return Table(title="Scenarios", columns=columns, rows=rows, names=len(columns))


def recipe_table(report: Report) -> Table:
    values = (
        (key, value if isinstance(value, str) else json.dumps(value))
        for key, value in report.plan.recipe.items()
    )
    return Table(title="Recipe", columns=("key", "value"), rows=tuple(values), names=2)


def result_tables(summary: Summary) -> tuple[Table, ...]:
    """Throughput, what bounds it, memory and accuracy, those that hold anything."""
    tables = (throughput_table(summary), pace_table(summary), memory_table(summary), accuracy_table(summary))
    return tuple(table for table in tables if table.rows)


def rich_table(table: Table) -> RichTable:
    """For a terminal. Cells are plain text: a name may hold what rich takes for markup."""
    shown = RichTable(title=table.title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for index, column in enumerate(table.columns):
        shown.add_column(Text(column), justify="left" if index < table.names else "right")
    for row in table.rows:
        shown.add_row(*(Text(printable(cell)) for cell in row))
    return shown


def markdown_text(text: str) -> str:
    """`text` with every character that Markdown or HTML would take for its own escaped."""
    return re.sub(r"([\\`*_{}\[\]<>|#~$&])", r"\\\1", printable(text))


def markdown_code(text: str) -> str:
    """As code within a line."""
    return "`" + printable(text).replace("`", "'") + "`"


def markdown_table(table: Table) -> str:
    """A GitHub-flavoured table under its title, ending in a newline."""
    rule = ["---" if index < table.names else "---:" for index in range(len(table.columns))]
    rows = [[markdown_text(cell) for cell in row] for row in (table.columns, *table.rows)]
    lines = [f"| {' | '.join(cells)} |" for cells in (rows[0], rule, *rows[1:])]
    return "\n".join([f"### {markdown_text(table.title)}", "", *lines, ""])


def _estimate(interval: Interval | None, form: Callable[[float], str]) -> tuple[str, str]:
    if interval is None:
        return NOTHING, NOTHING
    if interval.samples == 1:
        return form(interval.estimate), NOTHING
    if form is times:
        return times(interval.estimate), span(interval)
    return form(interval.estimate), f"{form(interval.low)}–{form(interval.high)}"


def _texts(row: tuple[Any, ...], forms: tuple[Callable[[Any], str], ...]) -> tuple[str, ...]:
    return tuple(
        NOTHING if isinstance(value, float) and math.isnan(value) else form(value)
        for value, form in zip(row, forms, strict=True)
    )


def _gib(value: float) -> str:
    return f"{amount(value)} GiB"
