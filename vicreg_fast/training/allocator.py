"""glibc's malloc, told to keep what a process frees.

By itself it hands a large tensor back to the system when it is freed, and asks for new pages at the next: a
small network's step on a CPU then takes some thousands of page faults, which are a tenth of its time.
"""

import ctypes

import torch

# malloc.h
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3
SETTINGS = {_M_MMAP_THRESHOLD: 2**30, _M_TRIM_THRESHOLD: 2**31 - 1, _M_TOP_PAD: 2**24}
"""In bytes: what is mapped piece by piece, how much may lie free, and how much is asked for at a time."""


def keep_memory() -> None:
    """Of this whole process, from now on. It then keeps the most memory that it needed at once."""
    for option, value in SETTINGS.items():
        ctypes.CDLL(None).mallopt(option, value)


def keep_obstacle(device: torch.device) -> str | None:
    """Why memory cannot be kept so on that device; None where it can."""
    if device.type != "cpu":
        return "is for CPUs: on a GPU torch's own allocator keeps it"
    try:
        found = hasattr(ctypes.CDLL(None), "mallopt")
    except OSError:
        found = False
    return None if found else "needs glibc's malloc"
