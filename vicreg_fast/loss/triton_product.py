"""Triton: the product of a matrix with a transpose, for both views at once, and the sum of its squares.

    Gram form          G = zc·zcᵀ/(N−1), of the rank's n rows with all N; N×N and symmetric in one process
    covariance form    E = zcᵀzc/(N−1) without its diagonal, D×D and symmetric

Of a symmetric product only the tiles on and below the diagonal are made: the programs are counted along a
triangle, so none of them is idle. A tile below the diagonal is stored twice, once transposed, and its squares
count twice. The squares are summed tile by tile in the epilogue, into one partial for each: no atomics, so
equal inputs give equal bits.

Legend: V = views (2), M and K = rows of the two factors, L = the dimension that is summed over.
"""

from functools import cache
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from vicreg_fast.loss.triton_configs import INTERPRETED, PRODUCT, tuned
from vicreg_fast.loss.triton_support import interpreting


@triton.jit(do_not_specialize=["most_tiles"])
def product_kernel(
    a_ptr,  # (V, M, L)
    b_ptr,  # (V, K, L)
    product_ptr,  # (V, M, K), contiguous
    partial_ptr,  # (V, most_tiles) float32
    M,
    K,
    L,
    a_view,
    a_row,
    a_depth,
    b_view,
    b_row,
    b_depth,
    alpha,
    most_tiles,
    SYMMETRIC: tl.constexpr,
    ZERO_DIAGONAL: tl.constexpr,
    WIDEN: tl.constexpr,  # multiply in float32, for the interpreter has no bfloat16 product
    PRECISION: tl.constexpr,  # of float32 factors: ieee or tf32
    BLOCK_ROWS: tl.constexpr,
    BLOCK_COLUMNS: tl.constexpr,
    BLOCK_DEPTH: tl.constexpr,
):
    tile = tl.program_id(0)
    view = tl.program_id(1).to(tl.int64)
    if SYMMETRIC:
        # tile = i·(i+1)/2 + j with j ≤ i; the root may be off by one where it is rounded
        tile_row = ((tl.sqrt(8.0 * tile.to(tl.float32) + 1.0) - 1.0) / 2.0).to(tl.int32)
        tile_row = tl.where(tile_row * (tile_row + 1) // 2 > tile, tile_row - 1, tile_row)
        tile_row = tl.where((tile_row + 1) * (tile_row + 2) // 2 <= tile, tile_row + 1, tile_row)
        tile_column = tile - tile_row * (tile_row + 1) // 2
    else:
        tiles_across = tl.cdiv(K, BLOCK_COLUMNS)
        tile_row = tile // tiles_across
        tile_column = tile % tiles_across

    rows = tile_row * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)
    columns = tile_column * BLOCK_COLUMNS + tl.arange(0, BLOCK_COLUMNS)
    depths = tl.arange(0, BLOCK_DEPTH)
    a_at = a_ptr + view * a_view + rows.to(tl.int64)[:, None] * a_row + depths.to(tl.int64)[None, :] * a_depth
    b_at = (
        b_ptr + view * b_view + columns.to(tl.int64)[None, :] * b_row + depths.to(tl.int64)[:, None] * b_depth
    )
    total = tl.zeros((BLOCK_ROWS, BLOCK_COLUMNS), tl.float32)
    for first in range(0, L, BLOCK_DEPTH):
        left = L - first
        a = tl.load(a_at, mask=(rows < M)[:, None] & (depths < left)[None, :], other=0.0)
        b = tl.load(b_at, mask=(columns < K)[None, :] & (depths < left)[:, None], other=0.0)
        if WIDEN:
            a = a.to(tl.float32)
            b = b.to(tl.float32)
        total = tl.dot(a, b, total, input_precision=PRECISION)
        a_at += BLOCK_DEPTH * a_depth
        b_at += BLOCK_DEPTH * b_depth

    mask = (rows < M)[:, None] & (columns < K)[None, :]
    product = tl.where(mask, total * alpha, 0.0)
    if ZERO_DIAGONAL:
        product = tl.where(rows[:, None] == columns[None, :], 0.0, product)
    energy = tl.sum(product * product)
    kept = product.to(product_ptr.dtype.element_ty)
    base = product_ptr + view * M * K
    tl.store(base + rows.to(tl.int64)[:, None] * K + columns[None, :], kept, mask=mask)
    if SYMMETRIC:  # noqa: SIM102 - the outer one is decided when the kernel is compiled
        if tile_row != tile_column:
            energy = 2.0 * energy
            tl.store(
                base + columns.to(tl.int64)[:, None] * K + rows[None, :],
                tl.trans(kept),
                mask=(columns < K)[:, None] & (rows < M)[None, :],
            )
    tl.store(partial_ptr + view * most_tiles + tile, energy)


def tiles_of(M: int, K: int, rows: int, columns: int, symmetric: bool) -> int:
    """Programs of one view."""
    down: int = triton.cdiv(M, rows)
    across: int = triton.cdiv(K, columns)
    return down * (down + 1) // 2 if symmetric else down * across


def squared_product(
    a_VML: Tensor,
    b_VKL: Tensor,
    *,
    alpha: float,
    symmetric: bool,
    zero_diagonal: bool,
    precision: str,
    out_dtype: torch.dtype,
) -> tuple[Tensor, Tensor]:
    """alpha·a·bᵀ of each view, (V, M, K) in `out_dtype`, and partial sums of its squares, (V, tiles) float32.

    `symmetric` says that a is b; `zero_diagonal` takes the diagonal for zero. `precision` is of float32
    factors: `ieee` or `tf32`.
    """
    V, M, L = a_VML.shape
    K = b_VKL.shape[1]
    product_VMK = torch.empty(V, M, K, dtype=out_dtype, device=a_VML.device)
    smallest = INTERPRETED if interpreting() else PRODUCT[a_VML.dtype][0]
    most_tiles = tiles_of(M, K, smallest.rows, smallest.columns, symmetric)
    partials = torch.zeros(V, most_tiles, dtype=torch.float32, device=a_VML.device)

    def grid(meta: dict[str, int]) -> tuple[int, int]:
        return tiles_of(M, K, meta["BLOCK_ROWS"], meta["BLOCK_COLUMNS"], symmetric), V

    _tuned_kernel(a_VML.dtype)[grid](
        a_VML,
        b_VKL,
        product_VMK,
        partials,
        M,
        K,
        L,
        *a_VML.stride(),
        *b_VKL.stride(),
        alpha,
        most_tiles,
        SYMMETRIC=symmetric,
        ZERO_DIAGONAL=zero_diagonal,
        WIDEN=interpreting(),
        PRECISION=precision,
    )
    return product_VMK, partials


@cache
def _tuned_kernel(dtype: torch.dtype) -> Any:
    return tuned(product_kernel, PRODUCT[dtype], ("M", "K", "L", "SYMMETRIC"), zeroed=("partial_ptr",))


__all__ = ["product_kernel", "squared_product", "tiles_of"]
