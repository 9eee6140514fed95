"""A report of loaders for a browser (HTML), a CI step summary (Markdown) and a terminal (rich), the verdict
first."""

from collections.abc import Sequence
from pathlib import Path

from markupsafe import Markup
from rich.console import Console

from reports.loader_figures import loader_pictures
from reports.loader_load import LoaderReport, load_loader_report
from reports.loader_summary import LoaderSummary
from reports.loader_tables import (
    brief,
    fidelity_tables,
    growth_table,
    rate_tables,
    samples_csv,
    subject_table,
)
from reports.loader_verdict import loader_verdict
from reports.render import SYMBOLS, downloads, markdown_opening, print_opening, templates, write_files
from reports.tables import Table, environment_table, markdown_code, markdown_table, rich_table


def render_loader_html(report: LoaderReport) -> str:
    """One self-contained page: no script, no network request; equal records give equal bytes."""
    summary = LoaderSummary(report)
    return (
        templates()
        .get_template("loader.html.j2")
        .render(
            verdict=loader_verdict(summary),
            symbols=SYMBOLS,
            pictures=[(picture, Markup(picture.svg)) for picture in loader_pictures(summary)],
            tables=_tables(summary),
            subjects=subject_table(report),
            environment=environment_table(report),
            report=report,
            downloads=downloads(report.records, samples_csv(report)),
        )
    )


def render_loader_markdown(report: LoaderReport) -> str:
    """GitHub-flavoured Markdown for a CI step summary, the verdict first."""
    summary = LoaderSummary(report)
    said = loader_verdict(summary)
    lines = markdown_opening("The loaders alone", said, said.context, report.problems)
    tables = (*_tables(summary), subject_table(report), environment_table(report))
    lines += map(markdown_table, tables)
    return "\n".join([*lines, *(f"Made by {markdown_code(plan.command)}." for plan in report.plans), ""])


def print_loader_report(report: LoaderReport, console: Console) -> None:
    """The verdict and the tables of rates and fidelity, for a terminal."""
    summary = LoaderSummary(report)
    said = loader_verdict(summary)
    print_opening(said, said.context, report.problems, console)
    tables = (*map(brief, rate_tables(summary)), growth_table(summary), *fidelity_tables(summary))
    for table in (table for table in tables if table.rows):
        console.print(rich_table(table))


def write_loader_report(paths: Sequence[Path], out: Path) -> dict[str, Path]:
    """Reads record files of `bench loader` and writes `report.html`, `report.md` and `samples.csv` into the
    folder `out`, made if missing.

    Gives the name of each to its path. Each is written whole or not at all. Raises RecordError, in one line,
    when a record file cannot be read (see `load_loader_report`) or `out` cannot be written.
    """
    report = load_loader_report(paths)
    return write_files(
        {
            "report.html": render_loader_html(report),
            "report.md": render_loader_markdown(report),
            "samples.csv": samples_csv(report),
        },
        out,
    )


def _tables(summary: LoaderSummary) -> tuple[Table, ...]:
    tables = (*rate_tables(summary), growth_table(summary), *fidelity_tables(summary))
    return tuple(table for table in tables if table.rows)
