"""The record of `bench scaling`."""

from typing import Literal

from bench.record_base import RecordBase


class LossPrediction(RecordBase):
    """What the scaling model says one step of one loss costs one rank: a prediction, never a measurement."""

    kind: Literal["loss-prediction"] = "loss-prediction"
    provider: str
    """`ours` or `official`."""
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

    @property
    def seconds(self) -> float:
        """Of the whole step: the parts follow one another."""
        return (
            self.products_seconds + self.elementwise_seconds + self.launch_seconds + self.exchange_seconds
        )
