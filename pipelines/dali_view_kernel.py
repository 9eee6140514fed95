"""`view_kernel` as an operator of DALI's CPU pipelines.

A view by DALI's own operators is some ten of them, and on 32×32 pixels all of their time is overhead
(docs/PIPELINES.md). It imports DALI and Numba: import it inside functions.
"""

from functools import lru_cache
from typing import Any

import numpy as np
from nvidia.dali.plugin.numba import NumbaFunction

from pipelines.dali_modules import Node, fn, types
from pipelines.view_kernel import dali_run, dali_setup


class _Compiled(NumbaFunction):
    """DALI's operator for functions of Numba, given functions that Numba's cache on the disk holds: by itself
    it compiles anew in every process, for ten seconds."""

    def _get_run_fn_cpu(self, *_: Any) -> Any:
        return dali_run.address

    def _get_setup_fn_cpu(self, _: Any) -> Any:
        return dali_setup.address


def view_on_cpu(image: Node, parameters: Node, image_size: int) -> Node:
    """(S, S, 3) uint8: the view of a decoded RGB image, (H, W, 3) uint8, that `parameters` describe, float64
    (PARAMETERS,) as in `pipelines.view_parameters.Column`."""
    side = types.Constant(np.zeros(image_size, np.uint8), device="cpu")
    return fn.reshape(_operator()(side, image, parameters), layout="HWC")


@lru_cache(maxsize=1)
def _operator() -> Any:
    return _Compiled(
        run_fn=None,
        setup_fn=None,
        in_types=[types.UINT8, types.UINT8, types.FLOAT64],
        ins_ndim=[1, 3, 1],
        out_types=[types.UINT8],
        outs_ndim=[3],
        device="cpu",
    )
