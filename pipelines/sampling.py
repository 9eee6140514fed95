"""Which image comes when, and with which random numbers: functions of (seed, epoch, index) and nothing else.

So a position can be returned to without replaying what came before it, by any number of ranks, and whoever
makes the views makes the same ones.
"""

import hashlib
import struct
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch

from pipelines.position import Position
from pipelines.spec import AUGMENTATIONS, UNIFORMS
from pipelines.view_parameters import Vectors

WORD = 2**64


def derived_seed(*parts: int) -> int:
    """A 63-bit seed from integers in [−2⁶³, 2⁶³): nearby parts give unrelated seeds, which adding them
    would not."""
    digest = hashlib.blake2b(struct.pack(f"<{len(parts)}q", *parts), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


@lru_cache(maxsize=2)
def epoch_order(count: int, seed: int, epoch: int) -> torch.Tensor:
    """(count,) int64: the global shuffle of the epoch, the same on every rank. Do not write to it."""
    generator = torch.Generator().manual_seed(derived_seed(seed, epoch))
    return torch.randperm(count, generator=generator)


def batches_in_epoch(count: int, batch_size: int, world_size: int, batches_per_step: int = 1) -> int:
    """Whole local batches that every rank has in an epoch, of whole steps."""
    return count // world_size // (batch_size * batches_per_step) * batches_per_step


def batch_indices(position: Position, images: int) -> list[int]:
    """The images of the batch that comes next at `position`, of a set of so many: this rank's share of the
    global batch."""
    first = (position.step * position.world_size + position.rank) * position.batch_size
    order = epoch_order(images, position.seed, position.epoch)
    return order[first : first + position.batch_size].tolist()  # type: ignore[no-any-return]


def view_vectors(
    augmentation: str,
    seed: int,
    epoch: int,
    indices: Sequence[int],
    heights: Sequence[int],
    widths: Sequence[int],
) -> tuple[Vectors, ...]:
    """For each view (N, PARAMETERS) float64: the parameters of these N images in that epoch. Heights and
    widths are the images' own, in pixels."""
    specs = AUGMENTATIONS[augmentation]
    uniforms = image_uniforms(seed, epoch, indices, len(specs) * UNIFORMS)
    return tuple(
        spec.sample(uniforms[:, view * UNIFORMS : (view + 1) * UNIFORMS], heights, widths)
        for view, spec in enumerate(specs)
    )


def image_uniforms(seed: int, epoch: int, indices: Sequence[int], count: int) -> Vectors:
    """(N, count) float64 in [0, 1): those of each image in that epoch, of Philox with the key (seed, epoch)
    and the image in its counter (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011)."""
    bits = np.random.Philox(key=np.array([seed % WORD, epoch], dtype=np.uint64))
    state = bits.state
    raw = np.empty((len(indices), count), dtype=np.uint64)
    for place, index in enumerate(indices):
        state["state"]["counter"][:] = (0, index, 0, 0)  # type: ignore[call-overload, index]
        bits.state = state
        raw[place] = bits.random_raw(count)
    return (raw >> np.uint64(11)) * 2.0**-53
