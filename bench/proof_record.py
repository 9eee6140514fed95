"""What `prove` writes of itself, beside the records of the benches it runs. Imports no torch."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

from bench.record_base import RecordBase

PartStatus = Literal["done", "failed", "cut", "left-out", "missing"]
"""`cut`: it ran into its limit or an interrupt; what it wrote is kept. `left-out`: the budget ended before
it. `missing`: this machine lacks what it needs, named in `detail`."""


class ProofPlan(RecordBase):
    """One call of `prove`; a folder that was gone on with holds several."""

    kind: Literal["proof-plan"] = "proof-plan"
    device: str
    rehearsal: bool
    """Toy sizes, because there is no GPU: what is measured says that the parts run, and nothing of speed."""
    budget_seconds: float
    parts: tuple[str, ...]
    """The names of all parts, in order of importance."""
    asked: tuple[str, ...]
    """Those that this call was to run."""


class ProofPart(RecordBase):
    """How one attempt at one part ended. The last record of a part counts."""

    kind: Literal["proof-part"] = "proof-part"
    name: str
    status: PartStatus
    seconds: float
    folder: str | None = None
    """Under the proof's own, which holds what the part wrote; None where it wrote nothing."""
    commands: tuple[str, ...] = ()
    """What was run, as one would type it."""
    detail: str = ""
    """In a line: why it is not done, or what it could not measure."""


class FailedTest(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    message: str


class ProofTests(RecordBase):
    """What pytest said of the tests marked `gpu`."""

    kind: Literal["proof-tests"] = "proof-tests"
    passed: int
    failed: int
    errors: int
    skipped: dict[str, int]
    """Each reason with its count."""
    failures: tuple[FailedTest, ...] = ()
    seconds: float
