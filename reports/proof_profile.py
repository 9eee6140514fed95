"""Where the time goes of what falls short: the profiles that its part left, so that the next fix is known."""

from collections.abc import Iterator

from bench.proof_quantities import BusyShare, LossFloorShare, LossSpeed, Speed, SpeedRatio
from reports.kernels import loss_kernel_tables, trace_kernel_table
from reports.limits import trace_table
from reports.names import as_shown
from reports.proof_judge import Proof, Row
from reports.summary import summarise
from reports.tables import Table
from vicreg_fast.errors import RecordError


def profile_tables(proof: Proof) -> tuple[Table, ...]:
    """Of the claims that fall short, each table once; empty where nothing was profiled."""
    found = [table for row in proof.short for table in _of_claim(proof, row)]
    return tuple({table.title: table for table in found}.values())


def _of_claim(proof: Proof, row: Row) -> Iterator[Table]:
    match row.claim.quantity:
        case LossSpeed(rows=n, dimensions=d) | LossFloorShare(rows=n, dimensions=d):
            losses = proof.source.losses(row.claim.part)
            profiles = losses.report.profiles if losses else ()
            yield from loss_kernel_tables([p for p in profiles if (p.n, p.d) == (n, d)])
        case SpeedRatio(scenario=name) | Speed(scenario=name) | BusyShare(scenario=name):
            yield from _of_steps(proof, row.claim.part, name)


def _of_steps(proof: Proof, part: str, scenario: str) -> Iterator[Table]:
    """The shares of all traced scenarios of the part, then the kernels of the one that falls short."""
    summary, records = proof.source.comparison(part), proof.source.file(part, "records.jsonl")
    if summary is None or records is None or not summary.report.traces:
        return
    shares = trace_table(summarise(as_shown(summary.report)))
    yield Table(title=f"{shares.title}: {part}", columns=shares.columns, rows=shares.rows)
    for trace in summary.report.traces:
        if trace.scenario != scenario:
            continue
        try:
            table = trace_kernel_table(trace, records.parent)
        except RecordError as error:
            proof.source.note(part, error)
            continue
        if table is not None:
            yield Table(title=f"{table.title}, {part}", columns=table.columns, rows=table.rows)
