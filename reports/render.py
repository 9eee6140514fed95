"""One report for a browser (HTML), a CI step summary (Markdown) and a terminal (rich), the verdict first."""

import base64
import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from jinja2 import Environment as Templates
from jinja2 import PackageLoader, StrictUndefined
from markupsafe import Markup
from pydantic import BaseModel
from rich.console import Console
from rich.text import Text

from reports.frames import samples_csv
from reports.limits import limits_tables
from reports.load import Report, load_report
from reports.names import as_shown
from reports.pictures import pictures
from reports.summary import Summary, summarise
from reports.svg import SCENARIO_COLOURS
from reports.tables import (
    Table,
    environment_table,
    markdown_code,
    markdown_table,
    markdown_text,
    recipe_table,
    result_tables,
    rich_table,
    scenario_table,
)
from reports.text import printable
from reports.time_to_accuracy import race_table
from reports.verdict import FEW, Card, Tone, first_few, verdict
from reports.waterfall import ladder_table, ladders
from vicreg_fast.errors import RecordError

SYMBOLS = {"good": "✓", "bad": "✗", "open": "?"}
"""Beside each tone's colour, so that colour is never alone in saying it."""

FIRST_PICTURES = 3
"""Pictures that a page shows before it says anything more."""
MOST_ROWS = 500
"""Of a table of raw records in the page; the files to download from it have all."""


def render_html(report: Report) -> str:
    """One self-contained page: no script, no network request; equal records give equal bytes."""
    shown = as_shown(report)
    summary = summarise(shown)
    drawn = [(picture, Markup(picture.svg)) for picture in pictures(report)]
    return (
        templates()
        .get_template("report.html.j2")
        .render(
            plan=shown.plan,
            verdict=verdict(report),
            symbols=SYMBOLS,
            first_pictures=drawn[:FIRST_PICTURES],
            more_pictures=drawn[FIRST_PICTURES:],
            scenarios=[
                (scenario, summary.colour(scenario.name) % SCENARIO_COLOURS)
                for scenario in shown.plan.scenarios
            ],
            tables=_tables(summary),
            environment=environment_table(report),
            recipe=recipe_table(report),
            report=shown,
            most_rows=MOST_ROWS,
            few=FEW,
            downloads=downloads(report.records, samples_csv(report)),
        )
    )


def _tables(summary: Summary) -> tuple[Table, ...]:
    """Those of a page, of Markdown and of a terminal, that hold anything."""
    tables = (
        *map(ladder_table, ladders(summary)),
        *result_tables(summary),
        race_table(summary),
        *limits_tables(summary),
    )
    return tuple(table for table in tables if table.rows)


def render_markdown(report: Report) -> str:
    """GitHub-flavoured Markdown for a CI step summary, the verdict first."""
    said, shown = verdict(report), as_shown(report)
    lines = markdown_opening("vicreg-fast bench", said, _card_lines(said.cards), report.problems)
    for title, sentences in said.sections:
        lines += [f"### {title}", "", *(f"- {markdown_text(sentence)}" for sentence in sentences), ""]
    tables = (*_tables(summarise(shown)), scenario_table(shown), environment_table(report))
    lines += map(markdown_table, tables)
    made = f"Data: {markdown_text(report.plan.data)}. Made by {markdown_code(report.plan.command)}."
    return "\n".join([*lines, " ".join([made, *map(markdown_text, said.unmeasured)]), ""])


def print_report(report: Report, console: Console) -> None:
    """The verdict and the result tables, for a terminal."""
    said = verdict(report)
    print_opening(said, [*_card_lines(said.cards), *first_few(said.others)], report.problems, console)
    for table in _tables(summarise(as_shown(report))):
        console.print(rich_table(table))
    for sentence in (said.machine, *said.unmeasured):
        console.print(Text(printable(sentence), style="dim"))


def _card_lines(cards: Sequence[Card]) -> list[str]:
    return [f"{SYMBOLS[card.tone]} {card.line}" for card in cards]


