"""DALI's own modules, typed as Any: DALI makes their contents at import, and its stubs do not name them all.

The only module that imports DALI's operators; import it, and what imports it, inside functions.
"""

from typing import Any

import numpy as np
import nvidia.dali.fn
import nvidia.dali.math
import nvidia.dali.types

fn: Any = nvidia.dali.fn
dali_math: Any = nvidia.dali.math
types: Any = nvidia.dali.types

Node = Any
"""A DALI DataNode, one value a sample."""


def constant(values: Any) -> Node:
    """The same float32 array for every sample, on the CPU."""
    return types.Constant(np.asarray(values, dtype=np.float32), device="cpu")
