"""The loss as replayed CUDA graphs, for code that runs eagerly otherwise.

At small batches a loss is bound by launches, and a replay is one launch for each direction. A step that is
captured as a whole has no use for it.
"""

from typing import Any

import torch
from torch import Tensor

from vicreg_fast.errors import UsageError
from vicreg_fast.loss.vicreg import VICRegLoss, VICRegTerms


class GraphedLoss:
    """A VICRegLoss whose forward and backward are captured, for views of one shape, dtype and device.

    It is called with two views (N, D) and returns the 0-d loss, or `(loss, terms)`. What it returns, and the
    gradient, are in the graphs' memory, which the next call writes over: read them, or copy them, before.
    A backward is of the latest call.
    """

    def __init__(
        self,
        module: VICRegLoss,
        shape: tuple[int, int],
        dtype: torch.dtype,
        *,
        device: torch.device | str = "cuda",
        return_terms: bool = False,
    ) -> None:
        """As `graphed`."""
        self.shape = shape
        self.dtype = dtype
        self.device = _cuda_device(device)
        self.return_terms = return_terms
        if not dtype.is_floating_point:
            raise ValueError(f"views must be of a floating dtype, not {dtype}")

        def call(x: Tensor, y: Tensor) -> Tensor | tuple[Tensor, VICRegTerms]:
            loss: Tensor | tuple[Tensor, VICRegTerms] = module(x, y, return_terms=return_terms)
            return loss

        samples = tuple(
            torch.randn(shape, dtype=dtype, device=self.device).requires_grad_() for _ in range(2)
        )
        # It runs the loss a few times before it captures, which is when Triton times its tiles. Autocast,
        # which it cannot capture, is off inside of the loss anyway.
        with torch.cuda.device(self.device), torch.autocast("cuda", enabled=False):
            self._replay: Any = torch.cuda.make_graphed_callables(call, samples)

    def __call__(self, x: Tensor, y: Tensor) -> Tensor | tuple[Tensor, VICRegTerms]:
        """Raises UsageError for views of another shape, dtype or device, before anything is replayed."""
        for name, view in (("x", x), ("y", y)):
            if (tuple(view.shape), view.dtype, view.device) != (self.shape, self.dtype, self.device):
                raise UsageError(
                    f"{name} is {_in_words(tuple(view.shape), view.dtype, view.device)}: the graph is of "
                    f"{_in_words(self.shape, self.dtype, self.device)}; make another with graphed()"
                )
        if not self.return_terms:
            loss: Tensor = self._replay(x, y)
            return loss
        loss, terms = self._replay(x, y)
        # A graphed callable returns all its tensors as differentiable.
        return loss, VICRegTerms(*(term.detach() for term in terms))


def graphed(
    shape: tuple[int, int],
    dtype: torch.dtype,
    *,
    device: torch.device | str = "cuda",
    return_terms: bool = False,
    **options: Any,
) -> GraphedLoss:
    """`VICRegLoss(**options)` for views of `shape` (N, D) and `dtype`, its forward and its backward each
    captured in a CUDA graph; with `return_terms`, every call returns `(loss, terms)`.

    Both gradients are computed, whichever view needs one. Where torch.distributed is initialised, the shape
    is (n, D), every rank must make the graph, and call it as often as the others. Raises UsageError where
    there is no CUDA device and for an option that is not valid; ValueError for a shape or a dtype that no
    loss can have. The capture is torch.cuda.make_graphed_callables's.
    """
    return GraphedLoss(VICRegLoss(**options), shape, dtype, device=device, return_terms=return_terms)


def _cuda_device(device: torch.device | str) -> torch.device:
    """`device` with its index."""
    found = torch.device(device)
    if found.type != "cuda":
        raise UsageError(f"device = {str(device)!r}: CUDA graphs need CUDA; use VICRegLoss there")
    if not torch.cuda.is_available():
        raise UsageError(f"device = {str(device)!r}: no CUDA device is here; use VICRegLoss without a graph")
    return found if found.index is not None else torch.device("cuda", torch.cuda.current_device())


def _in_words(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> str:
    return f"{'×'.join(str(size) for size in shape)} {str(dtype).removeprefix('torch.')} on {device}"


__all__ = ["GraphedLoss", "graphed"]
