"""What `bench loader` leaves behind: what was asked for, how fast each loader is, and how far its views are
from the official ones.

A loader is a pipeline with a decoder. Its rates are taken at a setting, (threads, image size, batch size),
and its fidelity at an image size. Imports no torch.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict

from bench.record_base import RecordBase

CROP = "decode, crop, resize"
"""The operation that every view has: each other one in a LoaderFidelity comes on top of it."""
WHOLE = "whole views"
"""Every operation of the augmentation, with parameters drawn as a run draws them."""


class LoaderSubject(BaseModel):
    """One loader that was to be measured."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    """The pipeline's, followed by "+" and the decoder's where that is not the pipeline's usual one."""
    pipeline: str
    decoder: str
    description: str
    differs: tuple[str, ...] = ()
    """Each operation that is by design not the official one, in words."""
    obstacle: str | None = None
    """Why it was not measured; None where it was."""


class LoaderPlan(RecordBase):
    """What was asked for."""

    kind: Literal["loader-plan"] = "loader-plan"
    command: str
    device: str
    data: str
    """The images in words: name, number, sizes. Never a path."""
    augmentation: str
    subjects: tuple[LoaderSubject, ...]
    baseline: str
    """Name of the loader that the others are compared with."""
    threads: tuple[int, ...]
    image_sizes: tuple[int, ...]
    batch_sizes: tuple[int, ...]
    rounds: int
    seconds: float
    """That each loader is measured in each round, at the least."""


class LoaderRate(RecordBase):
    """Pairs of views a second of one loader in one round at one setting, over windows of batches."""

    kind: Literal["loader-rate"] = "loader-rate"
    subject: str
    threads: int
    """DALI's threads, or DataLoader's worker processes."""
    image_size: int
    """Side of a view, in pixels."""
    batch_size: int
    round: int
    position: int
    """Place within its round and setting: rounds alternate their order."""
    pid: int
    batches_per_window: int
    window_seconds: tuple[float, ...]
    cpu_seconds: float | None = None
    """Processor time of the process and of its workers, over all windows together."""

    @property
    def pairs_per_second(self) -> tuple[float, ...]:
        """Of each window."""
        return tuple(self.batch_size * self.batches_per_window / seconds for seconds in self.window_seconds)

    @property
    def cores_used(self) -> float | None:
        """Processor time ÷ time, over all windows together."""
        return None if self.cpu_seconds is None else self.cpu_seconds / sum(self.window_seconds)

    @property
    def cpu_ms_per_pair(self) -> float | None:
        """Processor time of one pair of views, in ms."""
        if self.cpu_seconds is None:
            return None
        pairs = self.batch_size * self.batches_per_window * len(self.window_seconds)
        return 1e3 * self.cpu_seconds / pairs


class OperationDifference(BaseModel):
    """One operation on the same images, with the same parameters, by a loader and by the reference."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    operation: str
    """CROP, WHOLE, or what comes on top of CROP, with its parameter."""
    mean: float
    """Mean absolute difference over pixels, channels and images, out of 255."""
    worst_image: float
    """The same of the image where it is greatest."""
    effect: float | None = None
    """By how much the operation itself moves the reference's pixels, likewise; None for CROP and WHOLE."""


class LoaderFidelity(RecordBase):
    """How far one loader's views are from torchvision's on Pillow images, the official augmentation, at one
    image size."""

    kind: Literal["loader-fidelity"] = "loader-fidelity"
    subject: str
    image_size: int
    images: int
    """Of the run's own."""
    operations: tuple[OperationDifference, ...]
