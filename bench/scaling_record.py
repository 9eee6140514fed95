"""What the scaling model says, as a record, and beside a measurement. Imports no torch."""

import statistics
from typing import Literal

from bench.loss_record import LossTiming
from bench.record_base import RecordBase

OURS, OFFICIAL = "ours", "official"


class LossPrediction(RecordBase):
    """What the scaling model says one step of one loss costs one rank: a prediction, never a measurement."""

    kind: Literal["loss-prediction"] = "loss-prediction"
    provider: str
    """OURS or OFFICIAL."""
    form: str
    backend: str
    exchange: str
    """What ranks share: `none`, `gather` or `reduce`."""
    dtype: str
    """Of the embeddings."""
    world_size: int
    n: int
    """Rows of each view on one rank."""
    d: int
    flops: int
    """Of the matrix products, forward and backward, both views."""
    memory_bytes: int
    """Read and written in the rank's own memory, the products' included."""
    exchange_bytes: int
    """Received in the collectives."""
    kernels: int
    peak_bytes: int
    """Held at once, beside the embeddings."""
    products_seconds: float
    elementwise_seconds: float
    launch_seconds: float
    exchange_seconds: float
    rates: dict[str, float | str]
    """Of the GPU and the link, with units in their names."""
    floor_seconds: float | None = None
    """The least work of the exact loss of all rows, shared evenly by the ranks, at the same rates; nothing
    exchanged. None in records of before."""

    @property
    def seconds(self) -> float:
        """Of the whole step: the parts follow one another."""
        return self.products_seconds + self.elementwise_seconds + self.launch_seconds + self.exchange_seconds


class ScalingRun(RecordBase):
    """What `bench scaling` was asked for."""

    kind: Literal["scaling"] = "scaling"
    command: str
    measured_on: tuple[str, ...] = ()
    """The GPUs of the measurements that the model was checked against."""


class Checked(RecordBase):
    """One measured point beside its prediction."""

    kind: Literal["scaling-check"] = "scaling-check"
    timing: LossTiming
    predicted: LossPrediction

    @property
    def measured_seconds(self) -> float:
        """Median of the samples."""
        return statistics.median(self.timing.seconds)

    @property
    def ratio(self) -> float:
        """Measured over predicted: above 1, the model promised too much."""
        return self.measured_seconds / self.predicted.seconds