def write_report(paths: Sequence[Path], out: Path) -> dict[str, Path]:
    """Reads record files and writes `report.html`, `report.md` and `samples.csv` into the folder `out`, made
    if missing.

    Gives the name of each to its path. Each is written whole or not at all. Raises RecordError, in one line,
    when a record file cannot be read (see `load_report`) or `out` cannot be written.
    """
    return write_loaded(load_report(paths), out)


def write_loaded(report: Report, out: Path) -> dict[str, Path]:
    """The same of a report that is loaded already."""
    contents = {
        "report.html": render_html(report),
        "report.md": render_markdown(report),
        "samples.csv": samples_csv(report),
    }
    return write_files(contents, out)


class Said(Protocol):
    """A verdict of any kind, as far as every report opens with it."""

    @property
    def headline(self) -> str: ...
    @property
    def tone(self) -> Tone: ...
    @property
    def caveats(self) -> Sequence[str]: ...


def markdown_opening(title: str, said: Said, sentences: Sequence[str], problems: Sequence[str]) -> list[str]:
    """The lines a report in Markdown opens with: the verdict, `sentences`, and what speaks against it."""
    lines = [f"## {markdown_text(title)}", "", f"**{SYMBOLS[said.tone]} {markdown_text(said.headline)}**", ""]
    lines += [*(f"- {markdown_text(sentence)}" for sentence in sentences), ""]
    for heading, against in (
        ("Before you believe it", said.caveats),
        ("Problems with the records", problems),
    ):
        if against:
            lines += [f"### {heading}", "", *(f"- {markdown_text(sentence)}" for sentence in against), ""]
    return lines


def print_opening(said: Said, sentences: Sequence[str], problems: Sequence[str], console: Console) -> None:
    """The same for a terminal."""
    style = {"good": "bold green", "bad": "bold red", "open": "bold yellow"}[said.tone]
    console.print(Text(f"{SYMBOLS[said.tone]} {printable(said.headline)}", style=style))
    for sentence in sentences:
        console.print(Text(printable(sentence)))
    for caveat in (*said.caveats, *problems):
        console.print(Text(f"! {printable(caveat)}", style="yellow"))


def downloads(records: Iterable[BaseModel], samples: str) -> dict[str, str]:
    """What a page offers to download, as data URLs by file name: its records, and `samples`, a CSV."""
    lines = "".join(record.model_dump_json() + "\n" for record in records)
    return {
        "records.jsonl": data_url("application/jsonl", lines),
        "samples.csv": data_url("text/csv", samples),
    }


def write_files(contents: Mapping[str, str], out: Path, option: str = "--out") -> dict[str, Path]:
    """Writes each text whole or not at all into the folder `out`, made if missing; gives the name of each to
    its path. A device or a pipe of that name is written to as it is. Raises RecordError, in one line that
    names the option `out` came from, when it cannot be written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        return {name: _write(out / name, text) for name, text in contents.items()}
    except OSError as error:
        raise RecordError(
            f"{out}: the report cannot be written there ({error.strerror}); choose another {option}"
        ) from error


def _write(path: Path, text: str) -> Path:
    if path.exists() and not path.is_file():  # such as /dev/stdout: to be written to, not to be replaced
        path.write_text(text, encoding="utf-8")
        return path
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes files for their owner alone; a report is to be served and shared.
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return path


def templates() -> Templates:
    """The templates of the reports: every text that enters a page is escaped and made printable."""
    return Templates(
        loader=PackageLoader("reports"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def markdown_templates() -> Templates:
    """The same for Markdown, where texts of records are to be given escaped (`markdown_text`)."""
    return Templates(
        loader=PackageLoader("reports"), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )


def data_url(media_type: str, text: str) -> str:
    return f"data:{media_type};base64,{base64.b64encode(text.encode('utf-8')).decode('ascii')}"


def _finalize(value: Any) -> Any:
    """Every text of a record is made printable where it enters the page; our own markup stays as it is."""
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value
