"""A report of a pretraining run for a browser (HTML), Markdown and a terminal (rich), the verdict first."""

from collections.abc import Sequence
from pathlib import Path

from markupsafe import Markup
from rich.console import Console

from reports.linear_render import linear_downloads, linear_section
from reports.linear_tables import linear_tables
from reports.linear_verdict import linear_verdict
from reports.merging import the_only
from reports.render import SYMBOLS, data_url, markdown_opening, print_opening, templates, write_files
from reports.run_figures import run_pictures
from reports.run_log import RunLog, load_run
from reports.run_tables import (
    MOST_ROWS,
    changes_table,
    numbers_table,
    recipe_table,
    samples_csv,
    session_table,
)
from reports.run_verdict import run_verdict
from reports.tables import Table, markdown_table, markdown_text, rich_table


def render_run_html(log: RunLog) -> str:
    """One self-contained page: no script, no network request; equal files give equal bytes."""
    downloads = {"samples.csv": data_url("text/csv", samples_csv(log, MOST_ROWS))}
    if log.linear is not None:
        downloads |= linear_downloads(log.linear)
    return (
        templates()
        .get_template("run.html.j2")
        .render(
            log=log,
            verdict=run_verdict(log),
            symbols=SYMBOLS,
            pictures=[(picture, Markup(picture.svg)) for picture in run_pictures(log)],
            linear=None if log.linear is None else linear_section(log.linear),
            tables=_tables(log),
            recipe=recipe_table(log),
            downloads=downloads,
            rows=min(len(log.steps), MOST_ROWS),
        )
    )


def _tables(log: RunLog) -> tuple[Table, ...]:
    tables = (numbers_table(log), changes_table(log), session_table(log))
    return tuple(table for table in tables if table.rows)


def render_run_markdown(log: RunLog) -> str:
    """GitHub-flavoured Markdown, the verdict first."""
    said = run_verdict(log)
    lines = markdown_opening(f"Pretraining: {log.name}", said, said.context, log.problems)
    lines += map(markdown_table, _tables(log))
    if log.linear is not None:
        found = linear_verdict(log.linear)
        lines += [
            "## Linear evaluation",
            "",
            f"**{SYMBOLS[found.tone]} {markdown_text(found.headline)}**",
            "",
        ]
        lines += [f"- {markdown_text(sentence)}" for sentence in (*found.context, *found.caveats)] + [""]
        lines += map(markdown_table, linear_tables(log.linear))
    return "\n".join([*lines, f"Recipe fingerprint {log.recipe.fingerprint()}.", ""])


def print_run(paths: Sequence[Path], console: Console) -> None:
    """The verdict and the logged numbers, for a terminal."""
    log = load_run(the_only(paths, "pretraining run"))
    said = run_verdict(log)
    print_opening(said, said.context, log.problems, console)
    console.print(rich_table(numbers_table(log)))


def write_run(paths: Sequence[Path], out: Path) -> dict[str, Path]:
    """Reads one run's folder and writes `report.html`, `report.md` and `samples.csv` into the folder `out`,
    made if missing.

    Gives the name of each to its path. Raises RecordError, in one line, when the run cannot be read (see
    `load_run`) or `out` cannot be written; UsageError when there are several runs.
    """
    log = load_run(the_only(paths, "pretraining run"))
    contents = {
        "report.html": render_run_html(log),
        "report.md": render_run_markdown(log),
        "samples.csv": samples_csv(log),
    }
    return write_files(contents, out)
