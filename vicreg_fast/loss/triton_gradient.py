"""Triton: the gradient of the whole loss, written once, in the embeddings' dtype.

A product of two matrices, G·zc in the Gram form and zc·E in the covariance form, whose epilogue adds the
variance term and the diagonal (one coefficient a column), the invariance, and multiplies by what comes from
upstream, read on the device:

    ∂loss/∂Z = upstream · ( scale·(product) + zc ⊙ column ± difference_scale·(z − z') )

Legend: V = views, n = rows differentiated here, L = the dimension that is summed over, D = embedding
dimension.
"""

from functools import cache
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from vicreg_fast.loss.triton_configs import GRADIENT, tuned
from vicreg_fast.loss.triton_support import interpreting


@triton.jit(do_not_specialize=["first_view"])
def gradient_kernel(
    a_ptr,  # (2, n, L)
    b_ptr,  # (2, L, D), contiguous
    centred_ptr,  # (2, n, D): the rank's rows
    column_ptr,  # (2, D) float32
    x_ptr,
    y_ptr,
    upstream_ptr,  # float32, one value
    gradient_ptr,  # (views, n, D), contiguous
    n,
    D,
    L,
    a_view,
    a_row,
    a_depth,
    b_view,
    centred_view,
    x_row,
    x_column,
    y_row,
    y_column,
    product_scale,
    unit,  # what one in centred_ptr stands for
    difference_scale,
    first_view,
    WIDEN: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_COLUMNS: tl.constexpr,
    BLOCK_DEPTH: tl.constexpr,
    GROUP: tl.constexpr = 8,
):
    # GROUP tiles of rows share their columns' strip of b while it is in cache.
    tile = tl.program_id(0)
    place = tl.program_id(1)
    view = (place + first_view).to(tl.int64)
    tiles_down = tl.cdiv(n, BLOCK_ROWS)
    tiles_across = tl.cdiv(D, BLOCK_COLUMNS)
    group = tile // (GROUP * tiles_across)
    group_rows = min(tiles_down - group * GROUP, GROUP)
    within = tile % (GROUP * tiles_across)
    tile_row = group * GROUP + within % group_rows
    tile_column = within // group_rows

    rows = tile_row * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)
    columns = tile_column * BLOCK_COLUMNS + tl.arange(0, BLOCK_COLUMNS)
    depths = tl.arange(0, BLOCK_DEPTH)
    row_at = rows.to(tl.int64)[:, None]
    a_at = a_ptr + view * a_view + row_at * a_row + depths.to(tl.int64)[None, :] * a_depth
    b_at = b_ptr + view * b_view + depths.to(tl.int64)[:, None] * D + columns[None, :]
    total = tl.zeros((BLOCK_ROWS, BLOCK_COLUMNS), tl.float32)
    for first in range(0, L, BLOCK_DEPTH):
        left = L - first
        a = tl.load(a_at, mask=(rows < n)[:, None] & (depths < left)[None, :], other=0.0)
        b = tl.load(b_at, mask=(columns < D)[None, :] & (depths < left)[:, None], other=0.0)
        if WIDEN:
            a = a.to(tl.float32)
            b = b.to(tl.float32)
        total = tl.dot(a, b, total, input_precision=PRECISION)
        a_at += BLOCK_DEPTH * a_depth
        b_at += tl.cast(BLOCK_DEPTH, tl.int64) * D

    mask = (rows < n)[:, None] & (columns < D)[None, :]
    centred = tl.load(centred_ptr + view * centred_view + row_at * D + columns[None, :], mask=mask, other=0.0)
    column = tl.load(column_ptr + view * D + columns, mask=columns < D, other=0.0)
    column_at = columns.to(tl.int64)[None, :]
    x = tl.load(x_ptr + row_at * x_row + column_at * x_column, mask=mask, other=0.0).to(tl.float32)
    y = tl.load(y_ptr + row_at * y_row + column_at * y_column, mask=mask, other=0.0).to(tl.float32)
    upstream = tl.load(upstream_ptr)
    signed = tl.where(view == 0, difference_scale, -difference_scale)
    gradient = product_scale * total + centred.to(tl.float32) * unit * column[None, :] + signed * (x - y)
    gradient = gradient * upstream
    to = gradient_ptr + place.to(tl.int64) * n * D + row_at * D + columns[None, :]
    tl.store(to, gradient.to(gradient_ptr.dtype.element_ty), mask=mask)


def scaled_gradient(
    a_VnL: Tensor,
    b_VLD: Tensor,
    *,
    centred_VnD: Tensor,
    column_VD: Tensor,
    x_nD: Tensor,
    y_nD: Tensor,
    upstream: Tensor,
    product_scale: float,
    unit: float,
    difference_scale: float,
    views: slice,
    precision: str,
) -> Tensor:
    """The gradient of the views in `views`, (views, n, D) in the embeddings' dtype.

    `upstream` is 0-d float32 on the device. Rows and columns of `b_VLD` and `centred_VnD` are contiguous.
    """
    _, n, L = a_VnL.shape
    D = b_VLD.shape[2]
    gradient = torch.empty(views.stop - views.start, n, D, dtype=x_nD.dtype, device=x_nD.device)

    def grid(meta: dict[str, int]) -> tuple[int, int]:
        tiles = triton.cdiv(n, meta["BLOCK_ROWS"]) * triton.cdiv(D, meta["BLOCK_COLUMNS"])
        return tiles, views.stop - views.start

    _tuned_kernel(x_nD.dtype)[grid](
        a_VnL,
        b_VLD,
        centred_VnD,
        column_VD,
        x_nD,
        y_nD,
        upstream,
        gradient,
        n,
        D,
        L,
        *a_VnL.stride(),
        b_VLD.stride(0),
        centred_VnD.stride(0),
        *x_nD.stride(),
        *y_nD.stride(),
        product_scale,
        unit,
        difference_scale,
        views.start,
        # a float32 product takes float16 embeddings as they are: no digit is lost, and none overflows
        WIDEN=interpreting() or a_VnL.dtype != b_VLD.dtype,
        PRECISION="tf32" if a_VnL.dtype != b_VLD.dtype else precision,
    )
    return gradient


@cache
def _tuned_kernel(dtype: torch.dtype) -> Any:
    return tuned(gradient_kernel, GRADIENT[dtype], ("n", "D", "L"))


__all__ = ["gradient_kernel", "scaled_gradient"]
