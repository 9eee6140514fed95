"""Seeds and orders: which image comes when, and with which random numbers.

All of it is a function of (seed, epoch, index), so any position can be returned to without replaying what
came before it.
"""

import hashlib
import struct

import torch


def derived_seed(*parts: int) -> int:
    """A 63-bit seed from integers in [−2⁶³, 2⁶³): nearby parts give unrelated seeds, which adding them
    would not."""
    digest = hashlib.blake2b(struct.pack(f"<{len(parts)}q", *parts), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def sample_generator(seed: int, epoch: int, index: int) -> torch.Generator:
    """The random numbers of one image in one epoch, of the CPU."""
    return torch.Generator().manual_seed(derived_seed(seed, epoch, index))


def epoch_order(count: int, seed: int, epoch: int) -> torch.Tensor:
    """(count,) int64: the global shuffle of the epoch, the same on every rank."""
    generator = torch.Generator().manual_seed(derived_seed(seed, epoch))
    return torch.randperm(count, generator=generator)


def batches_in_epoch(count: int, batch_size: int, world_size: int, batches_per_step: int = 1) -> int:
    """Whole local batches that every rank has in an epoch, of whole steps."""
    return count // world_size // (batch_size * batches_per_step) * batches_per_step
