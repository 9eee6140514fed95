"""A copy of a training state that goes on its own way to the disk, while the steps after it change the state.

On a GPU the copy is made on the device, in the step's stream, and goes to pinned memory on a stream of its
own: neither the host nor the next step waits for it. Until then it takes the state's size in device memory
again.
"""

from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map


class Snapshot:
    """The state at the moment of its construction; `content` has every tensor on the CPU."""

    def __init__(self, state: dict[str, Any]) -> None:
        self._copied: torch.cuda.Event | None = None
        devices = {leaf.device for leaf in _tensors(state) if leaf.device.type == "cuda"}
        if not devices:
            self._content: dict[str, Any] = tree_map(_cloned, state)
            return
        (device,) = devices  # one rank has one GPU
        held = tree_map(_cloned, state)
        copies = torch.cuda.Stream(device)
        copies.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(copies):
            self._content = tree_map(lambda leaf: _to_host(leaf, copies), held)
            self._copied = torch.cuda.Event()
            self._copied.record(copies)

    def content(self) -> dict[str, Any]:
        """Waits until the copy is on the host."""
        if self._copied is not None:
            self._copied.synchronize()
            self._copied = None
        return self._content


def _tensors(state: dict[str, Any]) -> list[Tensor]:
    found: list[Tensor] = []
    tree_map(lambda leaf: found.append(leaf) if isinstance(leaf, Tensor) else None, state)
    return found


def _cloned(leaf: Any) -> Any:
    return leaf.detach().clone() if isinstance(leaf, Tensor) else leaf


def _to_host(leaf: Any, copies: torch.cuda.Stream) -> Any:
    if not (isinstance(leaf, Tensor) and leaf.device.type == "cuda"):
        return leaf
    on_host = torch.empty(leaf.shape, dtype=leaf.dtype, pin_memory=True)
    on_host.copy_(leaf, non_blocking=True)
    leaf.record_stream(copies)
    return on_host


__all__ = ["Snapshot"]
