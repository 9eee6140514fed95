"""The numbers of a report of loaders as people read them, and every raw one as CSV. Each table of rates names
its batch size, which rates depend on."""

import csv
import io

from reports.loader_load import LoaderReport, Place
from reports.loader_sentences import apart
from reports.loader_summary import LoaderSummary, Row
from reports.tables import Table
from reports.text import NOTHING, amount, percent, span, times


def rate_tables(summary: LoaderSummary) -> tuple[Table, ...]:
    """One table an image and batch size: speed, processor time and fidelity of every loader side by side."""
    groups = dict.fromkeys((place.image_size, place.batch_size) for place in summary.rows)
    return tuple(_rate_table(summary, size, batch) for size, batch in groups)


def _rate_table(summary: LoaderSummary, size: int, batch: int) -> Table:
    subjects = summary.report.subjects
    rows = [
        row
        for subject in subjects
        for place, there in summary.rows.items()
        if (place.image_size, place.batch_size) == (size, batch)
        for row in there
        if row.subject == subject
    ]
    columns = (
        "loader",
        "decoder",
        "threads",
        "pairs/s",
        "95 %",
        "ratio (95 %)",
        "cores",
        "CPU ms",
        "crop off",
        "views off",
        "bound",
    )
    cells = tuple(_rate_cells(summary, row, subjects[row.subject].decoder) for row in rows)
    title = f"{size} px, batch {batch}; ratio of pairs/s to {summary.report.baseline}"
    return Table(title=title, columns=columns, rows=cells, names=2)


def _rate_cells(summary: LoaderSummary, row: Row, decoder: str) -> tuple[str, ...]:
    rate, ratio, size = row.rate, row.ratio, row.place.image_size
    several = rate.samples > 1
    return (
        row.subject,
        decoder,
        str(row.place.threads),
        amount(rate.estimate),
        f"{amount(rate.low)}–{amount(rate.high)}" if several else NOTHING,
        NOTHING if ratio is None else times(ratio.estimate) + (f" ({span(ratio)})" if several else ""),
        NOTHING if row.cores_used is None else f"{row.cores_used:.2f}",
        NOTHING if row.cpu_ms_per_pair is None else amount(row.cpu_ms_per_pair),
        _difference(summary.crop_difference(row.subject, size)),
        _difference(summary.whole_difference(row.subject, size)),
        row.bound_by or NOTHING,
    )


def brief(table: Table) -> Table:
    """A table of rates as narrow as a terminal: without decoders, which the names imply, and the intervals of
    pairs/s."""
    kept = [index for index in range(len(table.columns)) if index not in (1, 4)]
    return Table(
        title=table.title,
        columns=tuple(table.columns[index] for index in kept),
        rows=tuple(tuple(row[index] for index in kept) for row in table.rows),
    )


def growth_table(summary: LoaderSummary) -> Table:
    """What more threads bring; no rows where there was one number of them."""
    rows = tuple(
        (
            growth.subject,
            _without_threads(growth.place),
            f"{growth.from_threads} → {growth.place.threads}",
            times(growth.ratio.estimate),
            NOTHING if growth.ratio.samples == 1 else span(growth.ratio),
            percent(growth.ratio.estimate * growth.from_threads / growth.place.threads),
        )
        for growth in summary.growth
    )
    columns = ("loader", "at", "threads", "pairs/s", "95 % interval", "of proportional")
    return Table(title="More threads", columns=columns, rows=rows, names=2)


def _without_threads(place: Place) -> str:
    return f"{place.image_size} px, batch {place.batch_size}"


def fidelity_tables(summary: LoaderSummary) -> tuple[Table, ...]:
    """One table an image size: each operation of each loader, beside how much the operation itself does."""
    sizes = sorted({fidelity.image_size for fidelity in summary.report.fidelities})
    return tuple(_fidelity_table(summary, size) for size in sizes)


def _fidelity_table(summary: LoaderSummary, size: int) -> Table:
    found = {
        subject: {operation.operation: operation for operation in fidelity.operations}
        for subject in summary.report.subjects
        if (fidelity := summary.fidelity(subject, size)) is not None
    }
    names = dict.fromkeys(name for operations in found.values() for name in operations)
    rows = []
    for name in names:
        effects = [o[name].effect for o in found.values() if name in o and o[name].effect is not None]
        cells = [
            f"{apart(o[name].mean)} ({apart(o[name].worst_image)})" if name in o else NOTHING
            for o in found.values()
        ]
        rows.append((name, _difference(effects[0] if effects else None), *cells))
    images = max(f.images for f in summary.report.fidelities if f.image_size == size)
    return Table(
        title=f"Difference from the official operations, of 255, mean (worst of {images} images), {size} px",
        columns=("operation", "it moves pixels by", *found),
        rows=tuple(rows),
    )


def subject_table(report: LoaderReport) -> Table:
    """What each loader is, and by design does otherwise."""
    rows = tuple(
        (s.name, s.description or NOTHING, "; ".join(s.differs) or NOTHING, s.obstacle or NOTHING)
        for s in report.subjects.values()
    )
    columns = ("loader", "what it is", "not as the official code", "left out because")
    return Table(title="Loaders", columns=columns, rows=rows, names=len(columns))


def samples_csv(report: LoaderReport) -> str:
    """Every raw number, one a row, numbers in full."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(
        [
            "kind",
            "loader",
            "image_size",
            "batch_size",
            "threads",
            "pid",
            "round",
            "position",
            "what",
            "value",
            "unit",
        ]
    )
    for rate in report.rates:
        place = [rate.subject, rate.image_size, rate.batch_size, rate.threads]
        place += [rate.pid, rate.round, rate.position]
        writer.writerows(
            ["loader-rate", *place, f"window {number}", seconds, "s"]
            for number, seconds in enumerate(rate.window_seconds)
        )
        if rate.cpu_seconds is not None:
            writer.writerow(["loader-rate", *place, "processor time", rate.cpu_seconds, "s"])
    for fidelity in report.fidelities:
        for operation in fidelity.operations:
            row = ["loader-fidelity", fidelity.subject, fidelity.image_size, "", "", "", "", ""]
            writer.writerow([*row, operation.operation, operation.mean, "of 255"])
    return out.getvalue()


def _difference(value: float | None) -> str:
    return NOTHING if value is None else apart(value)
