"""A report of the scaling model for a browser (HTML), a CI step summary (Markdown) and a terminal (rich), the
verdict first.
"""

from pathlib import Path

from markupsafe import Markup
from rich.console import Console
from rich.text import Text

from bench.scaling_record import ScalingRun
from reports.render import data_url, templates, write_files
from reports.scaling import (
    NO_MEASUREMENT,
    Scaling,
    caveats_of,
    checked_table,
    scaling_pictures,
    scaling_table,
    scaling_tables,
    verdict_of,
)
from reports.tables import markdown_code, markdown_table, markdown_text, rich_table
from reports.text import printable


def render_scaling_html(scaling: Scaling) -> str:
    """One self-contained page: no script, no network request; equal predictions give equal bytes."""
    return (
        templates()
        .get_template("scaling.html.j2")
        .render(
            verdict=verdict_of(scaling),
            caveats=caveats_of(scaling),
            pictures=[(picture, Markup(picture.svg)) for picture in scaling_pictures(scaling)],
            tables=scaling_tables(scaling),
            command=scaling.command,
            records=_records(scaling),
        )
    )


def _records(scaling: Scaling) -> str:
    """What the page shows, to download and to report again."""
    run = ScalingRun(time="", command=scaling.command, measured_on=scaling.measured_on)
    records = (run, *scaling.predictions, *scaling.checked)
    lines = "".join(record.model_dump_json() + "\n" for record in records)
    return data_url("application/jsonl", lines)


def render_scaling_markdown(scaling: Scaling) -> str:
    """GitHub-flavoured Markdown for a CI step summary, the verdict first."""
    lines = [
        "## The loss on many ranks, by a model",
        "",
        f"**? {markdown_text(verdict_of(scaling))}**",
        "",
        *(f"- {markdown_text(caveat)}" for caveat in caveats_of(scaling)),
        "",
    ]
    lines += map(markdown_table, scaling_tables(scaling))
    return "\n".join([*lines, f"Made by {markdown_code(scaling.command)}.", ""])


def print_scaling(scaling: Scaling, console: Console) -> None:
    """The verdict, what it rests on, and the table, for a terminal."""
    console.print(Text(f"? {printable(verdict_of(scaling))}", style="bold yellow"))
    for caveat in caveats_of(scaling):
        console.print(
            Text(f"! {printable(caveat)}", style="bold yellow" if caveat == NO_MEASUREMENT else "yellow")
        )
    for table in (scaling_table(scaling), checked_table(scaling)):
        if table.rows:
            console.print(rich_table(table))


def write_scaling(scaling: Scaling, out: Path) -> dict[str, Path]:
    """Writes `report.html` and `report.md` into the folder `out`, made if missing. Gives the name of each to
    its path. Raises RecordError, in one line, when `out` cannot be written.
    """
    return write_files(
        {"report.html": render_scaling_html(scaling), "report.md": render_scaling_markdown(scaling)}, out
    )
