"""The numbers of a report of losses as people read them, and every raw sample as CSV."""

import csv
import io

from bench.loss_compare import Place, place_of
from bench.loss_record import LossPhase
from reports.loss_load import BASELINE, LossReport, shown_error
from reports.loss_summary import LossSummary, Row
from reports.tables import Table
from reports.text import NOTHING, amount, memory, percent, span, times

FLOOR = "at least"
"""The row of the floor: what the least work of the exact loss takes, at what the machine reached."""
_SHORT: dict[LossPhase, str] = {"forward": "fwd", "backward": "bwd", "forward+backward": "both"}


def place_tables(summary: LossSummary) -> tuple[Table, ...]:
    """One table a place: times, ratio and memory of each loss, and below them the floor of each time."""
    return tuple(_place_table(summary, place) for place in summary.rows)


def _place_table(summary: LossSummary, place: Place) -> Table:
    rows = summary.rows[place]
    most = max((row.peak_bytes or 0 for row in rows), default=0)
    cells = []
    for row in rows:
        each = (row.seconds.get(phase) for phase in summary.report.phases)
        cells.append(
            (
                row.provider,
                row.form + (f" ({row.backend})" if row.backend != "torch" else "") if row.form else NOTHING,
                _check(row),
                *(NOTHING if s is None else amount(1e3 * s.estimate) for s in each),
                NOTHING if row.speedup is None else times(row.speedup.estimate),
                NOTHING if row.speedup is None or row.speedup.samples == 1 else span(row.speedup),
                NOTHING if row.peak_bytes is None else memory(row.peak_bytes, most),
                NOTHING if row.floor_share is None else percent(row.floor_share),
            )
        )
    floors = {floor.phase: floor for floor in summary.report.floors if place_of(floor) == place}
    if floors:
        least = (floors.get(phase) for phase in summary.report.phases)
        times_at_least = (NOTHING if floor is None else amount(1e3 * floor.seconds) for floor in least)
        cells.append((FLOOR, NOTHING, NOTHING, *times_at_least, *(NOTHING,) * 4))
    phases = tuple(f"{_SHORT[phase]} ms" for phase in summary.report.phases)
    columns = ("loss", "as", "check", *phases, f"× {BASELINE}", "95 % interval", "peak extra", "of floor")
    pairs = max((t.samples for row in rows for t in row.seconds.values()), default=0)
    where = f"{place.n} × {place.d}, {place.dtype}, {place.device}"
    return Table(title=f"{where}: {pairs} pairs", columns=columns, rows=tuple(cells), names=3)


def _check(row: Row) -> str:
    if row.gate is None:
        return "not recorded"
    if row.gate.passed:
        return "passed"
    what = "value" if row.gate.value_error is None else "off by"
    return f"{what} {shown_error(row.gate.value_error)}, gradient {shown_error(row.gate.gradient_error)}"


def subject_table(report: LossReport) -> Table:
    """Every loss that was to be measured, and what it is."""
    rows = tuple(
        (
            subject.name,
            subject.source + (f" {subject.version}" if subject.version else ""),
            subject.preset,
            subject.convention or NOTHING,
            subject.obstacle or "measured",
        )
        for subject in report.subjects.values()
    )
    columns = ("loss", "source", "preset", "differs from official", "state")
    return Table(title="Losses", columns=columns, rows=rows, names=len(columns))


def gate_table(report: LossReport) -> Table:
    """Errors against the float64 oracle, relative, and what was allowed."""
    rows = tuple(
        (
            gate.provider,
            f"{gate.n} × {gate.d}, {gate.dtype}",
            gate.preset,
            "passed" if gate.passed else "failed",
            *map(shown_error, (gate.value_error, gate.value_allowed)),
            *map(shown_error, (gate.gradient_error, gate.gradient_allowed)),
            amount(gate.first_call_seconds),
        )
        for gate in report.gates
    )
    columns = ("loss", "views", "preset", "check", "value error", "allowed", "gradient error", "allowed ")
    return Table(
        title="Check against the float64 oracle", columns=(*columns, "first call (s)"), rows=rows, names=4
    )


def samples_csv(report: LossReport) -> str:
    """Every raw number, one a row, numbers in full."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(
        ["kind", "provider", "device", "dtype", "n", "d", "phase", "pid", "round", "pair", "value", "unit"]
    )
    for t in report.timings:
        place = [t.provider, t.device, t.dtype, t.n, t.d, t.phase, t.pid, t.round]
        writer.writerows(["loss-timing", *place, pair, value, "s"] for pair, value in enumerate(t.seconds))
    for m in report.memories:
        place = [m.provider, m.device, m.dtype, m.n, m.d, "forward+backward", "", "", ""]
        writer.writerow(["loss-memory", *place, m.peak_bytes, "bytes"])
    for f in report.floors:
        place = ["", f.device, f.dtype, f.n, f.d, f.phase, "", "", ""]
        writer.writerow(["loss-floor", *place, f.seconds, "s"])
    for g in report.gates:
        for metric, error in (("value", g.value_error), ("gradient", g.gradient_error)):
            place = [g.provider, g.device, g.dtype, g.n, g.d, metric, "", "", ""]
            writer.writerow(["loss-gate", *place, "" if error is None else error, "1"])
    return out.getvalue()
