"""Triton: means, centred views, variances, and the partial sums of all terms but the covariance's products.

Each program owns a strip of columns of both views and walks their rows twice: for the means and the
invariance, then, with the strip in cache, to centre, round and store it and to sum its squares. A row is
taken off before anything is summed, so that a large common offset costs the mean no digits.

What is stored is in units of `unit`: 2 for float16, or the difference of two large values could overflow it.
The variance σ is of the values themselves. The diagonal that the Gram form subtracts is of the rounded ones,
which are what its products multiply: the difference is then the off-diagonal energy of one and the same
matrix.

Legend: V = views (2), N = rows of the batch, n = rows of a rank, D = embedding dimension.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from vicreg_fast.loss.presets import Objective
from vicreg_fast.loss.triton_configs import CENTRE, tuned

PARTIALS = 5
"""Sums of one strip: (z − z')², the hinge of either view, and the squared variances of either."""


@triton.jit
def centre_kernel(
    x_ptr,
    y_ptr,
    centred_ptr,  # (2, N, D)
    variance_ptr,  # (2, D) float32
    column_ptr,  # (2, D) float32: the gradient's coefficient of each centred column
    partial_ptr,  # (PARTIALS, strips) float32
    N,
    D,
    n,
    stride_rank,  # between two ranks' rows n − 1 and n, in elements
    stride_row,
    stride_column,
    gamma,
    epsilon,
    slope,  # of the variance term
    product_scale,  # of the Gram form's diagonal; 0 for the covariance form
    unit,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_COLUMNS: tl.constexpr,
):
    strip = tl.program_id(0)
    columns = strip * BLOCK_COLUMNS + tl.arange(0, BLOCK_COLUMNS)
    inside = columns < D
    offsets = columns.to(tl.int64) * stride_column
    shift_x = tl.load(x_ptr + offsets, mask=inside, other=0.0).to(tl.float32)
    shift_y = tl.load(y_ptr + offsets, mask=inside, other=0.0).to(tl.float32)

    sum_x = tl.zeros((BLOCK_COLUMNS,), tl.float32)
    sum_y = tl.zeros((BLOCK_COLUMNS,), tl.float32)
    squared_difference = tl.zeros((BLOCK_COLUMNS,), tl.float32)
    for first in range(0, N, BLOCK_ROWS):
        rows = first + tl.arange(0, BLOCK_ROWS)
        mask = (rows < N)[:, None] & inside[None, :]
        at = ((rows // n).to(tl.int64) * stride_rank + (rows % n).to(tl.int64) * stride_row)[:, None]
        x = tl.load(x_ptr + at + offsets[None, :], mask=mask, other=0.0).to(tl.float32)
        y = tl.load(y_ptr + at + offsets[None, :], mask=mask, other=0.0).to(tl.float32)
        sum_x += tl.sum(tl.where(mask, x - shift_x[None, :], 0.0), axis=0)
        sum_y += tl.sum(tl.where(mask, y - shift_y[None, :], 0.0), axis=0)
        squared_difference += tl.sum((x - y) * (x - y), axis=0)
    mean_x = sum_x / N
    mean_y = sum_y / N

    squares_x = tl.zeros((BLOCK_COLUMNS,), tl.float32)
    squares_y = tl.zeros((BLOCK_COLUMNS,), tl.float32)
    rounded_x = tl.zeros((BLOCK_COLUMNS,), tl.float32)
    rounded_y = tl.zeros((BLOCK_COLUMNS,), tl.float32)
    for first in range(0, N, BLOCK_ROWS):
        rows = first + tl.arange(0, BLOCK_ROWS)
        mask = (rows < N)[:, None] & inside[None, :]
        at = ((rows // n).to(tl.int64) * stride_rank + (rows % n).to(tl.int64) * stride_row)[:, None]
        x = tl.load(x_ptr + at + offsets[None, :], mask=mask, other=0.0).to(tl.float32)
        y = tl.load(y_ptr + at + offsets[None, :], mask=mask, other=0.0).to(tl.float32)
        centred_x = tl.where(mask, x - shift_x[None, :] - mean_x[None, :], 0.0)
        centred_y = tl.where(mask, y - shift_y[None, :] - mean_y[None, :], 0.0)
        stored_x = (centred_x / unit).to(centred_ptr.dtype.element_ty)
        stored_y = (centred_y / unit).to(centred_ptr.dtype.element_ty)
        to = rows.to(tl.int64)[:, None] * D + columns[None, :]
        tl.store(centred_ptr + to, stored_x, mask=mask)
        tl.store(centred_ptr + tl.cast(N, tl.int64) * D + to, stored_y, mask=mask)
        squares_x += tl.sum(centred_x * centred_x, axis=0)
        squares_y += tl.sum(centred_y * centred_y, axis=0)
        kept_x = stored_x.to(tl.float32) * unit
        kept_y = stored_y.to(tl.float32) * unit
        rounded_x += tl.sum(kept_x * kept_x, axis=0)
        rounded_y += tl.sum(kept_y * kept_y, axis=0)

    variance_x = squares_x / (N - 1)
    variance_y = squares_y / (N - 1)
    std_x = tl.sqrt(variance_x + epsilon)
    std_y = tl.sqrt(variance_y + epsilon)
    # not maximum(): on a GPU that drops a NaN, and a NaN must reach the loss
    hinge_x = tl.where(gamma - std_x < 0, 0.0, gamma - std_x)
    hinge_y = tl.where(gamma - std_y < 0, 0.0, gamma - std_y)
    diagonal_x = rounded_x / (N - 1)
    diagonal_y = rounded_y / (N - 1)
    # at σ = 0, which needs ε = 0, the gradient of the norm σ is taken as 0
    pull_x = tl.where((hinge_x > 0) & (std_x > 0), slope / tl.where(std_x > 0, std_x, 1.0), 0.0)
    pull_y = tl.where((hinge_y > 0) & (std_y > 0), slope / tl.where(std_y > 0, std_y, 1.0), 0.0)
    tl.store(variance_ptr + columns, variance_x, mask=inside)
    tl.store(variance_ptr + D + columns, variance_y, mask=inside)
    tl.store(column_ptr + columns, pull_x - product_scale * diagonal_x, mask=inside)
    tl.store(column_ptr + D + columns, pull_y - product_scale * diagonal_y, mask=inside)

    strips = tl.num_programs(0)
    tl.store(partial_ptr + strip, tl.sum(squared_difference))
    tl.store(partial_ptr + strips + strip, tl.sum(tl.where(inside, hinge_x, 0.0)))
    tl.store(partial_ptr + 2 * strips + strip, tl.sum(tl.where(inside, hinge_y, 0.0)))
    tl.store(partial_ptr + 3 * strips + strip, tl.sum(diagonal_x * diagonal_x))
    tl.store(partial_ptr + 4 * strips + strip, tl.sum(diagonal_y * diagonal_y))


@dataclass(frozen=True, kw_only=True)
class Centred:
    """What one pass over both views leaves."""

    centred_VND: Tensor
    """In units of `unit`, in the operands' dtype."""
    variance_VD: Tensor
    column_VD: Tensor
    partials: Tensor
    """(PARTIALS, strips) float32."""
    unit: float


def unit_of(dtype: torch.dtype) -> float:
    """What one in storage stands for."""
    return 2.0 if dtype == torch.float16 else 1.0


def centre_views(
    x_WnD: Tensor, y_WnD: Tensor, *, objective: Objective, slope: float, product_scale: float
) -> Centred:
    """Both views (W, n, D) of the global batch, of one dtype and the same strides."""
    W, n, D = x_WnD.shape
    N, dtype, device = W * n, x_WnD.dtype, x_WnD.device
    strips = triton.cdiv(D, CENTRE[0].columns)
    partials = torch.empty(PARTIALS, strips, dtype=torch.float32, device=device)
    centred = Centred(
        centred_VND=torch.empty(2, N, D, dtype=dtype, device=device),
        variance_VD=torch.empty(2, D, dtype=torch.float32, device=device),
        column_VD=torch.empty(2, D, dtype=torch.float32, device=device),
        partials=partials,
        unit=unit_of(dtype),
    )
    _tuned_kernel()[(strips,)](
        x_WnD,
        y_WnD,
        centred.centred_VND,
        centred.variance_VD,
        centred.column_VD,
        partials,
        N,
        D,
        n,
        *x_WnD.stride(),
        objective.gamma,
        objective.epsilon,
        slope,
        product_scale,
        centred.unit,
    )
    return centred


@cache
def _tuned_kernel() -> Any:
    return tuned(centre_kernel, CENTRE, ("N", "D"))
