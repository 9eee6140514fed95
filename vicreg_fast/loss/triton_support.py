"""Whether Triton can run here, for what, and where it was measured to win. Importing it does not import
Triton.
"""

import importlib.util
import os
from functools import lru_cache

import torch

TRITON_DTYPES = frozenset({torch.float32, torch.float16, torch.bfloat16})

MEASURED_TO_WIN: frozenset[tuple[str, str, torch.dtype]] = frozenset()
"""(form, device type, dtype) for which a committed record shows the Triton backend faster than torch's: what
`backend='auto'` takes. Empty, because these kernels have been compiled and interpreted, and have not yet run
on a GPU.
"""


def interpreting() -> bool:
    """Whether Triton runs its kernels in its interpreter, on the CPU: for tests, not for speed."""
    return os.environ.get("TRITON_INTERPRET", "0") == "1"


@lru_cache(maxsize=1)
def triton_is_importable() -> bool:
    """Whether the package is installed; does not import it."""
    return importlib.util.find_spec("triton") is not None


def triton_obstacle(device_type: str) -> str | None:
    """Why Triton kernels cannot run on a device of that type, in words; None when they can."""
    if not triton_is_importable():
        return "Triton is not installed"
    if device_type == "cuda" or (device_type == "cpu" and interpreting()):
        return None
    return f"its kernels run on CUDA, not on {device_type} (TRITON_INTERPRET=1 interprets them there, slowly)"


__all__ = ["MEASURED_TO_WIN", "TRITON_DTYPES", "interpreting", "triton_is_importable", "triton_obstacle"]
