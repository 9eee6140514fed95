"""`resize_kernel` as an operator of DALI's CPU pipelines.

DALI's own CPU resize takes one value at a time: the two views of a 500×375 image cost it 5 ms of processor
time, and this operator 2 (docs/PIPELINES.md). It imports DALI and Numba: import it inside functions.
"""

from functools import lru_cache
from typing import Any

import numpy as np
from nvidia.dali.plugin.numba import NumbaFunction

from pipelines.dali_modules import Node, fn, types
from pipelines.resize_kernel import dali_run, dali_setup


class _Compiled(NumbaFunction):
    """DALI's operator for functions of Numba, given functions that Numba's cache on the disk holds: by itself
    it compiles anew in every process, for ten seconds."""

    def _get_run_fn_cpu(self, *_: Any) -> Any:
        return dali_run.address

    def _get_setup_fn_cpu(self, _: Any) -> Any:
        return dali_setup.address


def resize_on_cpu(image: Node, roi_start: Node, roi_end: Node, image_size: int) -> Node:
    """(S, S, 3) uint8: the crop of a decoded image, resized as Pillow does. `roi_start` and `roi_end` are
    float32 (2,), y and x in whole pixels; where x starts behind its end, the crop is mirrored."""
    side = types.Constant(np.zeros(image_size, np.uint8), device="cpu")
    return fn.reshape(_operator()(side, image, roi_start, roi_end), layout="HWC")


@lru_cache(maxsize=1)
def _operator() -> Any:
    return _Compiled(
        run_fn=None,
        setup_fn=None,
        in_types=[types.UINT8, types.UINT8, types.FLOAT, types.FLOAT],
        ins_ndim=[1, 3, 1, 1],
        out_types=[types.UINT8],
        outs_ndim=[3],
        device="cpu",
    )
