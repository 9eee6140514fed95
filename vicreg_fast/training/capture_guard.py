"""Whether code could be captured in a CUDA graph, checked without a GPU.

A captured step may not wait for the device, nor take a shape, a branch or a number from a tensor's values.
`forbid_host_sync` raises at the first operation that would. `imagined_cuda` gives it something to look at on
a machine without a GPU: tensors on `cuda` that have a shape, a dtype and a device, and no values, so that a
copy to the host is one there too. For tests:

    with imagined_cuda():
        step, batch = ..., ...     # on torch.device("cuda", 0)
        step(batch)                # the first call may make its state
        with forbid_host_sync():
            step(batch)

What they cannot see: kernels that are not operators of torch (Triton's, DALI's), numbers that Python holds
(a captured step keeps the learning rate it was captured with, unless that is a tensor), and memory. Without a
GPU, autocast and a backward are not imagined together: see `imagined_cuda`. A whole step under autocast can
be checked on the CPU, where values are still not to be read, and only copies between devices go unseen.
"""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

aten = torch.ops.aten


class HostSyncError(RuntimeError):
    """An operation that a CUDA graph cannot hold; the message names it and the line that asked for it."""


@contextmanager
def forbid_host_sync() -> Iterator[None]:
    """Raises HostSyncError, before it runs, at any operation that waits for the device or depends on data.

    Forbidden are: reading a value (`item`, `bool`, `tolist`, `equal`); outputs whose shape depends on data
    (`nonzero`, `masked_select`, `unique`, a boolean index, `repeat_interleave` by a tensor, `bincount`);
    copies between host and device in either direction, which a tensor made of Python numbers on the device
    is; an operation on a tensor of each; pinning memory; `torch.cuda.synchronize` and its like; and the state
    of a random-number generator. Forward and backward alike.
    """
    with ExitStack() as stack:
        for owner, name, reason in _CALLS:
            stack.enter_context(_replaced(owner, name, _refusal(owner, name, reason)))
        stack.enter_context(_HostReads())
        stack.enter_context(_HostSyncs())
        yield


@contextmanager
def imagined_cuda(*, autocast: bool = False) -> Iterator[None]:
    """Tensors made inside are torch's FakeTensors, and may be on `cuda:0` with or without a GPU.

    Name the index: a build of torch without CUDA cannot look it up. Without a GPU, `autocast=False` is for
    forward and backward, and CUDA's autocast does nothing; `autocast=True` is for a forward with it.
    """
    has_cuda = torch.cuda.is_available()
    with ExitStack() as stack:
        if autocast and not has_cuda:  # or torch warns and switches it off
            stack.enter_context(
                _replaced(torch.cuda.amp.common, "amp_definitely_not_available", lambda: False)
            )
            stack.enter_context(_replaced(torch.cuda, "is_bf16_supported", lambda: True))
        stack.enter_context(FakeTensorMode())
        stack.enter_context(_replaced(nn.Module, "_apply", _apply_by_assignment))
        stack.enter_context(_ImaginedDevice(hidden=not (has_cuda or autocast)))
        yield


class _ImaginedDevice(TorchDispatchMode):
    """Mends two places where FakeTensorMode alone needs a GPU.

    Autograd asks a CUDA tensor's device for its streams. So, where the device is `hidden`, torch's C++ code
    is told `meta`, of which it asks nothing; Python's `Tensor.device` goes on to say `cuda`. And the fused
    optimisers have no implementation for tensors without values: as they return nothing, doing nothing is
    one.
    """

    def __init__(self, *, hidden: bool) -> None:
        super().__init__()
        self.hidden = hidden

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func.overloadpacket in (aten._fused_sgd_, aten._fused_adamw_):
            return None
        if self.hidden:
            if func is torch.ops.prim.device.default:
                return torch.device("meta")
            if kwargs.get("device") == torch.device("meta"):  # what C++ made of that answer
                kwargs["device"] = torch.device("cuda", 0)
        return func(*args, **kwargs)


