"""Which kernels a profile's time went to, and how much of it to none: the gaps."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from bench.limits_record import TraceShares
from bench.loss_record import LossProfile
from reports.names import shown_name
from reports.tables import Table
from reports.text import NOTHING, amount, percent, shortened
from vicreg_fast.training.trace_summary import kernel_times

MOST = 12
"""Kernels in a table; the record or the trace has all."""
LONGEST = 70
"""Characters of a kernel's name."""


class Kernel(Protocol):
    """All calls of one kernel."""

    @property
    def name(self) -> str: ...
    @property
    def calls(self) -> int: ...
    @property
    def seconds(self) -> float: ...


def loss_kernel_tables(profiles: Sequence[LossProfile]) -> tuple[Table, ...]:
    """One a profile; on a CPU its rows are operators."""
    return tuple(
        _table(
            f"{profile.provider} at {profile.n} × {profile.d}, {profile.dtype}, a call",
            profile.kernels,
            profile.calls,
            profile.busy_seconds,
            profile.seconds,
        )
        for profile in profiles
        if profile.seconds > 0 and profile.calls > 0
    )


def trace_kernel_table(trace: TraceShares, folder: Path) -> Table | None:
    """Of the kernels of traced steps, whose file is in the `folder` of their record; None where no kernel
    ran, or the file is not there. Raises RecordError where it cannot be read."""
    file = (folder / trace.file).resolve()
    if not file.is_relative_to(folder.resolve()) or not file.is_file():
        return None
    found = kernel_times(file)
    if found is None or not found.seconds > 0:
        return None
    title = f"{shown_name(trace.scenario)}, a traced step"
    return _table(title, found.kernels, trace.steps, found.busy, found.seconds)


def _table(what: str, kernels: Sequence[Kernel], calls: int, busy: float, seconds: float) -> Table:
    """Calls, milliseconds and shares of the window, each by the call or step."""
    rows = [
        (shortened(k.name, LONGEST), amount(k.calls / calls), *_cells(k.seconds, calls, seconds))
        for k in kernels[:MOST]
    ]
    if rest := kernels[MOST:]:
        spent = sum(kernel.seconds for kernel in rest)
        count = amount(sum(kernel.calls for kernel in rest) / calls)
        rows.append((f"{len(rest)} others", count, *_cells(spent, calls, seconds)))
    rows.append(("gaps", NOTHING, *_cells(seconds - busy, calls, seconds)))
    title = f"Where {amount(1e3 * seconds / calls)} ms go: {what}"
    return Table(title=title, columns=("kernel", "calls", "ms", "share"), rows=tuple(rows))


def _cells(part: float, calls: int, whole: float) -> tuple[str, str]:
    return amount(1e3 * part / calls), percent(part / whole)
