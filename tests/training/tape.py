"""What takes a CUDA graph's place where there is no GPU: the operators of one step with the very tensors they
were given, repeated without any Python of the step.
"""

from collections.abc import Callable
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from vicreg_fast.training.capture import Made
from vicreg_fast.training.capture_guard import forbid_host_sync


class Tape(TorchDispatchMode):
    """The operators called while it is on. Repeating them writes where they wrote before, as a graph does."""

    def __init__(self) -> None:
        super().__init__()
        self._calls: list[tuple[Any, Any, Any, Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        results = func(*args, **kwargs)
        if func.namespace != "profiler":
            self._calls.append((func, args, kwargs, results))
        return results

    @torch.no_grad()
    def replay(self) -> None:
        for func, args, kwargs, results in self._calls:
            again = func(*args, **kwargs)
            for old, new in zip(tree_leaves(results), tree_leaves(again), strict=True):
                if isinstance(old, Tensor) and old.data_ptr() != new.data_ptr():
                    old.copy_(new)


class TapeRecorder:
    """A Recorder for any device. `tensors` are those that a step changes, which recording leaves alone."""

    def __init__(self) -> None:
        self.tensors: Callable[[], list[Tensor]] = list
        self.eager = self.recorded = self.replayed = 0
        self.recording = False
        self._tapes: WeakSet[Tape] = WeakSet()

    def holders(self) -> int:
        """Recorded steps that somebody still holds."""
        return len(self._tapes)

    def eagerly(self, work: Callable[[], Made]) -> Made:
        self.eager += 1
        return work()

    def record(self, work: Callable[[], Tensor]) -> tuple[Callable[[], Any], Tensor]:
        self.recorded += 1
        before = [(tensor, tensor.clone()) for tensor in self.tensors()]
        tape = Tape()
        self._tapes.add(tape)
        self.recording = True
        try:
            with forbid_host_sync(), tape:
                written = work()
        finally:
            self.recording = False
            with torch.no_grad():
                for tensor, value in before:
                    tensor.copy_(value)

        def replay() -> None:
            self.replayed += 1
            tape.replay()

        return replay, written


class GuardingRecorder(TapeRecorder):
    """For tensors without values, which cannot be replayed."""

    def record(self, work: Callable[[], Tensor]) -> tuple[Callable[[], Any], Tensor]:
        self.recorded += 1
        with forbid_host_sync():
            written = work()
        return lambda: None, written
