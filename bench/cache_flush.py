"""A write of more memory than the caches hold, so that what follows finds nothing of its own in them."""

from pathlib import Path

import torch

LEAST_BYTES = 256 * 2**20
CPU_CACHES = Path("/sys/devices/system/cpu/cpu0/cache")
_UNITS = {"K": 2**10, "M": 2**20, "G": 2**30}


class CacheFlush:
    """Writes twice the device's last cache, and 256 MiB at least. On CUDA the write is queued in the current
    stream, and keeps the device busy while the host launches what follows."""

    def __init__(self, device: torch.device) -> None:
        size = max(LEAST_BYTES, 2 * last_cache_bytes(device))
        self._memory = torch.zeros(size // 8, dtype=torch.int64, device=device)

    @property
    def bytes(self) -> int:
        return self._memory.nbytes

    def __call__(self) -> None:
        self._memory.add_(1)


def last_cache_bytes(device: torch.device) -> int:
    """Of the largest cache of the device; 0 where that is not known."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).L2_cache_size)
    sizes = [file.read_text(encoding="utf-8").strip() for file in CPU_CACHES.glob("index*/size")]
    return max((int(size[:-1]) * _UNITS[size[-1]] for size in sizes if size[-1:] in _UNITS), default=0)
