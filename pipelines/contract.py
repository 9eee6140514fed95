"""What every pipeline gives, whatever makes it.

Views are uint8, normalised later inside the training step: DALI has no bfloat16 output, a byte is the least
there is to move, and both back ends then hand over exactly the same thing. Memory is NHWC, which permuted is
torch's channels_last, so convolutions take it without a copy. Legend: n = local batch, S = side of a view in
pixels.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch


class ViewBatch(NamedTuple):
    """Two views of the same n images."""

    view_1: torch.Tensor
    """(n, 3, S, S) uint8, channels_last: the first column of the official augmentation's table."""
    view_2: torch.Tensor
    """(n, 3, S, S) uint8, channels_last."""
    label: torch.Tensor
    """(n,) int64, always on the CPU, as pretraining does not read it; −1 where the data set has no labels."""


@dataclass(frozen=True, kw_only=True)
class BatchContract:
    """The declared shape, dtype, layout and device of the views of every ViewBatch of a pipeline.

    A view on a GPU may be read by what is queued on the stream that was current when the batch was taken.
    """

    batch_size: int
    image_size: int
    device: torch.device
    dtype: torch.dtype = torch.uint8
    memory_format: torch.memory_format = torch.channels_last

    def check(self, batch: ViewBatch) -> None:
        """Raises ValueError, naming what differs, unless the batch keeps the contract."""
        shape = (self.batch_size, 3, self.image_size, self.image_size)
        for name, view in (("view_1", batch.view_1), ("view_2", batch.view_2)):
            if tuple(view.shape) != shape:
                raise ValueError(f"{name}: shape {tuple(view.shape)} is not {shape}")
            if view.dtype != self.dtype:
                raise ValueError(f"{name}: dtype {view.dtype} is not {self.dtype}")
            if view.device.type != self.device.type:
                raise ValueError(f"{name}: device {view.device} is not {self.device}")
            if not view.is_contiguous(memory_format=self.memory_format):
                raise ValueError(f"{name}: memory is not {self.memory_format}")
        if tuple(batch.label.shape) != (self.batch_size,) or batch.label.dtype != torch.int64:
            raise ValueError(
                f"label: {tuple(batch.label.shape)} {batch.label.dtype} is not ({self.batch_size},) int64"
            )
        if batch.label.device.type != "cpu":
            raise ValueError(f"label: device {batch.label.device} is not cpu")


class ViewPipeline(Protocol):
    """An endless, resumable stream of ViewBatch; every epoch is the data set once, shuffled anew, what
    is left over from whole steps dropped."""

    contract: BatchContract
    batches_per_epoch: int
    """Of this rank; a multiple of the batches that a step takes."""
    name: str
    """`dali` or `torchvision`."""

    def __iter__(self) -> Iterator[ViewBatch]:
        """Batches from the current position on, without end; epochs follow one another."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """The position after the last batch given: tensors, numbers and strings only. Loading it gives
        bitwise the same batches."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Raises CheckpointError when the state is of another pipeline or data set."""
        ...

    def close(self) -> None:
        """Ends workers and threads. The pipeline gives no further batch."""
        ...
