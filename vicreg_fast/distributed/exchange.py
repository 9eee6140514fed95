"""The collectives of the loss: one packed all-gather of both views, and sums. None of them is part of a
backward.

Legend: W = world size, V = views (2), n = local rows, D = embedding dimension.
"""

import torch
import torch.distributed as dist
from torch import Tensor

from vicreg_fast.distributed.ranks import Ranks
from vicreg_fast.errors import UsageError


def gather_views(x_nD: Tensor, y_nD: Tensor, ranks: Ranks) -> Tensor:
    """Both views of every rank, (W, V, n, D), in the embeddings' dtype, by one collective.

    Every rank must bring the same shape: `require_even_batches` says so in words.
    """
    n, D = x_nD.shape
    packed_VnD = x_nD.new_empty(2, n, D)
    packed_VnD[0] = x_nD
    packed_VnD[1] = y_nD
    gathered_WVnD = x_nD.new_empty(ranks.world_size, 2, n, D)
    # As bytes: gloo has no 16-bit floats of every kind, and to gather is not to compute.
    dist.all_gather_into_tensor(
        gathered_WVnD.view(torch.uint8).view(-1), packed_VnD.view(torch.uint8).view(-1), group=ranks.group
    )
    return gathered_WVnD


def gather_over_ranks(local: Tensor, ranks: Ranks) -> Tensor:
    """(W, *shape) of every rank's contiguous `local`, whose shape is alike on every rank."""
    gathered = local.new_empty(ranks.world_size, *local.shape)
    dist.all_gather_into_tensor(gathered.view(-1), local.view(-1), group=ranks.group)
    return gathered


def sum_over_ranks(tensor: Tensor, ranks: Ranks, *, wait: bool = True) -> dist.Work | None:
    """Adds up `tensor` over the ranks, in place. With `wait=False` it returns what must be waited for before
    the tensor is read, so that other work can run meanwhile.
    """
    work = dist.all_reduce(tensor, group=ranks.group, async_op=not wait)
    return None if wait else work


def require_even_batches(x_nD: Tensor, ranks: Ranks) -> None:
    """Raises UsageError, on every rank, unless all ranks bring embeddings of one shape and dtype.

    It reads the answer on the host, so on a GPU it waits for the device and cannot be captured.
    """
    # a number for the dtype that does not depend on the order in which torch numbers its own
    code = sum(ord(letter) << (8 * (place % 7)) for place, letter in enumerate(str(x_nD.dtype))) % 2**31
    mine = torch.tensor([*x_nD.shape, code], dtype=torch.int64, device=x_nD.device)
    shapes = gather_over_ranks(mine, ranks).tolist()
    if any(shape != shapes[0] for shape in shapes):
        held = ", ".join(f"rank {rank}: {n} × {D}" for rank, (n, D, _) in enumerate(shapes))
        raise UsageError(
            f"embeddings differ between ranks ({held}; {x_nD.dtype} here): every rank must bring the same "
            "number of rows, so drop the last, shorter batch"
        )


__all__ = ["gather_over_ranks", "gather_views", "require_even_batches", "sum_over_ranks"]