class _HostSyncs(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        reason = _reason_against(func, args, kwargs)
        if reason is not None:
            raise HostSyncError(_message(str(func), reason))
        return func(*args, **kwargs)


class _HostReads(TorchFunctionMode):
    """What reads a CPU tensor's memory without an operator."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (Tensor.tolist, Tensor.numpy, Tensor.__array__):
            raise HostSyncError(_message(f"Tensor.{func.__name__}", _READS))
        return func(*args, **(kwargs or {}))


_READS = "reads a value on the host"
_SHAPES = "makes a shape that depends on data"
_WAITS = "waits for the device"
_GENERATOR = "reads or sets the state of a random-number generator"

# Named, where torch's own tags (data_dependent_output, dynamic_output_shape) do not say so in every version.
_OPERATORS: dict[Any, str] = {
    aten._local_scalar_dense: _READS,
    aten.item: _READS,
    aten.is_nonzero: _READS,
    aten.equal: _READS,
    aten.allclose: _READS,
    aten.nonzero: _SHAPES,
    aten.masked_select: _SHAPES,
    aten._unique: _SHAPES,
    aten._unique2: _SHAPES,
    aten.unique_dim: _SHAPES,
    aten.unique_consecutive: _SHAPES,
    aten.unique_dim_consecutive: _SHAPES,
    aten.bincount: _SHAPES,
    aten._pin_memory: "allocates pinned memory",
}
_INDEXED = {aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_, aten._unsafe_index}

_CALLS: tuple[tuple[Any, str, str], ...] = (
    (torch.cuda, "synchronize", _WAITS),
    (torch.cuda.Stream, "synchronize", _WAITS),
    (torch.cuda.Event, "synchronize", _WAITS),
    (torch.cuda.Event, "elapsed_time", _WAITS),
    (torch.cuda, "empty_cache", "frees memory of the device"),
    (torch.cuda, "get_rng_state", _GENERATOR),
    (torch.cuda, "set_rng_state", _GENERATOR),
    (torch.cuda, "manual_seed", _GENERATOR),
    (torch.cuda, "manual_seed_all", _GENERATOR),
    (torch, "get_rng_state", _GENERATOR),
    (torch, "set_rng_state", _GENERATOR),
    (torch, "manual_seed", _GENERATOR),
)


def _reason_against(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str | None:
    packet = func.overloadpacket
    if packet in _OPERATORS:
        return _OPERATORS[packet]
    if packet is aten.repeat_interleave:  # with output_size, the shape is Python's
        return _SHAPES if kwargs.get("output_size") is None else None
    if packet in _INDEXED:
        if any(index is not None and index.dtype in (torch.bool, torch.uint8) for index in args[1]):
            return f"{_SHAPES}: a boolean index; torch.where keeps the shape"
    elif torch.Tag.dynamic_output_shape in func.tags:
        return _SHAPES
    elif torch.Tag.data_dependent_output in func.tags:
        return _READS
    return _copy_between_devices(packet, args, kwargs)


def _copy_between_devices(packet: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str | None:
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    if packet is aten._to_copy:
        source, target = tensors[0].device.type, kwargs.get("device")
        return _crossing(source, torch.device(target).type if target is not None else source)
    if packet in (aten.copy_, aten.copy):
        return _crossing(tensors[1].device.type, tensors[0].device.type)
    # A 0-d tensor on the host is a number, which an operation on the device takes as an argument.
    devices = {tensor.device.type for tensor in tensors if tensor.ndim > 0 or tensor.device.type != "cpu"}
    return (
        f"mixes tensors on {' and '.join(sorted(devices))}" if "cpu" in devices and len(devices) > 1 else None
    )


def _crossing(source: str, target: str) -> str | None:
    if (source == "cpu") == (target == "cpu"):
        return None
    return f"copies from {source} to {target}"


def _refusal(owner: Any, name: str, reason: str) -> Callable[..., None]:
    def refuse(*_: Any, **__: Any) -> None:
        raise HostSyncError(_message(f"{owner.__name__}.{name}", reason))

    return refuse


def _apply_by_assignment(
    module: nn.Module, fn: Callable[[Tensor], Tensor], recurse: bool = True
) -> nn.Module:
    """What `Module.to` calls. torch's own swaps fake parameters in place, which it refuses to do for those
    that a FakeTensorMode remembers.
    """
    for owner in module.modules() if recurse else (module,):
        for name, parameter in owner._parameters.items():
            if parameter is not None:
                owner._parameters[name] = nn.Parameter(fn(parameter.detach()), parameter.requires_grad)
        for name, buffer in owner._buffers.items():
            if buffer is not None:
                owner._buffers[name] = fn(buffer)
    return module


@contextmanager
def _replaced(owner: Any, name: str, stand_in: Callable[..., Any]) -> Iterator[None]:
    """`owner.name` is `stand_in` meanwhile."""
    own = name in vars(owner)
    original = getattr(owner, name)
    setattr(owner, name, stand_in)
    try:
        yield
    finally:
        if own:
            setattr(owner, name, original)
        else:  # it was inherited
            delattr(owner, name)


_NOT_THE_USERS = (f"{Path(torch.__file__).parent}{os.sep}", __file__, "<")


def _message(operation: str, reason: str) -> str:
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith(_NOT_THE_USERS):
        frame = frame.f_back
    where = f"{frame.f_code.co_filename}:{frame.f_lineno}" if frame is not None else "an unknown line"
    return f"{operation} {reason} (at {where}): a CUDA graph cannot capture it"


__all__ = ["HostSyncError", "forbid_host_sync", "imagined_cuda"]
