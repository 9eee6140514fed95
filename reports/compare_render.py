"""The page, the Markdown, the CSV and the terminal's text of two runs beside each other."""

from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
import pandas as pd
from markupsafe import Markup
from matplotlib.ticker import MaxNLocator
from rich.console import Console

from bench.compare import Interval
from reports.drawing import LABEL, Picture, finished, value_beside, whisker
from reports.names import shown_name
from reports.render import SYMBOLS, data_url, markdown_opening, print_opening, templates, write_files
from reports.report_compare import ComparedRuns, compare_verdict, place
from reports.sides import ABSENT
from reports.svg import INK, PAPER, canvas, scenario_colour, style
from reports.tables import Table, markdown_table, rich_table
from reports.text import NOTHING, amount, memory, shortened, signed, span, times

MOST_DRAWN = 24
"""Ratios in the picture; the table has all."""
ROW = 38


def compare_tables(compared: ComparedRuns) -> tuple[Table, ...]:
    """Speeds, memory and accuracy, those that both runs have."""
    unit = compared.a.unit
    form: Callable[[float], str] = _seconds if unit == "s" else amount
    shown = {"pairs/s": "pairs/s", "s": "a call", "× naive": "naive losses"}[unit]
    beside = compared.a.what != "regression"  # whose speeds are beside the naive loss already
    speeds = tuple(
        (
            place(c.label),
            c.said,
            form(c.a),
            form(c.b),
            *_ratio(c.ratio),
            *_ratio(c.beside if beside else None),
        )
        for c in compared.changes
    )
    sizes = tuple(
        (place(label), memory(a, b), memory(b, a), times(b / a)) for label, (a, b) in compared.memory.items()
    )
    points = tuple(
        (
            shown_name(subject),
            signed(gap.estimate),
            f"{signed(gap.low)} to {signed(gap.high)}" if gap.samples > 1 else NOTHING,
            str(gap.samples),
        )
        for subject, gap in compared.accuracy.items()
    )
    interval = "95 % interval"
    tables = (
        Table(
            title="Speed, B ÷ A",
            columns=(
                *("what", "B is", f"A, {shown}", f"B, {shown}", "B as fast as A", interval),
                *("beside baseline", interval),
            ),
            rows=speeds,
            names=2,
        ),
        Table(title="Peak memory", columns=("what", "A", "B", "B ÷ A"), rows=sizes),
        Table(
            title="Linear accuracy, B − A, seeds paired",
            columns=("subject", "points", interval, "seeds"),
            rows=points,
        ),
    )
    return tuple(table for table in tables if table.rows)


def fingerprint_table(compared: ComparedRuns) -> Table:
    """Every field that had to be equal."""
    a, b = compared.a.fingerprint, compared.b.fingerprint
    names = dict.fromkeys((*(difference.field for difference in compared.allowed), *a, *b))
    rows = tuple((name, a.get(name, ABSENT), b.get(name, ABSENT)) for name in names)
    return Table(title="What had to be equal", columns=("field", "A", "B"), rows=rows, names=3)


def compare_picture(compared: ComparedRuns) -> Picture | None:
    """Every ratio with its interval, the one beside the baseline hollow below it; None without any."""
    changes = compared.changes[:MOST_DRAWN]
    if not changes:
        return None
    said = compare_verdict(compared)
    ends = [end for c in changes for r in (c.ratio, c.beside) if r for end in (r.low, r.high, r.estimate)]
    low, high = min(1.0, *ends), max(1.0, *ends)
    room = (high - low) or 0.1
    alt = "Speed of B as times that of A. " + "; ".join(
        f"{place(c.label)}: {times(c.ratio.estimate)}, {times(c.ratio.low)} to {times(c.ratio.high)}"
        for c in changes
    )
    with mpl.rc_context(style()):
        figure, (ax,) = canvas(70 + ROW * len(changes), [1])
        for row, change in enumerate(changes):
            whisker(ax, row - 0.13, change.ratio)
            blue = scenario_colour(1)
            ax.plot([change.ratio.estimate], [row - 0.13], "D", ms=6, mfc=blue, mec=INK, mew=1.2, zorder=6)
            right = change.ratio.high
            if change.beside and compared.a.what != "regression":
                whisker(ax, row + 0.19, change.beside)
                ax.plot(
                    [change.beside.estimate], [row + 0.19], "o", ms=6, mfc=PAPER, mec=INK, mew=1.4, zorder=6
                )
            value_beside(ax, row - 0.13, right, times(change.ratio.estimate))
        ax.axvline(1, color=INK, lw=1.2, zorder=1)
        ax.set_ylim(len(changes) - 0.4, -0.6)
        ax.set_yticks(
            range(len(changes)),
            ["\n".join(shortened(shown_name(p), LABEL) for p in c.label) for c in changes],
        )
        ax.xaxis.set_major_locator(MaxNLocator(nbins=5))
        ax.grid(visible=True, axis="x")
        ax.set_xlim(low - 0.08 * room, high + 0.22 * room)
        ax.set_xlabel("speed of B ÷ speed of A")
        left_out = len(compared.changes) - len(changes)
        return finished(
            figure,
            name="changes",
            title=said.context[0].rstrip("."),
            caption="Diamond: medians, unpaired. Circle: beside each run's own baseline. Lines: 95 % "
            "intervals. Further right is faster."
            + (f" {left_out} more are in the table." if left_out else ""),
            alt=alt,
        )


