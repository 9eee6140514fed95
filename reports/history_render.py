"""A history for a browser (HTML), a CI step summary (Markdown) and a terminal (rich), the verdict first."""

import dataclasses
from pathlib import Path

from markupsafe import Markup
from rich.console import Console

from bench.history import History
from reports.history import history_said, history_tables, points_csv
from reports.history_figures import MOST_PICTURES, history_pictures
from reports.render import SYMBOLS, data_url, markdown_opening, print_opening, templates, write_files
from reports.tables import markdown_table, rich_table
from reports.text import plural

TITLE = "Measurements over time"
MOST_LINES = 10
"""Of what was left out, in a terminal; the files and --json have all."""


def render_history_html(history: History, recent: int) -> str:
    """One self-contained page: no script, no network request; equal histories give equal bytes."""
    more = len(history.series) - MOST_PICTURES
    return (
        templates()
        .get_template("history.html.j2")
        .render(
            title=TITLE,
            verdict=history_said(history, recent),
            symbols=SYMBOLS,
            pictures=[(picture, Markup(picture.svg)) for picture in history_pictures(history, recent)],
            not_drawn=f"{more} more series are in the table and not drawn." if more > 0 else "",
            tables=history_tables(history, recent),
            downloads={"points.csv": data_url("text/csv", points_csv(history))},
        )
    )


def render_history_markdown(history: History, recent: int) -> str:
    """GitHub-flavoured Markdown for a CI step summary, the verdict first."""
    said = history_said(history, recent)
    lines = markdown_opening(TITLE, said, said.context, ())
    tables = history_tables(history, recent)
    return "\n".join([*lines, *map(markdown_table, tables)])


def print_history(history: History, recent: int, console: Console) -> None:
    """The verdict and the table, for a terminal."""
    said = history_said(history, recent)
    shown = said.caveats[:MOST_LINES]
    if more := len(said.caveats) - len(shown):
        shown = (*shown, f"and {plural(more, 'more line')} of what was left out: see --json")
    print_opening(dataclasses.replace(said, caveats=shown), said.context, (), console)
    for table in history_tables(history, recent):
        console.print(rich_table(table))


def write_history(history: History, recent: int, out: Path) -> dict[str, Path]:
    """Writes `report.html`, `report.md` and `points.csv` into the folder `out`, made if missing. Gives the
    name of each to its path. Each is written whole or not at all. Raises RecordError, in one line, when
    `out` cannot be written.
    """
    return write_files(
        {
            "report.html": render_history_html(history, recent),
            "report.md": render_history_markdown(history, recent),
            "points.csv": points_csv(history),
        },
        out,
    )
