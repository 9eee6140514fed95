"""What `bench loss --against` leaves behind: what was compared, exact counts, and the paired times of each
side.

A case is one benchmark of the suite, named as `bench/suite_loss` names it. Its times are always beside those
of the frozen naive loss at the same shape, call by call in turn, so that what is compared between two
revisions is a ratio.
"""

from typing import Literal

from bench.record_base import RecordBase

Side = Literal["base", "head", "control"]
"""`control` is the base once more, or with a stored base the head: what unchanged code shows here."""


class RegressionPlan(RecordBase):
    """What was asked for."""

    kind: Literal["regression-plan"] = "regression-plan"
    command: str
    against: str
    """The revision as it was named, or the file's name; never a path."""
    source: Literal["revision", "records", "pytest-benchmark"]
    base_commit: str | None
    head_commit: str | None
    base_fingerprint: dict[str, str]
    """Field to value: what has to be equal for times to be comparable."""
    head_fingerprint: dict[str, str]
    base_cases: tuple[str, ...]
    head_cases: tuple[str, ...]
    device: str
    threads: int
    rounds: int
    """The least."""
    pairs: int
    """Samples of each side at each case in one process."""
    least_tau: float
    """The least ratio that may count as a change, such as 0.03."""
    timed_cases: tuple[str, ...] = ()
    """Those that were to be timed; every case is counted."""
    most_rounds: int | None = None
    """Rounds go on, for the cases that need it, until `control` and change are known to `least_tau`, or to
    this; None where `rounds` is exact."""
    gates_only: bool = False
    """Only exact counts were asked for."""
    clock: Literal["wall", "cpu", "cuda-events"] = "wall"
    """What a sample's seconds are: wall time; the time that the process computed, without what it waited for
    a core; or between events in the GPU's stream."""


class RegressionGate(RecordBase):
    """One exact count at both revisions: None where that side has no such count."""

    kind: Literal["regression-gate"] = "regression-gate"
    case: str
    """A case, or a kernel's name and target."""
    quantity: str
    """Such as operators, flops, saved-bytes, peak-bytes, allocated-bytes; and of a kernel registers, spills,
    shared-bytes, instructions."""
    base: int | None
    head: int | None


class RegressionSample(RecordBase):
    """The times of one case in one process of one side."""

    kind: Literal["regression-sample"] = "regression-sample"
    case: str
    side: Side
    round: int
    position: int
    """Place within its round."""
    attempt: int
    """0 at first, 1 in the confirming run."""
    pid: int
    calls: int
    """Calls of the case a sample."""
    naive_calls: int
    seconds: tuple[float, ...]
    """A call of the case; sample i is the neighbour in time of naive_seconds[i]."""
    naive_seconds: tuple[float, ...]
