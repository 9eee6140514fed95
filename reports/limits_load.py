"""Which records about limits can have been measured, and which cannot."""

import math
from collections.abc import Iterable

from bench.limits_record import Energy, StepWork, TraceShares
from bench.loss_record import Ceiling
from bench.record import Record

MOST_COUNT = 1e24
MOST_JOULES = 1e12
"""No step and no round reaches these: what lies beyond is a broken record, and would break its axis."""


def limits_fault(record: Record) -> str | None:
    """Why a record about limits cannot be true; None when it can, or is of another kind."""
    if isinstance(record, StepWork):
        counts = [value for name, value in record if name.endswith(("_flops", "_bytes"))]
        whole = all(0 <= count < MOST_COUNT for count in counts) and record.batch_size > 0
        fine = whole and record.network_flops > 0 and record.least_bytes > 0 and record.operator_bytes > 0
        return None if fine else f"step work of {record.scenario}: a count that no step has"
    if isinstance(record, Ceiling):
        rates = (record.flops_per_second, record.bytes_per_second)
        fine = all(0 < rate < MOST_COUNT for rate in rates)
        return None if fine else f"ceiling of {record.dtype}: no rate that could have been measured"
    if isinstance(record, Energy):
        name = f"energy of {record.scenario}, {record.mode}, round {record.round}"
        if record.joules and len(record.joules) != len(record.window_seconds):
            return f"{name}: {len(record.joules)} energies for {len(record.window_seconds)} windows"
        fine = all(0 <= joules < MOST_JOULES for joules in record.joules)
        fine = fine and all(0 < seconds < math.inf for seconds in record.window_seconds)
        return None if fine and record.pairs_per_window > 0 else f"{name}: not an energy"
    if isinstance(record, TraceShares):
        shares = [*_shares(record.host), *_shares(record.device_work or {}), record.communication_hidden or 0]
        fine = all(0 <= share <= 1 + 1e-9 for share in shares) and 0 < record.step_seconds < math.inf
        return None if fine else f"trace of {record.scenario}: shares that are none"
    return None


def _shares(parts: dict[str, float]) -> Iterable[float]:
    return (*parts.values(), sum(parts.values()))
