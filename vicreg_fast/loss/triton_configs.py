"""The committed tile sizes of the Triton kernels, and how a kernel is tuned over them.

Few on purpose: every one of them is compiled for sm_80, sm_90 and sm_100 in the tests, and must have no
spills and fit into shared memory there. Importing this imports Triton.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import triton

from vicreg_fast.loss.triton_support import interpreting

FUSED = {"enable_fp_fusion": True}
"""Multiply and add as one instruction. Said in every launch: Triton's default differs between versions, and
3.9 warns where nothing is said.
"""


@dataclass(frozen=True, kw_only=True)
class Tile:
    """One configuration: a program's tile, and how it is compiled."""

    rows: int
    columns: int
    depth: int = 0
    """Of one step along the dimension that a product sums over; 0 where there is none."""
    warps: int
    stages: int
    """Of the software pipeline of that loop."""

    def blocks(self) -> dict[str, int]:
        """The kernel's constexpr arguments."""
        sizes = {"BLOCK_ROWS": self.rows, "BLOCK_COLUMNS": self.columns}
        return {**sizes, "BLOCK_DEPTH": self.depth} if self.depth else sizes

    def config(self) -> triton.Config:
        arguments = {**self.blocks(), **FUSED}
        return triton.Config(arguments, num_warps=self.warps, num_stages=self.stages)

    def __str__(self) -> str:
        sizes = "×".join(str(size) for size in (self.rows, self.columns, self.depth) if size)
        return f"{sizes}, {self.warps} warps, {self.stages} stages"


# Of one width, so that the number of strips does not depend on which tile the tuner takes.
CENTRE: tuple[Tile, ...] = (Tile(rows=64, columns=32, warps=8, stages=2),)
# The tiles of a symmetric product are square: the program map is a triangle of tiles.
PRODUCT: dict[torch.dtype, tuple[Tile, ...]] = {
    torch.bfloat16: (
        Tile(rows=64, columns=64, depth=64, warps=4, stages=4),
        Tile(rows=128, columns=128, depth=64, warps=8, stages=3),
    ),
    torch.float16: (
        Tile(rows=64, columns=64, depth=64, warps=4, stages=4),
        Tile(rows=128, columns=128, depth=64, warps=8, stages=3),
    ),
    # No 64 × 64 here: with 4 warps it spills under Triton 3.6, with 8 under 3.9.
    torch.float32: (Tile(rows=128, columns=128, depth=32, warps=8, stages=3),),
}
GRADIENT: dict[torch.dtype, tuple[Tile, ...]] = {
    torch.bfloat16: (
        Tile(rows=64, columns=128, depth=64, warps=4, stages=3),
        Tile(rows=128, columns=128, depth=64, warps=8, stages=3),
    ),
    # No 128 × 128 here: with operands of 32 bits its epilogue spills, or ptxas serializes wgmma.
    torch.float16: (
        Tile(rows=64, columns=64, depth=32, warps=4, stages=3),
        Tile(rows=128, columns=64, depth=32, warps=8, stages=3),
    ),
    torch.float32: (
        Tile(rows=64, columns=64, depth=32, warps=4, stages=3),
        Tile(rows=128, columns=64, depth=32, warps=8, stages=3),
    ),
}
# So small that the small shapes of the tests have several tiles, and whole and cut ones.
INTERPRETED = Tile(rows=64, columns=64, depth=64, warps=4, stages=1)


def tuned(kernel: Any, tiles: Sequence[Tile], key: Sequence[str], zeroed: Sequence[str] = ()) -> Any:
    """`kernel`, tuned on its first call for each value of the arguments in `key`; those in `zeroed` are
    zeros whenever it begins.

    The first call times every tile and therefore waits for the device: make it before a capture.
    """
    if interpreting():
        has_depth = any(tile.depth for tile in tiles)
        tiles = (INTERPRETED if has_depth else replace(CENTRE[0], stages=1),)
    configs = [tile.config() for tile in tiles]
    return triton.autotune(configs, list(key), reset_to_zero=list(zeroed) or None)(kernel)


__all__ = ["CENTRE", "FUSED", "GRADIENT", "INTERPRETED", "PRODUCT", "Tile", "tuned"]
