"""The collectives of the loss: one packed all-gather of both views, and sums. None of them is part of a
backward.

Legend: W = world size, V = views (2), n = local rows, D = embedding dimension.
"""

from weakref import WeakKeyDictionary

import torch
import torch.distributed as dist
from torch import Tensor

from vicreg_fast.distributed.ranks import Ranks
from vicreg_fast.errors import UsageError

# In a fixed order: ranks tell each other a dtype by its place here.
_DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
# Shapes found alike on all ranks of a group; a group that is destroyed takes its own with it.
_EVEN: WeakKeyDictionary[dist.ProcessGroup, set[tuple[int, ...]]] = WeakKeyDictionary()


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

    The host waits for the answer. So on a GPU a rank asks once for a shape, before a capture: batches that
    become uneven later are not found out, and the collective after that waits for ever or for its timeout.
    On a CPU it is asked every time.
    """
    if ranks.group is None:
        return
    shape = (*x_nD.shape, _DTYPES.index(x_nD.dtype) if x_nD.dtype in _DTYPES else -1)
    on_gpu = x_nD.device.type != "cpu"
    known = _EVEN.setdefault(ranks.group, set())
    if on_gpu and shape in known:
        return
    mine = torch.tensor(shape, dtype=torch.int64, device=x_nD.device)
    shapes = gather_over_ranks(mine, ranks).tolist()
    if any(other != shapes[0] for other in shapes):
        held = ", ".join(f"rank {rank}: {_in_words(*other)}" for rank, other in enumerate(shapes))
        mend = "give every rank the same network and precision"
        if any(other[0] != shapes[0][0] for other in shapes):
            mend = "give every rank as many rows, and drop the last, shorter batch"
        raise UsageError(f"embeddings differ between ranks ({held}): {mend}")
    if on_gpu:
        known.add(shape)


def _in_words(n: int, D: int, dtype: int) -> str:
    return f"{n}×{D} {str(_DTYPES[dtype]).removeprefix('torch.') if dtype >= 0 else 'of another dtype'}"


__all__ = ["gather_over_ranks", "gather_views", "require_even_batches", "sum_over_ranks"]
