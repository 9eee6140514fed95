"""Centred views of the global batch and their variances, on the torch backend.

One row is taken off before the mean is: a large common offset then costs the mean no digits.

Legend: W = world size, V = views (2), n = local rows, N = W·n, D = embedding dimension.
"""

import torch
from torch import Tensor

from vicreg_fast.distributed import Ranks, gather_views
from vicreg_fast.distributed.exchange import gather_over_ranks
from vicreg_fast.loss.numerics import accumulation_dtype
from vicreg_fast.loss.plan import VIEWS, Exchange


def ranked_views(x_nD: Tensor, y_nD: Tensor, ranks: Ranks, exchange: Exchange) -> tuple[Tensor, Tensor]:
    """Both views (W, n, D) of every rank, or of this one where nothing is gathered."""
    if exchange != "gather":
        return x_nD.unsqueeze(0), y_nD.unsqueeze(0)
    gathered_WVnD = gather_views(x_nD, y_nD, ranks)
    return gathered_WVnD[:, 0], gathered_WVnD[:, 1]


def centred_batch(x_WnD: Tensor, y_WnD: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """zc (V, N, D), v (V, D), and a spent buffer of zc's shape, all in the accumulation dtype."""
    W, n, D = x_WnD.shape
    dtype = accumulation_dtype(x_WnD.dtype)
    centred_VND = torch.empty(VIEWS, W * n, D, dtype=dtype, device=x_WnD.device)
    for z_WnD, centred_ND in zip((x_WnD, y_WnD), centred_VND, strict=True):
        torch.sub(z_WnD, z_WnD[0, 0].to(dtype), out=centred_ND.view(W, n, D))
    centred_VND.sub_(centred_VND.mean(dim=1, keepdim=True))
    work_VND = torch.square(centred_VND)
    return centred_VND, work_VND.sum(dim=1).div_(W * n - 1), work_VND


def centred_rows(x_nD: Tensor, y_nD: Tensor, ranks: Ranks) -> tuple[Tensor, Tensor, Tensor]:
    """As `centred_batch`, of this rank's own rows (V, n, D), with the means and variances of all ranks'.

    Ranks exchange three rows a view: their first, their mean and their sum of squares, which Chan's formula
    for the variance of parts that are joined puts together (Chan, Golub, LeVeque 1979).
    """
    n, D = x_nD.shape
    dtype = accumulation_dtype(x_nD.dtype)
    centred_VnD = torch.empty(VIEWS, n, D, dtype=dtype, device=x_nD.device)
    first_VD = torch.stack([x_nD[0], y_nD[0]]).to(dtype)
    for z_nD, first_D, centred_nD in zip((x_nD, y_nD), first_VD, centred_VnD, strict=True):
        torch.sub(z_nD, first_D, out=centred_nD)
    offset_VD = centred_VnD.mean(dim=1)
    centred_VnD.sub_(offset_VD.unsqueeze(1))
    work_VnD = torch.square(centred_VnD)
    moments = torch.stack([first_VD, offset_VD, work_VnD.sum(dim=1)])
    first_WVD, offset_WVD, squares_WVD = gather_over_ranks(moments, ranks).unbind(dim=1)
    mean_WVD = (first_WVD - first_WVD[0]) + offset_WVD  # from rank 0's first row
    between_WVD = mean_WVD - mean_WVD.mean(dim=0)
    centred_VnD.add_(between_WVD[ranks.rank].unsqueeze(1))
    squares_VD = squares_WVD.sum(dim=0).add_(between_WVD.square().sum(dim=0), alpha=n)
    return centred_VnD, squares_VD.div_(n * ranks.world_size - 1), work_VnD
