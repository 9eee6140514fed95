"""A report of losses for a browser (HTML), a CI step summary (Markdown) and a terminal (rich), the verdict
first.
"""

from collections.abc import Sequence
from pathlib import Path

from markupsafe import Markup
from rich.console import Console

from reports.kernels import loss_kernel_tables
from reports.loss_figures import loss_pictures
from reports.loss_load import LossReport, load_loss_report
from reports.loss_ranks import rank_tables
from reports.loss_summary import summarise_losses
from reports.loss_tables import gate_table, place_tables, samples_csv, subject_table
from reports.loss_verdict import loss_verdict
from reports.render import SYMBOLS, downloads, markdown_opening, print_opening, templates, write_files
from reports.tables import Table, environment_table, markdown_code, markdown_table, rich_table


def render_loss_html(report: LossReport) -> str:
    """One self-contained page: no script, no network request; equal records give equal bytes."""
    summary = summarise_losses(report)
    return (
        templates()
        .get_template("loss.html.j2")
        .render(
            verdict=loss_verdict(report),
            symbols=SYMBOLS,
            pictures=[(picture, Markup(picture.svg)) for picture in loss_pictures(summary)],
            tables=(*place_tables(summary), *_further_tables(report)),
            subjects=subject_table(report),
            gates=gate_table(report),
            environment=environment_table(report),
            report=report,
            downloads=downloads(report.records, samples_csv(report)),
        )
    )


def render_loss_markdown(report: LossReport) -> str:
    """GitHub-flavoured Markdown for a CI step summary, the verdict first."""
    said = loss_verdict(report)
    lines = markdown_opening("The loss, timed beside others", said, said.context, report.problems)
    tables = [*place_tables(summarise_losses(report)), *_further_tables(report), subject_table(report)]
    tables += [gate_table(report)] if report.gates else []
    tables.append(environment_table(report))
    lines += map(markdown_table, tables)
    lines += [f"Made by {markdown_code(comparison.command)}." for comparison in report.comparisons]
    return "\n".join([*lines, ""])


def _further_tables(report: LossReport) -> tuple[Table, ...]:
    return (*rank_tables(report), *loss_kernel_tables(report.profiles))


def print_loss_report(report: LossReport, console: Console) -> None:
    """The verdict and a table a shape, for a terminal."""
    said = loss_verdict(report)
    print_opening(said, said.context, report.problems, console)
    for table in (*place_tables(summarise_losses(report)), *rank_tables(report)):
        console.print(rich_table(table))


def write_loss_report(paths: Sequence[Path], out: Path) -> dict[str, Path]:
    """Reads record files of `bench loss` and writes `report.html`, `report.md` and `samples.csv` into the
    folder `out`, made if missing.

    Gives the name of each to its path. Each is written whole or not at all. Raises RecordError, in one line,
    when a record file cannot be read (see `load_loss_report`) or `out` cannot be written.
    """
    report = load_loss_report(paths)
    return write_files(
        {
            "report.html": render_loss_html(report),
            "report.md": render_loss_markdown(report),
            "samples.csv": samples_csv(report),
        },
        out,
    )
