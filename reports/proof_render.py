"""The report of a proof for a browser (HTML), a CI step summary (Markdown), a terminal (rich) and JUnit, the
verdict first."""

from pathlib import Path

from markupsafe import Markup
from rich.console import Console

from reports.proof_figures import proof_pictures
from reports.proof_judge import Proof, judge_proof
from reports.proof_profile import profile_tables
from reports.proof_words import (
    MARKS,
    ceilings_table,
    claims_table,
    failures_table,
    parts_table,
    proof_verdict,
    reasons_table,
)
from reports.render import SYMBOLS, data_url, markdown_opening, print_opening, templates, write_files
from reports.tables import Table, environment_table, markdown_table, rich_table


def render_proof_html(proof: Proof, *, links: bool = True) -> str:
    """One page, self-contained but for its `links` to the parts' own; equal records give equal bytes."""
    pictures = proof_pictures(proof)
    further = _further_tables(proof)  # reads profiles, which may add to the problems that the verdict counts
    claims = claims_table(proof)
    own = "".join(record.model_dump_json() + "\n" for record in proof.source.records)
    pages = ((part.name, proof.source.report_of(part.name)) for part in proof.source.parts)
    return (
        templates()
        .get_template("proof.html.j2")
        .render(
            proof=proof,
            verdict=proof_verdict(proof),
            symbols=SYMBOLS,
            pictures=[(picture, Markup(picture.svg)) for picture in pictures],
            claims=[
                (cells, MARKS.get(row.verdict, ""))
                for cells, row in zip(claims.rows, proof.rows, strict=True)
            ],
            tables=further,
            parts=parts_table(proof),
            pages=[(name, page) for name, page in pages if page and links],
            environment=environment_table(proof.source),
            downloads={"records.jsonl": data_url("application/jsonl", own)},
        )
    )


def render_proof_markdown(proof: Proof) -> str:
    """GitHub-flavoured Markdown for a CI step summary, the verdict first."""
    further = _further_tables(proof)
    said = proof_verdict(proof)
    opening = markdown_opening(f"Proof on {proof.device}", said, said.context, proof.source.problems)
    tables = (claims_table(proof), *further, parts_table(proof), environment_table(proof.source))
    return "\n".join([*opening, *map(markdown_table, tables), ""])


def print_proof(folder: Path, console: Console) -> None:
    """The verdict, the claims and the parts of the proof in a folder, for a terminal. Raises RecordError, in
    one line, when there is none in it."""
    proof = judge_proof(folder)
    said = proof_verdict(proof)
    print_opening(said, said.context, proof.source.problems, console)
    undecided = reasons_table(proof, open_only=True)
    for table in (claims_table(proof), undecided, failures_table(proof), parts_table(proof)):
        if table.rows:
            console.print(rich_table(table))


def write_proof(folder: Path, out: Path) -> dict[str, Path]:
    """Reads the proof in `folder` and writes `report.html` and `report.md` into `out`, made if missing; gives
    the name of each to its path.

    The page links to those of the parts where it lies beside them. Raises RecordError, in one line, when
    there is no proof in the folder or `out` cannot be written.
    """
    proof = judge_proof(folder)
    beside = out.resolve() == proof.source.folder.resolve()
    page = render_proof_html(proof, links=beside)
    return write_files({"report.html": page, "report.md": render_proof_markdown(proof)}, out)


def _further_tables(proof: Proof) -> tuple[Table, ...]:
    """Those beside the claims and the parts that hold anything."""
    tables = (reasons_table(proof), failures_table(proof), *profile_tables(proof), ceilings_table(proof))
    return tuple(table for table in tables if table.rows)
