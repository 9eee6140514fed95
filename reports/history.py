"""What a history says in words, as rows, as JSON and as CSV."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bench.change_points import FEWEST_POINTS, ChangePoint
from bench.history import History, Series
from bench.history_point import Point
from reports.regression_words import change
from reports.tables import Table
from reports.text import NOTHING, amount, listed, plural, shortened
from reports.verdict import Tone

MOST_NAMED = 3
"""Series that a headline names; the table has all."""


@dataclass(frozen=True, kw_only=True)
class HistorySaid:
    headline: str
    tone: Tone
    """`bad` where a series slowed down lately, `open` where there is too little to say."""
    context: tuple[str, ...]
    caveats: tuple[str, ...]
    """What was left out, a line each."""


def history_said(history: History, recent: int) -> HistorySaid:
    """Everything that is said in words about a history, in which the last `recent` points count as recent."""
    slowed = slowed_series(history, recent)
    watched = [series for series in history.series if len(series.points) >= FEWEST_POINTS]
    headline, tone = _headline(history, slowed, watched, recent)
    return HistorySaid(
        headline=headline, tone=tone, context=tuple(_context(history, watched)), caveats=_caveats(history)
    )


def slowed_series(history: History, recent: int) -> tuple[Series, ...]:
    """Those whose last change is a slowdown within the last `recent` points."""
    return tuple(series for series in history.series if series.slowed_recently(recent))


def _headline(
    history: History, slowed: Sequence[Series], watched: Sequence[Series], recent: int
) -> tuple[str, Tone]:
    if not history.series:
        return "No series yet: it takes two measurements of one case on one machine.", "open"
    if slowed:
        first = [f"{series.case} by {size(series, series.changes[-1])}" for series in slowed[:MOST_NAMED]]
        if len(slowed) > MOST_NAMED:
            first.append(f"{len(slowed) - MOST_NAMED} more")
        count = f"{len(slowed)} of {len(history.series)} series"
        return f"{count} slowed down within the last {plural(recent, 'point')}: {listed(first)}.", "bad"
    if not watched:
        count = f"{len(history.series)} series, none long enough to look for a change in"
        return f"{count}: that takes {FEWEST_POINTS} points.", "open"
    return f"No slowdown within the last {plural(recent, 'point')} of {len(watched)} series.", "good"


def _context(history: History, watched: Sequence[Series]) -> list[str]:
    times = [point.run.time for series in history.series for point in series.points]
    if not times:
        return []
    count = f"{len(history.series)} series of {plural(len(times), 'point')}"
    said = [
        f"{count} from {plural(history.files, 'file')}, {min(times):%Y-%m-%d} to {max(times):%Y-%m-%d}.",
        f"Measured on {listed(sorted({series.machine for series in history.series}))}; "
        f"{listed(sorted({series.setting for series in history.series}))}.",
    ]
    short = len(history.series) - len(watched)
    if short and watched:
        said.append(f"No change is looked for in {short} series of fewer than {FEWEST_POINTS} points.")
    return said


def _caveats(history: History) -> tuple[str, ...]:
    count = len(history.single)
    if not count:
        return history.left_out
    cases = "1 case was" if count == 1 else f"{count} cases were"
    named = "; ".join(history.single[:MOST_NAMED]) + (
        f"; and {count - MOST_NAMED} more" if count > MOST_NAMED else ""
    )
    return (f"{cases} measured once only, and a series takes two points: {named}", *history.left_out)


def size(series: Series, found: ChangePoint) -> str:
    """`+10.4 % (slower)`: of the value, and which way that is."""
    return f"{change(found.ratio)} ({'slower' if series.slower(found) else 'faster'})"


def revisions(series: Series, found: ChangePoint) -> str:
    """`before → after`: the commits of the points on either side of a change."""
    before, after = series.points[found.index - 1].run, series.points[found.index].run
    return f"{before.revision} → {after.revision}"


def history_tables(history: History, recent: int) -> tuple[Table, ...]:
    """The series and the changes, those that hold anything."""
    tables = (_series_table(history, recent), _change_table(history, recent))
    return tuple(table for table in tables if table.rows)


def _series_table(history: History, recent: int) -> Table:
    """One row a series, those that slowed down lately on top, then those that changed."""
    rows = []
    for series in ordered(history, recent):
        last = series.points[-1]
        rows.append(
            (
                series.case,
                series.unit,
                series.setting,
                series.machine,
                _last_change(series),
                str(len(series.points)),
                number(last.value),
                f"{number(last.low)}–{number(last.high)}" if last.samples > 1 else NOTHING,
                f"{last.run.time:%Y-%m-%d}",
            )
        )
    columns = (
        "series", "unit", "setting", "machine", "last change", "points", "last value", "95 % interval", "on",
    )  # fmt: skip
    # Where all series are of one setting or machine, the context has said it.
    kept = [i for i in range(len(columns)) if i not in (2, 3) or len({row[i] for row in rows}) > 1]
    return Table(
        title="Series",
        columns=tuple(columns[i] for i in kept),
        rows=tuple(tuple(row[i] for i in kept) for row in rows),
        names=kept.index(4) + 1,
    )


def _change_table(history: History, recent: int) -> Table:
    """One row a change, the latest of each series first."""
    rows = tuple(
        (
            series.case,
            series.unit,
            size(series, found),
            revisions(series, found),
            f"{series.points[found.index].run.time:%Y-%m-%d}",
            "; ".join(f"{n} {a} → {b}" for n, (a, b) in series.also_changed(found).items()) or NOTHING,
        )
        for series in ordered(history, recent)
        for found in reversed(series.changes)
    )
    columns = ("series", "unit", "change", "commits", "on", "what else changed there")
    return Table(title="Changes", columns=columns, rows=rows, names=len(columns))


def _last_change(series: Series) -> str:
    last = series.last_change
    if last is not None:
        return size(series, last)
    return "none" if len(series.points) >= FEWEST_POINTS else "too few points"


def ordered(history: History, recent: int) -> list[Series]:
    """What is to be read first comes first."""
    return sorted(history.series, key=lambda series: (not series.slowed_recently(recent), not series.changes))


def history_json(history: History, recent: int) -> dict[str, Any]:
    """The same as plain values."""
    return {
        "recent": recent,
        "slowed": [series.case for series in slowed_series(history, recent)],
        "series": [
            {
                "case": series.case,
                "unit": series.unit,
                "setting": series.setting,
                "machine": series.machine,
                "larger_is_slower": series.larger_is_slower,
                "slowed_recently": series.slowed_recently(recent),
                "points": [_point(point) for point in series.points],
                "changes": [
                    {
                        "index": found.index,
                        "ratio": found.ratio,
                        "slower": series.slower(found),
                        "before": series.points[found.index - 1].run.commit,
                        "after": series.points[found.index].run.commit,
                        "also_changed": series.also_changed(found),
                    }
                    for found in series.changes
                ],
            }
            for series in history.series
        ],
        "single": list(history.single),
        "left_out": list(history.left_out),
    }


def _point(point: Point) -> dict[str, Any]:
    return {
        "time": point.run.time.isoformat(),
        "commit": point.run.commit,
        "uncommitted": point.run.uncommitted,
        "value": point.value,
        "low": point.low,
        "high": point.high,
        "samples": point.samples,
        "file": point.run.file,
    }


def points_csv(history: History) -> str:
    """Every point, one a row, numbers in full."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    head = ["case", "unit", "setting", "machine"]
    writer.writerow(
        [*head, "time", "commit", "uncommitted", "value", "low", "high", "samples", "file", "change"]
    )
    for series in history.series:
        changes = {found.index: found.ratio for found in series.changes}
        for index, point in enumerate(series.points):
            place = [series.case, series.unit, series.setting, series.machine]
            writer.writerow([*place, *_point(point).values(), changes.get(index, "")])
    return out.getvalue()


def number(value: float) -> str:
    """Three digits, however small: a ratio to a slow loss is."""
    return amount(value) if value >= 100 else f"{value:#.3g}"


def short_name(series: Series) -> str:
    return shortened(series.case, 44)
