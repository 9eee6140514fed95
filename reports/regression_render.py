"""A report of a regression run for a browser (HTML), a CI step summary (Markdown) and a terminal (rich), the
verdict first.
"""

from collections.abc import Sequence
from pathlib import Path

from markupsafe import Markup
from rich.console import Console

from bench.record import Record
from reports.regression_figures import regression_pictures
from reports.regression_load import RegressionReport, load_regression, regression_report
from reports.regression_tables import case_table, gate_table, samples_csv
from reports.regression_words import regression_said, reproduce
from reports.render import SYMBOLS, downloads, markdown_opening, print_opening, templates, write_files
from reports.tables import environment_table, markdown_code, markdown_table, rich_table

TITLE = "The loss, head against base"


def render_regression_html(report: RegressionReport) -> str:
    """One self-contained page: no script, no network request; equal records give equal bytes."""
    return (
        templates()
        .get_template("regression.html.j2")
        .render(
            title=TITLE,
            verdict=regression_said(report),
            symbols=SYMBOLS,
            pictures=[(picture, Markup(picture.svg)) for picture in regression_pictures(report)],
            cases=case_table(report),
            differing=gate_table(report, only_differing=True),
            gates=gate_table(report, only_differing=False),
            environment=environment_table(report) if report.environments else None,
            report=report,
            reproduce=reproduce(report),
            downloads=downloads(report.records, samples_csv(report)),
        )
    )


def render_regression_markdown(report: RegressionReport) -> str:
    """GitHub-flavoured Markdown for a CI step summary, the verdict first."""
    said = regression_said(report)
    lines = markdown_opening(TITLE, said, said.context, report.problems)
    tables = [case_table(report), gate_table(report, only_differing=True)]
    lines += [markdown_table(table) for table in tables if table.rows]
    return "\n".join([*lines, f"To see it again: {markdown_code(reproduce(report))}", ""])


def render_summary(records: Sequence[Record]) -> str:
    """The Markdown of one run's records, as they were measured or read. Raises RecordError when they hold no
    plan of a regression run, or several.
    """
    return render_regression_markdown(regression_report(records))


def print_regression_report(paths: Sequence[Path], console: Console) -> None:
    """The verdict and the tables, for a terminal. Raises RecordError as `load_regression` does."""
    report = load_regression(paths)
    said = regression_said(report)
    print_opening(said, said.context, report.problems, console)
    for table in (case_table(report), gate_table(report, only_differing=True)):
        if table.rows:
            console.print(rich_table(table))


def write_regression_report(paths: Sequence[Path], out: Path) -> dict[str, Path]:
    """Reads the record file of `bench loss --against` and writes `report.html`, `report.md` and `samples.csv`
    into the folder `out`, made if missing.

    Gives the name of each to its path. Each is written whole or not at all. Raises RecordError, in one line,
    when the file cannot be read (see `load_regression`) or `out` cannot be written.
    """
    report = load_regression(paths)
    return write_files(
        {
            "report.html": render_regression_html(report),
            "report.md": render_regression_markdown(report),
            "samples.csv": samples_csv(report),
        },
        out,
    )
