"""The quantities that a proof's claims are about. Imports no torch."""

from dataclasses import dataclass

from bench.record_base import Mode


@dataclass(frozen=True, kw_only=True)
class FailedTests:
    """Tests marked `gpu` that failed or ended with an error, of those that ran."""


@dataclass(frozen=True, kw_only=True)
class LossSpeed:
    """How many times as fast as `than` ours is, forward and backward, on views (rows, dimensions)."""

    rows: int
    dimensions: int
    than: str


@dataclass(frozen=True, kw_only=True)
class RankSpeed:
    """How many times as fast as the authors' formula ours is as one of several ranks: it has `rows` of the
    batch, the others' rows are there already, and the links between ranks cost nothing."""

    rows: int
    dimensions: int
    world_size: int


@dataclass(frozen=True, kw_only=True)
class LossFloorShare:
    """Floor ÷ time of ours, forward and backward."""

    rows: int
    dimensions: int


@dataclass(frozen=True, kw_only=True)
class LossMemoryShare:
    """Peak extra memory of ours ÷ that of the authors' formula."""

    rows: int
    dimensions: int


@dataclass(frozen=True, kw_only=True)
class SpeedRatio:
    """Pairs/s of `scenario` ÷ those of `than`, over paired rounds."""

    scenario: str
    than: str
    mode: Mode


@dataclass(frozen=True, kw_only=True)
class Speed:
    """Pairs/s of a scenario: the median over rounds."""

    scenario: str
    mode: Mode


@dataclass(frozen=True, kw_only=True)
class BusyShare:
    """Share of the traced steps in which the GPU did anything."""

    scenario: str


@dataclass(frozen=True, kw_only=True)
class LoaderOverStep:
    """Pairs/s of our loader alone ÷ those that a scenario's step takes on one cached batch in `steps_of`."""

    scenario: str
    steps_of: str


@dataclass(frozen=True, kw_only=True)
class MemoryRatio:
    """Peak device memory of a scenario ÷ that of `than`; looked for in `instead` where the claim's part left
    no records."""

    scenario: str
    than: str
    instead: str


@dataclass(frozen=True, kw_only=True)
class RungGain:
    """What one change of the ladder brings, on compute alone."""

    change: str


@dataclass(frozen=True, kw_only=True)
class LinearGain:
    """Linear accuracy of the pretrained trunk minus that of a floor, on the same test images."""

    over: str


Quantity = (
    FailedTests
    | LossSpeed
    | RankSpeed
    | LossFloorShare
    | LossMemoryShare
    | SpeedRatio
    | Speed
    | BusyShare
    | LoaderOverStep
    | MemoryRatio
    | RungGain
    | LinearGain
)
