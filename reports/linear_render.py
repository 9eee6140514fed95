"""A report of a linear evaluation for a browser (HTML), Markdown and a terminal (rich), the verdict first.

`linear_section` is the part of it that a run's own page takes up.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup
from rich.console import Console

from reports.linear_figures import linear_pictures
from reports.linear_summary import spoken
from reports.linear_tables import accuracy_table, class_table, confusion_csv, linear_tables
from reports.linear_verdict import linear_verdict
from reports.merging import the_only
from reports.render import SYMBOLS, data_url, markdown_opening, print_opening, templates, write_files
from reports.tables import markdown_table, rich_table
from vicreg_fast.evaluation.result import LinearResult, read_result


@dataclass(frozen=True, kw_only=True)
class Shown:
    """One image of the grid of neighbours."""

    image: str
    """As a data URL."""
    name: str
    """Of its class."""
    right: bool
    """A neighbour: of the query's class. A query: the probe on the pretrained trunk gets it."""
    similarity: float | None = None


@dataclass(frozen=True, kw_only=True)
class Row:
    query: Shown
    answers: tuple[tuple[str, str, bool, tuple[Shown, ...]], ...]
    """A representation: its name, what its probe says, whether that is right, and its neighbours."""


def neighbour_rows(result: LinearResult) -> tuple[Row, ...]:
    """One a query, with the answer of each representation that has answers."""

    def shown(image: str, label: int, right: bool, similarity: float | None = None) -> Shown:
        url = f"data:image/jpeg;base64,{result.images[image]}"
        return Shown(image=url, name=result.classes[label], right=right, similarity=similarity)

    rows = []
    for number, query in enumerate(result.queries):
        answers = []
        for name, value in result.results.items():
            if not value.answers:
                continue
            answer = value.answers[number]
            near = tuple(
                shown(one.image, one.label, one.label == query.label, one.similarity)
                for one in answer.nearest
            )
            answers.append(
                (spoken(name), result.classes[answer.predicted], answer.predicted == query.label, near)
            )
        rows.append(
            Row(query=shown(query.image, query.label, all(a[2] for a in answers[:1])), answers=tuple(answers))
        )
    return tuple(rows)


def linear_section(result: LinearResult) -> dict[str, Any]:
    """What `linear_parts.html.j2` shows."""
    return {
        "said": linear_verdict(result),
        "pictures": [(picture, Markup(picture.svg)) for picture in linear_pictures(result)],
        "tables": linear_tables(result),
        "classes": class_table(result),
        "rows": neighbour_rows(result),
        "rule": result.query_rule,
    }


def linear_downloads(result: LinearResult) -> dict[str, str]:
    """As data URLs by file name."""
    return {
        "linear.json": data_url("application/json", result.model_dump_json()),
        "linear.csv": data_url("text/csv", confusion_csv(result)),
    }


def render_linear_html(result: LinearResult) -> str:
    """One self-contained page: no script, no network request; equal results give equal bytes."""
    return (
        templates()
        .get_template("linear.html.j2")
        .render(
            result=result, linear=linear_section(result), symbols=SYMBOLS, downloads=linear_downloads(result)
        )
    )


def render_linear_markdown(result: LinearResult) -> str:
    """GitHub-flavoured Markdown, the verdict first."""
    said = linear_verdict(result)
    lines = markdown_opening("Linear evaluation", said, said.context, ())
    lines += map(markdown_table, linear_tables(result))
    return "\n".join(lines)


def write_linear(paths: Sequence[Path], out: Path) -> dict[str, Path]:
    """Reads one linear.json and writes `linear.html`, `linear.md` and `linear.csv` into the folder `out`,
    made if missing: a run's own report may lie beside them.

    Gives the name of each to its path. Raises RecordError, in one line, when the file cannot be read or `out`
    cannot be written; UsageError when there are several files.
    """
    result = read_result(the_only(paths, "linear evaluation"))
    contents = {
        "linear.html": render_linear_html(result),
        "linear.md": render_linear_markdown(result),
        "linear.csv": confusion_csv(result),
    }
    return write_files(contents, out)


def print_linear(paths: Sequence[Path], console: Console) -> None:
    """The verdict and the accuracies, for a terminal."""
    result = read_result(the_only(paths, "linear evaluation"))
    said = linear_verdict(result)
    print_opening(said, said.context, (), console)
    console.print(rich_table(accuracy_table(result)))
