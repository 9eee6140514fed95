"""Exact counts of one forward and backward: the same on every run with the same torch and Triton."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch._library.custom_ops import _maybe_get_opdef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from bench.loss_memory import followed_call
from bench.suite_loss.cases import Loss

COUNTS = ("operators", "flops", "saved-bytes", "peak-bytes", "allocated-bytes")


def count_call(loss: Loss, x: Tensor, y: Tensor) -> dict[str, int]:
    """COUNTS of loss(x, y) and its backward, on (N, D) leaves that require a gradient.

    `operators` are all that torch dispatches, in both directions, those inside of a custom operator as well;
    `flops` those of their matrix products, by torch's formulas; `saved-bytes` the memory that autograd keeps
    for the backward beside the views; `peak-bytes` the most that is held at once beside the views, and
    `allocated-bytes` the sum of all that is allocated. What a Triton kernel does inside is in the committed
    static records. The loss is called once before, so what it makes once is in none of these. Raises what it
    raises.
    """
    torch.autograd.grad(loss(x, y), (x, y))
    counter = _Counter()
    with counter:
        torch.autograd.grad(loss(x, y), (x, y))
    saved_bytes = _saved_bytes(loss, x, y)
    call = followed_call(loss, x, y)
    return {
        "operators": counter.operators,
        "flops": counter.flops,
        "saved-bytes": saved_bytes,
        "peak-bytes": call.peak_bytes,
        "allocated-bytes": call.allocated_bytes,
    }


class _Counter(TorchDispatchMode):
    """Counts torch's own operators; a custom one is followed into its implementation."""

    def __init__(self) -> None:
        super().__init__()
        self.operators = 0
        self.flops = 0
        # Its own mode hooks modules, which torch.autograd.grad from a module's leaf does not allow.
        self._formulas = FlopCounterMode(display=False).flop_registry

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        definition = _maybe_get_opdef(func)
        if definition is not None:
            with self:  # which its implementation would else run without
                return definition._init_fn(*args, **kwargs)
        result = func(*args, **kwargs)
        self.operators += 1
        formula = self._formulas.get(func._overloadpacket)
        if formula is not None:
            self.flops += formula(*args, **kwargs, out_val=result)
        return result


def _saved_bytes(loss: Loss, x: Tensor, y: Tensor) -> int:
    """Of the storages that autograd keeps, each once, without those of the views."""
    views = {z.untyped_storage().data_ptr() for z in (x, y)}
    kept: dict[int, Tensor] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage().data_ptr()
        if storage not in views:
            kept[storage] = tensor  # held, so that no other takes its address
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss(x, y)
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
