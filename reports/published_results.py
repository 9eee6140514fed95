"""`docs/RESULTS.md`: every published number with its interval, its shape and the record it comes from."""

from reports.load import FLOORS
from reports.loader_tables import rate_tables
from reports.loader_verdict import loader_verdict
from reports.loss_summary import Duel, LossSummary
from reports.loss_verdict import loss_verdict
from reports.names import as_shown
from reports.proof_judge import Proof
from reports.proof_words import claims_table, parts_table, proof_verdict, reasons_table
from reports.publications import Publications, PublishedFile, environments_of, machine_name, version_of
from reports.render import markdown_templates
from reports.summary import summarise
from reports.tables import Table, markdown_table, markdown_text, result_tables
from reports.text import NOTHING, amount, memory, percent, span, times
from reports.verdict import verdict


def results_page(published: Publications) -> str:
    """The whole page, in Markdown."""
    text = (
        markdown_templates()
        .get_template("results.md.j2")
        .render(
            proofs=[_proof(proof) for proof in published.proofs],
            machines=[
                (markdown_text(name), _record_table(files), [_section(file) for file in files])
                for name, files in environments_of(published.files).items()
            ],
        )
    )
    return text.strip() + "\n"


def _proof(proof: Proof) -> dict[str, object]:
    tables = (claims_table(proof), reasons_table(proof), parts_table(proof))
    return {
        "machine": markdown_text(machine_name(proof.source.environments[-1])),
        "folder": proof.source.folder.name,
        "headline": markdown_text(proof_verdict(proof).headline),
        "caveats": [markdown_text(caveat) for caveat in proof_verdict(proof).caveats],
        "tables": _sections(tables),
    }


def _section(file: PublishedFile) -> dict[str, object]:
    """One record file: its verdict in words, and its tables."""
    said, tables = _read(file)
    return {"name": file.name, "headline": markdown_text(said), "tables": _sections(tables)}


def _read(file: PublishedFile) -> tuple[str, tuple[Table, ...]]:
    match file.kind:
        case "losses":
            losses = file.losses
            return loss_verdict(losses.report).headline, (_loss_table(losses),)
        case "loaders":
            return loader_verdict(file.loaders).headline, rate_tables(file.loaders)
        case "comparison":
            report = file.comparison.report
            return verdict(report).headline, result_tables(summarise(as_shown(report)))
        case "accuracies":
            return "Linear accuracy of single runs.", (_accuracy_table(file),)


def _loss_table(summary: LossSummary) -> Table:
    """A shape a row, a rival a column: how many times as fast as it ours is."""
    rivals = list(dict.fromkeys(duel.rival for duel in summary.duels))
    duels = {(duel.place, duel.rival): duel for duel in summary.duels}
    rows = []
    for place in summary.rows:
        ours = summary.ours_at(place)
        if ours is None:
            continue
        rows.append(
            (
                summary.label(place),
                ours.provider,
                amount(1e3 * ours.seconds[summary.phase].estimate),
                NOTHING if ours.floor_share is None else percent(ours.floor_share),
                NOTHING if ours.peak_bytes is None else memory(ours.peak_bytes),
                *(_speedup(duels.get((place, rival))) for rival in rivals),
            )
        )
    dtypes = ", ".join(dict.fromkeys(place.dtype for place in summary.rows))
    title = f"Ours, {dtypes}, {summary.phase}; times as fast as each other loss, with its 95 % interval"
    columns = (
        "N × D",
        "ours",
        "ms",
        "of its floor",
        "peak extra",
        *(f"as fast as {name}" for name in rivals),
    )
    return Table(title=title, columns=columns, rows=tuple(rows), names=2)


def _speedup(duel: Duel | None) -> str:
    return NOTHING if duel is None else f"{times(duel.speedup.estimate)} ({span(duel.speedup)})"


def _accuracy_table(file: PublishedFile) -> Table:
    rows = tuple(
        (
            accuracy.subject,
            str(accuracy.seed),
            NOTHING if accuracy.subject in FLOORS else f"{accuracy.steps:,}",
            percent(accuracy.linear_top1),
            NOTHING if accuracy.knn_top1 is None else percent(accuracy.knn_top1),
            f"{accuracy.test_images:,} of {accuracy.classes} classes",
        )
        for accuracy in file.accuracies
    )
    columns = ("subject", "seed", "steps", "linear top-1", "nearest neighbours", "test images")
    return Table(title="Linear accuracy", columns=columns, rows=rows)


def _record_table(files: list[PublishedFile]) -> str:
    """Where and when each file was measured: a table alone, without a title."""
    rows = tuple(
        (
            file.name,
            file.environment.time[:10],
            (file.environment.commit or NOTHING)[:12],
            version_of(file.environment, "torch") or NOTHING,
            version_of(file.environment, "nvidia-dali") or NOTHING,
            NOTHING if file.environment.load_average is None else f"{file.environment.load_average:.1f}",
        )
        for file in files
    )
    columns = ("record", "day", "commit", "torch", "DALI", "load when it began")
    return _untitled(Table(title="", columns=columns, rows=rows, names=5))


def _sections(tables: tuple[Table, ...]) -> list[tuple[str, str]]:
    return [(markdown_text(table.title), _untitled(table)) for table in tables if table.rows]


def _untitled(table: Table) -> str:
    """The table's rows: its title is a heading of another level in each document."""
    return markdown_table(table).split("\n", 2)[2].strip()