def changes_csv(compared: ComparedRuns) -> str:
    """One row a ratio, numbers in full."""
    rows: list[dict[str, object]] = []
    for c in compared.changes:
        rows.append(
            {"metric": "speed", "what": ", ".join(c.label), "a": c.a, "b": c.b, "unit": compared.a.unit}
        )
        rows[-1] |= _interval("ratio", c.ratio) | _interval("beside_baseline", c.beside) | {"said": c.said}
    for label, (a, b) in compared.memory.items():
        rows.append({"metric": "peak memory", "what": ", ".join(label), "a": a, "b": b, "unit": "bytes"})
        rows[-1] |= {"ratio": b / a}
    for subject, gap in compared.accuracy.items():
        rows.append(
            {"metric": "linear accuracy", "what": subject, "unit": "points"} | _interval("points", gap)
        )
    return str(pd.DataFrame(rows).to_csv(index=False, lineterminator="\n"))


def render_compare_html(compared: ComparedRuns) -> str:
    """One self-contained page: no script, no network request; equal records give equal bytes."""
    picture = compare_picture(compared)
    return (
        templates()
        .get_template("compare.html.j2")
        .render(
            compared=compared,
            verdict=compare_verdict(compared),
            symbols=SYMBOLS,
            pictures=[(picture, Markup(picture.svg))] if picture else [],
            tables=compare_tables(compared),
            fingerprint=fingerprint_table(compared),
            csv=data_url("text/csv", changes_csv(compared)),
        )
    )


def render_compare_markdown(compared: ComparedRuns) -> str:
    """GitHub-flavoured Markdown, the verdict first."""
    said = compare_verdict(compared)
    lines = markdown_opening("B beside A", said, said.context, ())
    tables = (*compare_tables(compared), fingerprint_table(compared))
    return "\n".join([*lines, *map(markdown_table, tables)])


def print_compared(compared: ComparedRuns, console: Console) -> None:
    """The verdict and the tables, for a terminal."""
    said = compare_verdict(compared)
    print_opening(said, said.context, (), console)
    for table in compare_tables(compared):
        console.print(rich_table(table))


def write_compared(compared: ComparedRuns, out: Path) -> dict[str, Path]:
    """Writes `compare.html`, `compare.md` and `compare.csv` into the folder `out`, made if missing. Raises
    RecordError, in one line, when it cannot be written."""
    return write_files(
        {
            "compare.html": render_compare_html(compared),
            "compare.md": render_compare_markdown(compared),
            "compare.csv": changes_csv(compared),
        },
        out,
    )


def _seconds(value: float) -> str:
    return f"{amount(1e3 * value)} ms" if value < 1 else f"{amount(value)} s"


def _ratio(interval: Interval | None) -> tuple[str, str]:
    if interval is None:
        return NOTHING, NOTHING
    return times(interval.estimate), span(interval) if interval.samples > 1 else NOTHING


def _interval(name: str, interval: Interval | None) -> dict[str, object]:
    if interval is None:
        return {}
    return {name: interval.estimate, f"{name}_low": interval.low, f"{name}_high": interval.high}
