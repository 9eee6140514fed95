"""Which ranks share a batch: one process, or a process group of torch.distributed."""

from dataclasses import dataclass

import torch.distributed as dist


@dataclass(frozen=True, kw_only=True)
class Ranks:
    """This process's place among those that share a global batch; rank r holds rows r·n to (r+1)·n."""

    rank: int
    world_size: int
    group: dist.ProcessGroup | None = None
    """None for one process, which exchanges nothing."""

    def rows(self, local_rows: int) -> slice:
        """This rank's rows of the global batch, of which every rank holds `local_rows`."""
        return slice(self.rank * local_rows, (self.rank + 1) * local_rows)


SINGLE = Ranks(rank=0, world_size=1)


def ranks_of(group: dist.ProcessGroup | None = None) -> Ranks:
    """The ranks of `group`, by default of the default group; SINGLE where there is none, or it has one
    member.

    Raises ValueError when this process is not a member of `group`.
    """
    if not (dist.is_available() and dist.is_initialized()):
        return SINGLE
    rank, world_size = dist.get_rank(group), dist.get_world_size(group)
    if rank < 0 or world_size < 0:
        raise ValueError("this process is not a member of the given process group")
    if world_size == 1:
        return SINGLE
    return Ranks(rank=rank, world_size=world_size, group=group or dist.group.WORLD)


__all__ = ["SINGLE", "Ranks", "ranks_of"]
